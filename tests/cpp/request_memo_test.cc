// RequestMemo: reading with one is reading without one, only cheaper.
#include "control/request_memo.h"

#include <catch2/catch.hpp>
#include <vector>

#include "control/messages.h"
#include "random_messages.h"

namespace rueda::control {
namespace {

// The next batch of a rank that mostly offers what it, or another rank, offered before.
Batch Changed(Batch batch, Random& random) {
  for (SharedRequest& request : batch.requests) {
    if (random.Chance(15)) request = Shared(RandomRequest(random));
  }
  if (random.Chance(20)) batch.requests.push_back(Shared(RandomRequest(random)));
  if (random.Chance(20) && !batch.requests.empty()) {
    const size_t at = random.Below(batch.requests.size());
    batch.requests.erase(batch.requests.begin() + static_cast<std::ptrdiff_t>(at));
  }
  if (random.Chance(10)) batch.slots = RandomSlots(random);
  return batch;
}

}  // namespace

TEST_CASE("batches read with a memo are those read without", "[wire][memo]") {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    Random random(seed);
    RequestMemo memo;
    Batch sent = RandomBatch(random);
    for (int i = 0; i < 30; ++i) {
      sent = Changed(std::move(sent), random);
      std::vector<uint8_t> bytes = Encode(sent);
      // Strangers and broken links.
      if (random.Chance(30)) bytes.resize(random.Below(bytes.size() + 1));
      if (random.Chance(30) && !bytes.empty()) {
        bytes[random.Below(bytes.size())] ^= static_cast<uint8_t>(1 + random.Below(255));
      }
      Batch plain;
      Batch with_memo;
      const Status expected = DecodeBatch(bytes, &plain);
      const Status found = DecodeBatch(bytes, &with_memo, &memo);
      INFO("seed " << seed << ", message " << i);
      REQUIRE(found == expected);
      if (expected.ok()) REQUIRE(with_memo == plain);
    }
  }
}

TEST_CASE("what two ranks offer alike is made once", "[wire][memo]") {
  Random random(3);
  Batch batch;
  for (int i = 0; i < 7; ++i) batch.requests.push_back(Shared(RandomRequest(random)));
  RequestMemo memo;
  Batch first;
  Batch second;
  REQUIRE(DecodeBatch(Encode(batch), &first, &memo).ok());
  batch.requests[3] = Shared(RandomRequest(random));
  REQUIRE(DecodeBatch(Encode(batch), &second, &memo).ok());
  for (size_t i = 0; i < first.requests.size(); ++i) {
    CHECK((first.requests[i] == second.requests[i]) == (i != 3));
  }
}

}  // namespace rueda::control
