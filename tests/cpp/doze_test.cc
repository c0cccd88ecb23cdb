// Doze: a loop of calls gets longer ones.
#include "engine/doze.h"

#include <catch2/catch.hpp>

namespace rueda::engine {
namespace {

// How long dozes are after so many, in each of which there were `calls`.
Duration After(int dozes, uint32_t calls) {
  Doze doze;
  for (int i = 0; i < dozes; ++i) doze.Over(calls);
  return doze.length();
}

TEST_CASE("dozes get longer with the calls of a loop, however long those are", "[doze]") {
  CHECK(After(1, 1000) == 2 * Doze::kShortest);
  CHECK(After(3, 1000) == Doze::kLongest);
  CHECK(After(4, 1000) == Doze::kLongest);
  CHECK(After(2, 3) == Doze::kShortest);
  CHECK(After(3, 3) == 2 * Doze::kShortest);
  CHECK(After(6, 3) == 4 * Doze::kShortest);
}

TEST_CASE("single calls make no doze longer", "[doze]") {
  CHECK(After(100, 0) == Doze::kShortest);
  CHECK(After(100, 1) == Doze::kShortest);
}

TEST_CASE("a doze without several calls ends the loop", "[doze]") {
  for (const uint32_t calls : {0u, 1u}) {
    Doze doze;
    for (int i = 0; i < 5; ++i) doze.Over(100);
    doze.Over(calls);
    CHECK(doze.length() == Doze::kShortest);
    doze.Over(Doze::kCallsOfALoop - 1);
    CHECK(doze.length() == Doze::kShortest);
    doze.Over(calls);
    doze.Over(Doze::kCallsOfALoop - 1);
    CHECK(doze.length() == Doze::kShortest);
  }
}

}  // namespace
}  // namespace rueda::engine
