#include "timeline/rank_trace.h"

#include <algorithm>
#include <string>

#include "control/process_sets.h"
#include "core/status.h"
#include "timeline/trace_text.h"

namespace rueda::timeline {
namespace {

constexpr uint64_t kRowsPerGroup = 1000000;

std::string CollectivesOf(uint32_t process_set) {
  if (process_set == 0) return "collectives";
  if (process_set < control::kPairBit) {
    return "collectives of process set " + std::to_string(process_set);
  }
  const auto [low, high] = control::RanksOfPair(process_set);
  return "collectives of ranks " + std::to_string(low) + " and " + std::to_string(high);
}

// The first moment that is known: a request that was under way when recording began is shown from
// there on.
int64_t BeginOf(const RequestSpan& span) {
  for (const int64_t time : {span.submitted, span.offered, span.agreed, span.begun}) {
    if (time != 0) return time;
  }
  return span.done;
}

void AddError(int32_t error, EventText* event) {
  if (error != 0) event->Argument("error", CodeName(static_cast<StatusCode>(error)));
}

}  // namespace

RankTrace::RankTrace(int rank, std::string_view label, std::string* out) : rank_(rank), out_(out) {
  EventText('M', rank, 0, out).Name("process_name").Argument("name", label);
  EventText('M', rank, 0, out).Name("process_sort_index").Argument("sort_index", int64_t{rank});
}

void RankTrace::NameRow(uint64_t row, std::string_view name) {
  EventText('M', rank_, row, out_).Name("thread_name").Argument("name", name);
  EventText('M', rank_, row, out_).Name("thread_sort_index").Argument("sort_index", row);
}

uint64_t RankTrace::Row(Group group, uint64_t key, std::string_view name) {
  const auto [known, opened] = rows_.try_emplace({group, key}, 0);
  if (opened) {
    known->second = static_cast<uint64_t>(group) * kRowsPerGroup + rows_of_group_[group]++;
    NameRow(known->second, name);
  }
  return known->second;
}

uint64_t RankTrace::RequestRow(const RequestSpan& span, int64_t begun) {
  const uint64_t first = static_cast<uint64_t>(Group::kRequests) * kRowsPerGroup;
  const size_t lane = lanes_.Take(InTrace(begun), InTrace(std::max(span.done, begun)));
  for (; named_lanes_ <= lane; ++named_lanes_) {
    NameRow(first + named_lanes_, "requests " + std::to_string(named_lanes_ + 1));
  }
  return first + lane;
}

void RankTrace::Visit(const RequestSpan& span) {
  const int64_t begun = BeginOf(span);
  const uint64_t row = RequestRow(span, begun);
  {
    EventText event('X', rank_, row, out_);
    event.Span(InTrace(begun), InTrace(span.done)).Category("request");
    event.Name(NameOf(span.kind), span.name).Argument("tensor", span.name);
    event.Argument("bytes", span.bytes).Argument("tensors", uint64_t{span.tensors});
    event.Argument("op", NameOf(span.kind)).Argument("process_set", uint64_t{span.process_set});
    if (span.frame != 0) event.Argument("frame", span.frame);
    if (span.bucket != 0) event.Argument("bucket", span.bucket);
    if (span.submitted == 0) event.Flag("began_before_recording", true);
    AddError(span.error, &event);
  }
  Phase(span, row);
}

// The parts of a request's way, as far as they are known. What failed ended where it was.
void RankTrace::Phase(const RequestSpan& span, uint64_t row) {
  const int64_t negotiated = span.agreed != 0 ? span.agreed : span.done;
  const int64_t queued = span.begun != 0 ? span.begun : span.done;
  // Recording may have begun between the submission and the offer.
  const int64_t negotiating = span.submitted != 0 ? span.submitted : span.offered;
  if (negotiating != 0) {
    EventText event('X', rank_, row, out_);
    event.Span(InTrace(negotiating), InTrace(negotiated)).Category("negotiation");
    event.Name("negotiation");
    if (span.submitted != 0 && span.offered != 0)
      event.Microseconds("offered_after_us", span.offered - span.submitted);
    if (span.last_rank >= 0) {
      event.Argument("last_rank", int64_t{span.last_rank});
      event.Microseconds("last_after_first_us", span.spread);
    }
  }
  if (span.agreed != 0) {
    EventText event('X', rank_, row, out_);
    event.Span(InTrace(span.agreed), InTrace(queued)).Category("queue").Name("queue");
  }
  if (span.begun != 0) {
    EventText event('X', rank_, row, out_);
    event.Span(InTrace(span.begun), InTrace(span.done)).Category("run").Name("run");
  }
}

void RankTrace::Visit(const BucketSpan& span) {
  const uint64_t row = Row(Group::kCollectives, span.process_set, CollectivesOf(span.process_set));
  EventText event('X', rank_, row, out_);
  event.Span(InTrace(span.begun), InTrace(span.done)).Category("collective");
  event.Name(NameOf(span.kind), span.name).Argument("first_tensor", span.name);
  event.Argument("bytes", span.bytes).Argument("tensors", uint64_t{span.tensors});
  event.Argument("op", NameOf(span.kind)).Argument("dtype", NameOf(span.dtype));
  event.Argument("process_set", uint64_t{span.process_set});
  event.Argument("frame", span.frame).Argument("bucket", span.bucket);
  event.Flag("in_place", span.in_place);
  if (span.absent) event.Flag("absent", true);
  AddError(span.error, &event);
}

void RankTrace::Visit(const CopySpan& span) {
  EventText event('X', rank_, Row(Group::kCopies, 0, "copies"), out_);
  event.Span(InTrace(span.begun), InTrace(span.done)).Category("copy");
  event.Name(span.out ? "copy out" : "copy in").Argument("bytes", span.bytes);
}

void RankTrace::Visit(const WaitSpan& span) {
  const uint64_t row = Row(Group::kWaits, static_cast<uint32_t>(span.thread),
                           "waits of thread " + std::to_string(span.thread));
  EventText event('X', rank_, row, out_);
  event.Span(InTrace(span.begun), InTrace(span.done)).Category("wait");
  event.Name("wait", span.name).Argument("tensor", span.name);
}

void RankTrace::Visit(const FrameMark& mark) {
  EventText event('i', rank_, Row(Group::kFrames, 0, "frames"), out_);
  event.At(InTrace(mark.at)).Category("frame").Name("frame", std::to_string(mark.number));
  event.Argument("frame", mark.number).Argument("responses", uint64_t{mark.responses});
}

}  // namespace rueda::timeline
