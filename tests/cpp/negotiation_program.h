// Random programs for the negotiation simulation: what every rank will offer, and how it must end.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "control/request.h"
#include "control_samples.h"

namespace rueda::control {

using SharedRequest = std::shared_ptr<const Request>;
using Key = std::pair<uint32_t, std::string>;  // process set and name

// One use of a name by the members of its set.
struct Use {
  Key key;
  std::vector<SharedRequest> offers;  // by rank; null: not a member
  bool mismatch = false;              // planted on one rank,
  int spoiler = -1;                   // this one
  std::vector<bool> skipped = {};     // by rank: it joins without having offered this; empty: none
};

struct Program {
  int size = 1;
  std::vector<std::vector<int>> sets;  // by id
  std::vector<std::vector<Use>> steps;
  std::map<size_t, Use> joins;  // by the step that it ends
};

// How many offers must travel in full: each rank's first, each after a change, an error or when the
// name is transient. Holds if nobody leaves early and slots suffice.
inline size_t FullOffersOf(const Program& program) {
  size_t full = 0;
  std::map<std::pair<int, Key>, SharedRequest> known;
  for (const std::vector<Use>& step : program.steps) {
    for (const Use& use : step) {
      for (int rank = 0; rank < program.size; ++rank) {
        const SharedRequest& offer = use.offers[static_cast<size_t>(rank)];
        if (!offer) continue;
        SharedRequest& last = known[{rank, use.key}];
        full += last && *last == *offer ? 0 : 1;
        last = use.mismatch || offer->transient ? nullptr : offer;
      }
    }
  }
  return full;
}

// Writes a program: a fixed cast of names whose requests change now and then.
class ProgramWriter {
 public:
  ProgramWriter(Random& random, int size) : random_(random) {
    program_.size = size;
    program_.sets.emplace_back(static_cast<size_t>(size));
    std::iota(program_.sets[0].begin(), program_.sets[0].end(), 0);
    if (size >= 2 && random.Chance(50)) AddSubset();
  }

  Program Write() {
    std::vector<Role> cast;
    for (size_t i = 3 + random_.Below(8); i > 0; --i)
      cast.push_back(MakeRole("n" + std::to_string(i)));
    // The same name in two sets is two requests.
    for (const size_t set : {size_t{0}, program_.sets.size() - 1})
      cast.push_back(MakeRole("n0", set));
    if (program_.sets.size() == 1) cast.pop_back();
    const bool joins = random_.Chance(40);
    for (size_t step = 4 + random_.Below(12); step > 0; --step) {
      std::vector<Use>& uses = program_.steps.emplace_back();
      for (Role& role : cast) {
        if (random_.Chance(85)) uses.push_back(NextUse(role));
      }
      if (joins) AddJoin();
    }
    return std::move(program_);
  }

 private:
  struct Role {
    Key key;
    std::vector<SharedRequest> offers;  // by rank
  };

  void AddSubset() {
    std::vector<int> subset;
    for (const int rank : program_.sets[0]) {
      if (random_.Chance(60)) subset.push_back(rank);
    }
    if (!subset.empty()) program_.sets.push_back(subset);
  }

  // Every rank joins at the end of the step just written, some without having offered all of it.
  void AddJoin() {
    if (!random_.Chance(50)) return;
    const auto set = static_cast<uint32_t>(random_.Below(program_.sets.size()));
    const Request request = Join(set);
    Use join{{set, request.name}, {}};
    join.offers.resize(static_cast<size_t>(program_.size));
    for (const int rank : program_.sets[set]) {
      join.offers[static_cast<size_t>(rank)] = std::make_shared<const Request>(request);
    }
    for (Use& use : program_.steps.back()) {
      use.skipped.resize(static_cast<size_t>(program_.size));
      if (set != 0 && use.key.first != set) continue;
      for (size_t rank = 0; rank < use.skipped.size(); ++rank)
        use.skipped[rank] = random_.Chance(30);
    }
    program_.joins[program_.steps.size() - 1] = std::move(join);
  }

  Role MakeRole(const std::string& name) {
    return MakeRole(name, random_.Below(program_.sets.size()));
  }

