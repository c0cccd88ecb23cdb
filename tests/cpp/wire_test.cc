// The control messages' bytes: what is written comes back, and nothing else is believed.
#include "control/wire.h"

#include <catch2/catch.hpp>

#include "control/message_header.h"
#include "control/messages.h"
#include "random_messages.h"

namespace rueda::control {
namespace {

Result<Batch> Decoded(const std::vector<uint8_t>& bytes, Batch*) {
  return DecodeBatch(bytes.data(), bytes.size());
}
Result<Frame> Decoded(const std::vector<uint8_t>& bytes, Frame*) {
  return DecodeFrame(bytes.data(), bytes.size());
}

// What decodes must be exactly what encoding gives; anything else must be kCorrupt.
template <typename Message>
bool RefusedOrCanonical(const std::vector<uint8_t>& bytes) {
  const Result<Message> decoded = Decoded(bytes, static_cast<Message*>(nullptr));
  if (!decoded.ok()) return decoded.status().code() == StatusCode::kCorrupt;
  return Encode(*decoded) == bytes;
}

template <typename Message>
size_t CountSurvivingDamage(const std::vector<uint8_t>& good, Random& random) {
  size_t wrong = 0;
  for (size_t length = 0; length < good.size(); ++length) {
    const std::vector<uint8_t> cut(good.begin(), good.begin() + static_cast<ptrdiff_t>(length));
    wrong += Decoded(cut, static_cast<Message*>(nullptr)).ok() ? 1 : 0;
  }
  for (int i = 0; i < 40 && !good.empty(); ++i) {
    std::vector<uint8_t> bad = good;
    for (size_t flips = 1 + random.Below(3); flips > 0; --flips) {
      bad[random.Below(bad.size())] ^= static_cast<uint8_t>(1U << random.Below(8));
    }
    wrong += RefusedOrCanonical<Message>(bad) ? 0 : 1;
  }
  return wrong;
}

template <typename Message>
Status StatusOf(const std::vector<uint8_t>& bytes) {
  return Decoded(bytes, static_cast<Message*>(nullptr)).status();
}

// The status of a batch with one request, after a round trip.
Status RoundTrip(const Request& request) {
  Batch batch;
  batch.requests = {Shared(request)};
  return StatusOf<Batch>(Encode(batch));
}

std::vector<uint8_t> BatchWithSlotSet(uint8_t form, const std::vector<uint32_t>& words,
                                      const std::vector<uint8_t>& tail) {
  Writer writer;
  writer.Bytes(std::vector<uint8_t>{1, kFormatVersion, 0});
  writer.U8(form);
  for (const uint32_t word : words) writer.U32(word);
  writer.Bytes(tail);
  writer.U32(0);
  return writer.Take();
}

}  // namespace

TEST_CASE("every batch comes back as it was", "[wire]") {
  Random random(1);
  for (int i = 0; i < 1500; ++i) {
    const Batch batch = RandomBatch(random);
    const Result<Batch> back = Decoded(Encode(batch), static_cast<Batch*>(nullptr));
    REQUIRE(back.ok());
    REQUIRE(*back == batch);
  }
}

TEST_CASE("every frame comes back as it was, in the same order", "[wire]") {
  Random random(2);
  for (int i = 0; i < 1500; ++i) {
    const Frame frame = RandomFrame(random);
    const Result<Frame> back = Decoded(Encode(frame), static_cast<Frame*>(nullptr));
    REQUIRE(back.ok());
    REQUIRE(*back == frame);
  }
}

TEST_CASE("random bytes are refused or are exactly a message", "[wire]") {
  Random random(3);
  size_t wrong = 0;
  for (int i = 0; i < 20000; ++i) {
    std::vector<uint8_t> bytes(random.Below(200));
    for (uint8_t& byte : bytes)
      byte = static_cast<uint8_t>(random.Below(random.Chance(50) ? 4 : 256));
    if (bytes.size() > 2 && random.Chance(80)) {
      bytes[0] = static_cast<uint8_t>(1 + random.Below(2));
      bytes[1] = 1;
    }
    wrong += RefusedOrCanonical<Batch>(bytes) && RefusedOrCanonical<Frame>(bytes) ? 0 : 1;
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("no truncation decodes, and no flipped bit goes unseen or is a message",
          "[wire][one-thread]") {
  Random random(4);
  size_t wrong = 0;
  for (int i = 0; i < 150; ++i) {
    wrong += CountSurvivingDamage<Batch>(Encode(RandomBatch(random)), random);
    wrong += CountSurvivingDamage<Frame>(Encode(RandomFrame(random)), random);
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("a steady step of 300 slots takes 54 bytes up and 85 down", "[wire]") {
  Batch batch;
  Frame frame;
  for (uint32_t slot = 0; slot < 300; ++slot) {
    batch.slots.Insert(slot);
    frame.cached.Insert(slot);
  }
  CHECK(Encode(batch).size() == 54);
  CHECK(Encode(frame).size() == 85);
}

TEST_CASE("few slots far apart travel as a list", "[wire]") {
  Batch batch;
  batch.slots = {3, 60000};
  CHECK(Encode(batch).size() == 2 + 1 + 1 + 4 + 2 * 4 + 4);
}

TEST_CASE("slot sets arrive as they were, wherever they begin and end", "[wire]") {
  for (const uint32_t first : {0U, 1U, 63U, 64U, 65U, 127U, 8000U}) {
    for (const uint32_t length : {1U, 8U, 9U, 63U, 64U, 65U, 300U}) {
      Batch batch;
      for (uint32_t slot = first; slot < first + length; ++slot) batch.slots.Insert(slot);
      if (length > 60) batch.slots.Remove(first + length / 2);
      const Result<Batch> back = Decoded(Encode(batch), static_cast<Batch*>(nullptr));
      REQUIRE(back.ok());
      CHECK(back->slots == batch.slots);
      CHECK(back->slots.count() == batch.slots.count());
    }
  }
}

TEST_CASE("a slot set is refused unless it is as it should be written", "[wire]") {
  CHECK_FALSE(StatusOf<Batch>(BatchWithSlotSet(0, {2, 3, 3}, {})).ok());
  Batch large;
  large.slots = {kMaxSlots};
  CHECK(StatusOf<Batch>(Encode(large)).code() == StatusCode::kCorrupt);
  CHECK(StatusOf<Batch>(BatchWithSlotSet(0, {2, 3, 400}, {})).ok());
  CHECK(StatusOf<Batch>(BatchWithSlotSet(1, {3, 1}, {0xFF})).ok());
  CHECK_FALSE(StatusOf<Batch>(BatchWithSlotSet(0, {2, 400, 3}, {})).ok());
  CHECK_FALSE(StatusOf<Batch>(BatchWithSlotSet(0, {0x40000000, 3}, {})).ok());
  CHECK_FALSE(StatusOf<Batch>(BatchWithSlotSet(1, {3, 1}, {0x01})).ok());      // a list is shorter
  CHECK_FALSE(StatusOf<Batch>(BatchWithSlotSet(1, {3, 1}, {0xFE})).ok());      // not its first slot
  CHECK_FALSE(StatusOf<Batch>(BatchWithSlotSet(1, {3, 2}, {0xFF, 0})).ok());   // longer than needed
  CHECK_FALSE(StatusOf<Batch>(BatchWithSlotSet(1, {65530, 1}, {0xFF})).ok());  // beyond the last
  CHECK_FALSE(StatusOf<Batch>(BatchWithSlotSet(1, {3, 0}, {})).ok());
  CHECK_FALSE(StatusOf<Batch>(BatchWithSlotSet(1, {3, 0xFFFFFFFF}, {0xFF})).ok());
  CHECK_FALSE(StatusOf<Batch>(BatchWithSlotSet(2, {1, 3}, {})).ok());
}

TEST_CASE("shapes that no memory holds are refused before and after the wire", "[wire]") {
  const int64_t huge = int64_t{1} << 40;
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{-1},
                                            {huge, huge},
                                            {huge, huge, 0},
                                            {int64_t{1} << 61},
                                            std::vector<int64_t>(65, 1)}) {
    const Request request = Allreduce("x", shape);
    CHECK(CheckRequest(request).code() == StatusCode::kInvalidArgument);
    CHECK(RoundTrip(request).code() == StatusCode::kCorrupt);
  }
  CHECK(RoundTrip(Allreduce("x", {huge, 0})).ok());
  CHECK(RoundTrip(Allreduce("x", {})).ok());
}

TEST_CASE("a group whose sum overflows is refused", "[wire]") {
  Request request = Allreduce("g", {int64_t{1} << 60});
  CHECK(CheckRequest(request).ok());
  request.tensors.push_back(request.tensors[0]);
  CHECK(CheckRequest(request).code() == StatusCode::kInvalidArgument);
  request.tensors.pop_back();
  request.placement = int64_t{1} << 62;
  CHECK(RoundTrip(request).code() == StatusCode::kCorrupt);
}

TEST_CASE("names and groups beyond the bounds are refused", "[wire]") {
  CHECK(CheckRequest(Allreduce(std::string(kMaxNameBytes, 'n'))).ok());
  const Request long_name = Allreduce(std::string(kMaxNameBytes + 1, 'n'));
  CHECK(CheckRequest(long_name).code() == StatusCode::kInvalidArgument);
  CHECK(RoundTrip(long_name).code() == StatusCode::kCorrupt);
  Request group = Allreduce("g", {});
  group.tensors.resize(kMaxTensorsPerRequest + 1, group.tensors[0]);
  CHECK(CheckRequest(group).code() == StatusCode::kInvalidArgument);
  CHECK(RoundTrip(group).code() == StatusCode::kCorrupt);
  group.tensors.resize(20000, group.tensors[0]);
  for (TensorSpec& tensor : group.tensors) tensor.name.assign(kMaxNameBytes, 't');
  CHECK_THAT(CheckRequest(group).message(), Catch::Contains("Split the group"));
}

TEST_CASE("sizes are known before encoding", "[wire]") {
  Random random(5);
  for (int i = 0; i < 100; ++i) {
    Batch batch;
    const size_t empty_batch = Encode(batch).size();
    batch.requests = {Shared(RandomRequest(random))};
    CHECK(Encode(batch).size() == empty_batch + EncodedBytes(*batch.requests[0]));
    Frame frame;
    const size_t empty_frame = Encode(frame).size();
    frame.responses = {random.Chance(50) ? RandomAgreed(random) : RandomError(random)};
    CHECK(Encode(frame).size() == empty_frame + EncodedBytes(frame.responses[0]));
  }
}

TEST_CASE("a long reason to leave is cut where no character ends", "[wire]") {
  Batch batch;
  batch.leave_reason = std::string(kMaxTextBytes - 1, 'a') + "\u00e9tude";
  const Result<Batch> back = Decoded(Encode(batch), static_cast<Batch*>(nullptr));
  REQUIRE(back.ok());
  CHECK(*back->leave_reason == std::string(kMaxTextBytes - 1, 'a'));
}

TEST_CASE("one message is not taken for the other, nor for another version's", "[wire]") {
  const std::vector<uint8_t> bytes = Encode(Batch{});
  CHECK_THAT(StatusOf<Frame>(bytes).message(), Catch::Contains("another kind"));
  std::vector<uint8_t> newer = bytes;
  ++newer[1];
  CHECK_THAT(StatusOf<Batch>(newer).message(), Catch::Contains("another version"));
}

}  // namespace rueda::control
