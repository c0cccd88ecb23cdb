// The floating-point mode that threads reduce in: the default one, whatever their creator had set.
#include <catch2/catch.hpp>
#include <cfenv>
#include <cstdint>
#include <limits>
#include <thread>

#ifdef __x86_64__
#include <xmmintrin.h>
#endif

#include "device/reduce.h"

namespace rueda::device {
namespace {

#if defined(__x86_64__)
constexpr uint64_t kFlush = 0x8040;       // denormal results and inputs are zero
constexpr uint64_t kOtherBits = 0x6000;   // rounds toward zero
constexpr uint64_t kExceptions = 0x003f;  // that have occurred: no mode

uint64_t Mode() { return _mm_getcsr() & ~kExceptions; }
void SetMode(uint64_t mode) { _mm_setcsr(static_cast<unsigned>(mode)); }
#elif defined(__aarch64__)
constexpr uint64_t kFlush = uint64_t{1} << 24;
// Rounds toward zero; all NaNs are one; float16 has no infinities.
constexpr uint64_t kOtherBits = (uint64_t{3} << 22) | (uint64_t{1} << 25) | (uint64_t{1} << 26);

uint64_t Mode() {
  uint64_t mode;
  asm volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
}
void SetMode(uint64_t mode) { asm volatile("msr fpcr, %0" : : "r"(mode)); }
#endif

TEST_CASE("the default mode rounds to nearest, whatever was set before", "[reduce]") {
  int mode = -1;
  std::thread([&mode] {
    std::fesetround(FE_UPWARD);
    UseDefaultFloatingPointMode();
    mode = std::fegetround();
  }).join();
  CHECK(mode == FE_TONEAREST);
}

#if defined(__x86_64__) || defined(__aarch64__)
float TwiceTheSmallest() {
  const float smallest = std::numeric_limits<float>::denorm_min();
  const void* const sources[] = {&smallest, &smallest};
  float sum = -1;
  void* const destination = &sum;
  Reduce({}, sources, {&destination, 1}, 1);
  return sum;
}

TEST_CASE("the default mode keeps denormals, whatever was set before", "[reduce]") {
  float flushed = -1;
  float kept = -1;
  std::thread([&flushed, &kept] {
    SetMode(Mode() | kFlush);
    flushed = TwiceTheSmallest();
    UseDefaultFloatingPointMode();
    kept = TwiceTheSmallest();
  }).join();
  CHECK(flushed == 0);
  CHECK(kept == 2 * std::numeric_limits<float>::denorm_min());
}

TEST_CASE("a scope has the default mode and puts back every bit of another", "[reduce]") {
  uint64_t before = 0;
  uint64_t after = 0;
  bool was_default = true;
  bool is_default = false;
  float sum = -1;
  std::thread([&] {
    SetMode(Mode() | kFlush | kOtherBits);
    before = Mode();
    was_default = IsDefaultFloatingPointMode();
    {
      const DefaultFloatingPointMode scope;
      is_default = IsDefaultFloatingPointMode();
      sum = TwiceTheSmallest();
    }
    after = Mode();
  }).join();
  CHECK_FALSE(was_default);
  CHECK(is_default);
  CHECK(sum == 2 * std::numeric_limits<float>::denorm_min());
  CHECK((before & kOtherBits) == kOtherBits);
  CHECK(after == before);
}

TEST_CASE("a scope changes nothing where the mode is the default", "[reduce]") {
  uint64_t before = 0;
  uint64_t after = 0;
  std::thread([&before, &after] {
    UseDefaultFloatingPointMode();
    before = Mode();
    { const DefaultFloatingPointMode scope; }
    after = Mode();
  }).join();
  CHECK(after == before);
}
#endif

}  // namespace
}  // namespace rueda::device
