// Chunks and the recorder that fills them: what is recorded is read, once, or counted as dropped.
#include <atomic>
#include <catch2/catch.hpp>
#include <string>
#include <thread>
#include <vector>

#include "control_samples.h"
#include "status_text.h"
#include "timeline/recorder.h"

namespace rueda::timeline {
namespace {

// Keeps what it visits, names included.
class Kept final : public SpanVisitor {
 public:
  void Visit(const RequestSpan& span) override { Keep(&requests, span); }
  void Visit(const BucketSpan& span) override { Keep(&buckets, span); }
  void Visit(const CopySpan& span) override { copies.push_back(span); }
  void Visit(const WaitSpan& span) override { Keep(&waits, span); }
  void Visit(const FrameMark& mark) override { frames.push_back(mark); }

  size_t size() const {
    return requests.size() + buckets.size() + copies.size() + waits.size() + frames.size();
  }

  std::vector<RequestSpan> requests;
  std::vector<BucketSpan> buckets;
  std::vector<CopySpan> copies;
  std::vector<WaitSpan> waits;
  std::vector<FrameMark> frames;

 private:
  template <typename Span>
  void Keep(std::vector<Span>* list, Span span) {
    names_.push_back(std::make_unique<std::string>(span.name));
    span.name = *names_.back();
    list->push_back(span);
  }
  std::vector<std::unique_ptr<std::string>> names_;
};

RequestSpan SomeRequest(std::string_view name = "grad") {
  RequestSpan span;
  span.kind = OpKind::kReducescatter;
  span.error = 201;
  span.process_set = 3;
  span.tensors = 2;
  span.bytes = int64_t{1} << 40;
  span.frame = 17;
  span.bucket = 5;
  span.submitted = 100;
  span.offered = 200;
  span.agreed = 300;
  span.begun = 400;
  span.done = 500;
  span.last_rank = 2;
  span.spread = 77;
  span.name = name;
  return span;
}

BucketSpan SomeBucket() {
  return {OpKind::kReduce, DType::kBFloat16, true, true, 302, 1, 300, 4096, 9, 8, 10, 20, "first"};
}

TEST_CASE("every kind of span comes back as it was written", "[timeline][chunk]") {
  ChunkWriter writer;
  const CopySpan copy{true, 512, 30, 40};
  const WaitSpan wait{4711, 50, 60, "loss"};
  const FrameMark frame{18, 300, 70};
  REQUIRE(writer.Append(SomeRequest()));
  REQUIRE(writer.Append(SomeBucket()));
  REQUIRE(writer.Append(copy));
  REQUIRE(writer.Append(wait));
  REQUIRE(writer.Append(frame));
  CHECK(writer.spans() == 5);
  const std::vector<uint8_t> bytes = writer.Take();
  CHECK(SpansIn(bytes) == 5);
  CHECK(writer.spans() == 0);
  Kept kept;
  REQUIRE(ReadChunk(bytes, &kept) == Status::Ok());
  CHECK(kept.requests == std::vector<RequestSpan>{SomeRequest()});
  CHECK(kept.buckets == std::vector<BucketSpan>{SomeBucket()});
  CHECK(kept.copies == std::vector<CopySpan>{copy});
  CHECK(kept.waits == std::vector<WaitSpan>{wait});
  CHECK(kept.frames == std::vector<FrameMark>{frame});
}

TEST_CASE("a chunk refuses what does not fit, and long names are cut between characters",
          "[timeline][chunk]") {
  ChunkWriter writer;
  std::string name;
  while (name.size() < 4000) name += "\u00fc";
  size_t appended = 0;
  while (writer.Append(SomeRequest(name))) ++appended;
  CHECK(appended > 20);
  const std::vector<uint8_t> bytes = writer.Take();
  CHECK(bytes.size() <= kMaxChunkBytes);
  Kept kept;
  REQUIRE(ReadChunk(bytes, &kept).ok());
  REQUIRE(kept.requests.size() == appended);
  CHECK(kept.requests.back().name == std::string_view(name).substr(0, kMaxSpanName));
  CHECK(writer.Append(SomeRequest(name)));
}

TEST_CASE("a damaged chunk is refused, or read as something that can be drawn",
          "[timeline][chunk]") {
  ChunkWriter writer;
  REQUIRE(writer.Append(SomeBucket()));
  REQUIRE(writer.Append(SomeRequest()));
  REQUIRE(writer.Append(WaitSpan{1, 2, 3, "x"}));
  const std::vector<uint8_t> good = writer.Take();
  for (size_t length = 0; length < good.size(); ++length) {
    Kept kept;
    REQUIRE(ReadChunk({good.data(), length}, &kept).code() == StatusCode::kCorrupt);
  }
  control::Random random(5);
  for (int i = 0; i < 5000; ++i) {
    std::vector<uint8_t> bad = good;
    for (size_t flips = 1 + random.Below(3); flips > 0; --flips) {
      bad[random.Below(bad.size())] ^= static_cast<uint8_t>(1U << random.Below(8));
    }
    Kept kept;
    const Status read = ReadChunk(bad, &kept);
    REQUIRE((read.ok() || read.code() == StatusCode::kCorrupt));
    for (const RequestSpan& span : kept.requests) {
      REQUIRE(span.done >= 0);
      REQUIRE(static_cast<int>(span.kind) < kOpKindCount);
    }
  }
}

class RecorderTest {
 protected:
  Kept TakeAll() {
    Kept kept;
    while (const auto chunk = recorder_.TakeChunk()) REQUIRE(ReadChunk(*chunk, &kept).ok());
    return kept;
  }

