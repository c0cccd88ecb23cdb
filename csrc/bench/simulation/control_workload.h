// ControlWorkload: what the simulated ranks submit, step by step.
//
// Ranks of one group submit the same, so that a few of a group stand for all of it. Seeded: the
// same options are the same steps. Requests that do not change stay the same objects, as a training
// script's do. For one thread.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "control/request.h"

namespace rueda::bench {

enum class ControlCase {
  kCached,    // every step the same tensors
  kUncached,  // the first step of a job: everything in full
  kShapes,    // a tenth of the tensors has a new shape in each step
  kSets,      // half of the tensors in a process set of the even ranks and one of the odd ranks
  kJoin,      // one rank has joined
  kMix,       // new shapes, new names, process sets, and steps that a rank joins instead
};

struct ControlWorkloadOptions {
  ControlCase which = ControlCase::kCached;
  int ranks = 2;
  int tensors = 300;
  int64_t tensor_bytes = 1024;
  uint64_t seed = 1;
};

class ControlWorkload {
 public:
  static constexpr int kGroups = 3;
  static constexpr int kJoiner = 2;  // the group of the rank that joins in this step

  explicit ControlWorkload(const ControlWorkloadOptions& options);

  // Steps before what is measured, for which a job is in the state that the case is about.
  int warm_up_steps() const;
  void NextStep();

  int ranks() const { return options_.ranks; }
  // In this step.
  int GroupOf(int rank) const;
  const std::vector<control::SharedRequest>& OffersOf(int rank) const;
  // Who joins, or has joined, or -1.
  int joiner() const { return joiner_; }
  // Whether a join of an earlier step, or of this one, stays open at the end of it.
  bool join_stays_open() const { return options_.which == ControlCase::kJoin && joiner_ >= 0; }

  // By number; set 0 is all ranks.
  const std::map<uint32_t, std::vector<int>>& sets() const { return sets_; }

  // A few of each group, rank 0 among them; ascending. Joiners are some of them.
  const std::vector<int>& sampled() const { return sampled_; }

 private:
  struct Tensor {
    std::string name;
    int64_t elements = 0;
    bool in_sub_set = false;
    std::array<control::SharedRequest, 2> offers;  // of even ranks, of odd ranks
  };

  bool has_sets() const {
    return options_.which == ControlCase::kSets || options_.which == ControlCase::kMix;
  }
  void Sample();
  void Make(Tensor& tensor) const;
  void ChangeShape(Tensor& tensor);
  void MixUp();
  int ChooseJoiner();
  void List();
  uint64_t Below(uint64_t bound) { return random_() % bound; }

  const ControlWorkloadOptions options_;
  std::mt19937_64 random_;
  std::map<uint32_t, std::vector<int>> sets_;
  std::vector<int> sampled_;
  std::vector<Tensor> tensors_;
  control::SharedRequest join_;
  int step_ = -1;
  int joiner_ = -1;
  int64_t changes_ = 0;
  std::array<std::vector<control::SharedRequest>, kGroups> offers_;
};

}  // namespace rueda::bench