  Role MakeRole(const std::string& name, size_t set) {
    const Request request = MakeRequest(name, set);
    Role role{{static_cast<uint32_t>(set), name}, {}};
    role.offers.resize(static_cast<size_t>(program_.size));
    const bool placed = request.kind == OpKind::kAllreduce && random_.Chance(50);
    for (const int rank : program_.sets[set]) {
      Request own = request;
      if (request.kind == OpKind::kAllgather) own.tensors[0].shape[0] = random_.Int(0, 4);
      if (placed) own.placement = 64 * random_.Int(0, 3);
      role.offers[static_cast<size_t>(rank)] = std::make_shared<const Request>(std::move(own));
    }
    return role;
  }

  Request MakeRequest(const std::string& name, size_t set) {
    const std::vector<int>& members = program_.sets[set];
    Request request;
    switch (random_.Below(5)) {
      case 0:
        request = Allgather(name, {1, random_.Int(1, 3)});
        break;
      case 1:
        request = Broadcast(name, members[random_.Below(members.size())], {random_.Int(0, 5)});
        break;
      case 2:
        request = Barrier(name);
        break;
      default:
        request = Allreduce(name, {random_.Int(0, 40)});
        request.op = random_.Chance(50) ? ReduceOp::kAverage : ReduceOp::kSum;
        if (random_.Chance(50)) request.tensors.push_back({"second", DType::kInt32, {3}});
    }
    request.process_set = static_cast<uint32_t>(set);
    request.transient = random_.Chance(15);
    if (random_.Chance(30)) request.priority = static_cast<int32_t>(random_.Int(-2, 2));
    return request;
  }

  Use NextUse(Role& role) {
    const std::vector<int>& members = program_.sets[role.key.first];
    const int someone = members[random_.Below(members.size())];
    if (random_.Chance(12)) {
      const auto priority = static_cast<int32_t>(random_.Int(-2, 2));
      for (const int rank : members) ChangeAlike(role.offers[static_cast<size_t>(rank)], priority);
    }
    if (random_.Chance(25)) ChangeOwn(role.offers[static_cast<size_t>(someone)]);
    if (random_.Chance(30)) CopyAll(role);
    Use use{role.key, role.offers, members.size() >= 2 && random_.Chance(5), someone};
    if (use.mismatch)
      use.offers[static_cast<size_t>(someone)] = Spoiled(*use.offers[static_cast<size_t>(someone)]);
    return use;
  }

  // What all ranks change alike.
  static void ChangeAlike(SharedRequest& offer, int32_t priority) {
    auto changed = std::make_shared<Request>(*offer);
    changed->priority = priority;
    for (TensorSpec& tensor : changed->tensors) tensor.shape.back() += 1;
    offer = std::move(changed);
  }

  // What a rank may change alone: its rows of an allgather, its place.
  void ChangeOwn(SharedRequest& offer) {
    auto changed = std::make_shared<Request>(*offer);
    if (offer->kind == OpKind::kAllgather) changed->tensors[0].shape[0] = random_.Int(0, 4);
    if (offer->kind == OpKind::kAllreduce) {
      changed->placement = random_.Chance(30) ? kPrivate : 64 * random_.Int(0, 3);
    }
    offer = std::move(changed);
  }

  // Equal requests at other addresses.
  static void CopyAll(Role& role) {
    for (SharedRequest& offer : role.offers) {
      if (offer) offer = std::make_shared<const Request>(*offer);
    }
  }

  // The request with something that all ranks must agree on made different.
  SharedRequest Spoiled(const Request& request) {
    auto spoiled = std::make_shared<Request>(request);
    if (request.kind == OpKind::kBarrier) {
      spoiled->kind = OpKind::kAllreduce;
      return spoiled;
    }
    TensorSpec& tensor = spoiled->tensors[random_.Below(spoiled->tensors.size())];
    switch (random_.Below(4)) {
      case 0:
        tensor.dtype = DType::kFloat16;
        break;
      case 1:
        tensor.shape.push_back(2);
        break;
      case 2:
        spoiled->tensors.push_back({"extra", DType::kInt8, {1}});
        break;
      default:
        spoiled->kind = OpKind::kBarrier;
        spoiled->tensors.clear();
    }
    return spoiled;
  }

  Random& random_;
  Program program_;
};

}  // namespace rueda::control
