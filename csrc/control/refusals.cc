#include "control/refusals.h"

#include <chrono>

#include "control/words.h"

namespace rueda::control {
namespace {

constexpr int kMostAccounts = 4;  // in one error

std::string Seconds(Duration age) {
  using std::chrono::duration_cast;
  if (age < std::chrono::seconds(10)) {
    return std::to_string(duration_cast<std::chrono::milliseconds>(age).count()) + " ms";
  }
  return std::to_string(duration_cast<std::chrono::seconds>(age).count()) + " s";
}

// " Rank 1 is stopped. Rank 4 is ...", of the first few that something is known of.
std::string WhatTheyDo(const std::vector<int>& missing, const std::map<int, std::string>& doing) {
  std::string text;
  int told = 0;
  for (const int rank : missing) {
    const auto known = doing.find(rank);
    if (known == doing.end()) continue;
    text += " Rank " + std::to_string(rank) + " " + known->second + ".";
    if (++told == kMostAccounts) break;
  }
  return text;
}

}  // namespace

Status Stalled(const Topology& topology, const Entry& entry, const std::vector<int>& missing,
               Duration age, const std::map<int, std::string>& doing) {
  return Status(StatusCode::kStalled,
                Subject(entry.kind(), entry.key.name) + " was given up after " + Seconds(age) +
                    ": " + NamedRankList(topology, missing) + " did not offer it." +
                    WhatTheyDo(missing, doing) +
                    " Look where these ranks are (a branch or a loop that only some ranks take is "
                    "the usual cause), or raise the stall limit.")
      .Blame(missing[0]);
}

Status NotInSet(int rank, const Request& request, const ProcessSet* set) {
  const std::string id = std::to_string(request.process_set);
  const std::string what = Subject(request.kind, request.name) + " names process set " + id;
  if (set == nullptr) {
    return {StatusCode::kInvalidArgument, what + ", which does not exist. Add it first."};
  }
  return {StatusCode::kInvalidArgument, what + " (" + RankList(set->ranks()) + "), which rank " +
                                            std::to_string(rank) +
                                            " is not in. Call it on members only."};
}

Status WaitsForJoined(int rank, uint32_t process_set) {
  return {StatusCode::kInvalidArgument,
          "join of process set " + std::to_string(process_set) + " cannot wait for rank " +
              std::to_string(rank) +
              ", which has joined the set of all ranks. Join that one, too, or join the process "
              "set first on each of its ranks."};
}

Status NeedsEveryone(const Request& request, const std::vector<int>& absent) {
  return {StatusCode::kInvalidArgument, std::string(NameOf(request.kind)) +
                                            " needs every rank, but " + RankList(absent) +
                                            (absent.size() == 1 ? " has" : " have") +
                                            " joined. Call it before join() or after it."};
}

Status SetInUse(const Request& request) {
  return {
      StatusCode::kInvalidArgument,
      std::string(NameOf(request.kind)) + ": the process set is in use. Wait for its work first."};
}

Status SetRemoved(const Entry& entry, uint32_t process_set) {
  return {StatusCode::kInvalidArgument,
          Subject(entry.kind(), entry.key.name) + " was on its way when process set " +
              std::to_string(process_set) +
              " was removed. Wait for asynchronous work of a process set before removing it."};
}

Status TooLong(const Request& request) {
  return {StatusCode::kInvalidArgument,
          Subject(request.kind, request.name) +
              " has too many tensors for one answer. Split the group."};
}

Status ProtocolBroken(const Topology& topology, int rank, const std::string& what) {
  return Status(StatusCode::kCorrupt,
                topology.Describe(rank) + " " + what +
                    ", which breaks the protocol. Check that every rank runs the same version of "
                    "rueda, and report this.")
      .Blame(rank);
}

}  // namespace rueda::control
