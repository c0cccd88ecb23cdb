// RankTrace: one rank's spans as events of the trace, on rows that it opens and names.
//
// A rank is a process of the trace. Its rows: frames; the collectives of each process set; copies;
// the waits of each thread; and requests, as many rows as were ever under way together. One thread
// at a time.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "timeline/chunk.h"
#include "timeline/lanes.h"

namespace rueda::timeline {

class RankTrace final : public SpanVisitor {
 public:
  // Events are appended to `out`; `label` names the rank. The first event names the process.
  RankTrace(int rank, std::string_view label, std::string* out);

  // What to add to the rank's times for those of the trace.
  void set_offset(int64_t offset) { offset_ = offset; }

  void Visit(const RequestSpan& span) override;
  void Visit(const BucketSpan& span) override;
  void Visit(const CopySpan& span) override;
  void Visit(const WaitSpan& span) override;
  void Visit(const FrameMark& mark) override;

 private:
  // Rows are shown in the order of their numbers.
  enum class Group : uint64_t { kFrames = 1, kCollectives, kCopies, kWaits, kRequests };

  uint64_t Row(Group group, uint64_t key, std::string_view name);
  uint64_t RequestRow(const RequestSpan& span, int64_t begun);
  void NameRow(uint64_t row, std::string_view name);
  void Phase(const RequestSpan& span, uint64_t row);
  int64_t InTrace(int64_t time) const { return time + offset_; }

  const int rank_;
  std::string* const out_;
  int64_t offset_ = 0;
  Lanes lanes_;
  size_t named_lanes_ = 0;
  std::map<std::pair<Group, uint64_t>, uint64_t> rows_;
  std::map<Group, uint64_t> rows_of_group_;
};

}  // namespace rueda::timeline
