#include "engine/stall_witness.h"

#include <utility>

#include "control/words.h"
#include "transport/process_state.h"

namespace rueda::engine {
namespace {

Aside AsideTo(int rank, const control::StallMessage& message) {
  return {AsideTopic::kStall, rank, control::EncodeStallMessage(message)};
}

}  // namespace

StallWitness::StallWitness(const EngineParts* parts, SubmissionTable* table,
                           const Executor* executor)
    : parts_(parts),
      table_(table),
      executor_(executor),
      program_(parts->hooks.describe_program,
               [parker = parts->parker.get()] { parker->Unpark(); }) {}

control::RankFacts StallWitness::Facts() const {
  const TimePoint now = parts_->clock->Now();
  control::RankFacts facts;
  const Executor::LastRun& last = executor_->last_run();
  facts.finished = last.completed;
  if (last.request != nullptr) {
    facts.last = control::Subject(last.request->kind, last.request->name);
    facts.last_ago = now - last.at;
  }
  if (const std::vector<Executor::RunView> runs = executor_->Runs(); !runs.empty()) {
    facts.running = runs.front().description;
    facts.running_for = now - runs.front().begun;
    facts.waits_for = runs.front().waits_for;
  }
  SubmissionTable::Glance glance = table_->SomeInFlight(control::kMaxFactsInFlight);
  facts.in_flight = std::move(glance.some);
  facts.in_flight_count = static_cast<uint32_t>(glance.count);
  facts.main_thread = transport::OwnMainThreadState();
  facts.leaving = leaving_;
  facts.program_follows = program_.can_ask();
  return facts;
}

void StallWitness::Hear(const control::StallQuestion& question, int from) {
  asked_by_ = from;
  facts_for_ = question.number;
  program_for_.reset();
  if (!program_.can_ask() || from != 0) return;
  program_for_ = question.number;
  program_.Ask();
}

Result<bool> StallWitness::Step(ControlRoad* road) {
  if (!facts_for_ && !program_for_) return false;
  bool moved = false;
  if (facts_for_ && road->CanTell(asked_by_)) {
    control::FactsAnswer answer{*std::exchange(facts_for_, std::nullopt), Facts()};
    answer.facts.program_follows = program_for_.has_value();
    RUEDA_RETURN_IF_ERROR(road->Tell(AsideTo(asked_by_, answer)));
    moved = true;
  }
  if (!facts_for_ && program_for_ && road->CanTell(asked_by_)) {
    std::optional<std::string> text = program_.Take();
    if (!text) return moved;
    const uint32_t number = *std::exchange(program_for_, std::nullopt);
    RUEDA_RETURN_IF_ERROR(
        road->Tell(AsideTo(asked_by_, control::ProgramAnswer{number, std::move(*text)})));
    moved = true;
  }
  return moved;
}

}  // namespace rueda::engine