  std::shared_ptr<ManualClock> clock_ = std::make_shared<ManualClock>();
  Recorder recorder_{clock_};
};

TEST_CASE_METHOD(RecorderTest, "a recorder is off until it is started, and off again when stopped",
                 "[timeline][recorder]") {
  CHECK_FALSE(recorder_.on());
  recorder_.Start(true);
  CHECK(recorder_.on());
  CHECK(recorder_.marks_frames());
  recorder_.Stop();
  CHECK_FALSE(recorder_.on());
  recorder_.Start(false);
  CHECK_FALSE(recorder_.marks_frames());
}

TEST_CASE_METHOD(RecorderTest, "spans are due some time after the first, or when there are many",
                 "[timeline][recorder]") {
  CHECK(recorder_.due() == kNever);
  clock_->Advance(std::chrono::seconds(1));
  recorder_.Record(SomeRequest());
  CHECK(recorder_.due() == clock_->Now() + Recorder::kLongest);
  clock_->Advance(std::chrono::milliseconds(100));
  recorder_.Record(SomeRequest());
  CHECK(recorder_.due() == clock_->Now() - std::chrono::milliseconds(100) + Recorder::kLongest);
  CHECK(TakeAll().requests.size() == 2);
  CHECK(recorder_.due() == kNever);
  size_t recorded = 0;
  for (; recorder_.due() != TimePoint{}; ++recorded) recorder_.Record(SomeRequest());
  CHECK(recorded > Recorder::kManyChunks * 100);
  CHECK(TakeAll().requests.size() == recorded);
  CHECK(recorder_.dropped() == 0);
}

TEST_CASE_METHOD(RecorderTest, "what nobody takes stays bounded, and what is dropped is counted",
                 "[timeline][recorder]") {
  constexpr size_t kSpans = 60000;  // more than 4 MiB
  for (size_t i = 0; i < kSpans; ++i) recorder_.Record(SomeRequest());
  const size_t kept = TakeAll().size();
  CHECK(kept < kSpans);
  CHECK(recorder_.dropped() == kSpans - kept);
  recorder_.Record(SomeRequest());
  CHECK(TakeAll().size() == 1);
  recorder_.Clear();
  CHECK(recorder_.dropped() == 0);
}

TEST_CASE_METHOD(RecorderTest, "waits of other threads are bounded and counted, too",
                 "[timeline][recorder]") {
  constexpr size_t kSpans = 60000;
  for (size_t i = 0; i < kSpans; ++i) recorder_.Record(WaitSpan{1, 2, 3, "name"});
  const size_t kept = TakeAll().size();
  CHECK(kept < kSpans);
  CHECK(recorder_.dropped() == kSpans - kept);
}

TEST_CASE("threads record waits while the engine records and takes", "[timeline][recorder]") {
  Recorder recorder(std::make_shared<SteadyClock>());
  constexpr size_t kThreads = 3;
  constexpr size_t kEach = 20000;
  std::atomic<size_t> running{kThreads};
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < kEach; ++i) {
        recorder.Record(WaitSpan{static_cast<int32_t>(t), 1, 2, "w"});
      }
      running.fetch_sub(1);
    });
  }
  Kept kept;
  bool read = true;
  size_t requests = 0;
  const auto take = [&] {
    while (const auto chunk = recorder.TakeChunk()) read &= ReadChunk(*chunk, &kept).ok();
  };
  while (running.load() > 0) {
    recorder.Record(SomeRequest());
    ++requests;
    take();
  }
  for (std::thread& thread : threads) thread.join();
  take();
  CHECK(read);
  CHECK(kept.requests.size() == requests);
  CHECK(kept.waits.size() + recorder.dropped() == kThreads * kEach);
}

}  // namespace
}  // namespace rueda::timeline
