#include "bench/simulation/control_workload.h"

#include <algorithm>
#include <numeric>

namespace rueda::bench {
namespace {

constexpr uint32_t kEven = 1;
constexpr uint32_t kOdd = 2;
constexpr int kSampledOfGroup = 8;
// Of kJoin: all in full, all cached, the join.
constexpr int kJoinStep = 2;

// As long, and as much alike, as the names of ResNet's parameters.
std::string NameOf(int index) {
  constexpr std::array<const char*, 9> kParts = {"conv1.weight", "bn1.weight",   "bn1.bias",
                                                 "conv2.weight", "bn2.weight",   "bn2.bias",
                                                 "bn3.weight",   "conv3.weight", "bn3.bias"};
  const int block = index / static_cast<int>(kParts.size());
  const auto part = static_cast<size_t>(index) % kParts.size();
  return "layer" + std::to_string(1 + block % 4) + "." + std::to_string(block / 4) + "." +
         kParts[part];
}

}  // namespace

ControlWorkload::ControlWorkload(const ControlWorkloadOptions& options)
    : options_(options), random_(options.seed) {
  for (int rank = 0; rank < options_.ranks; ++rank) {
    sets_[0].push_back(rank);
    if (has_sets()) sets_[rank % 2 == 0 ? kEven : kOdd].push_back(rank);
  }
  Sample();
  for (int i = 0; i < options_.tensors; ++i) {
    Tensor& tensor = tensors_.emplace_back();
    tensor.name = NameOf(i);
    tensor.elements = options_.tensor_bytes / 4;
    tensor.in_sub_set = has_sets() && i >= options_.tensors / 2;
    Make(tensor);
  }
  control::Request join;
  join.kind = OpKind::kJoin;
  join.name = "join";
  join.transient = true;
  join_ = std::make_shared<const control::Request>(join);
}

void ControlWorkload::Sample() {
  for (int parity = 0; parity < 2; ++parity) {
    // Places spread over the group, its ends among them.
    const int members = (options_.ranks - parity + 1) / 2;
    const int chosen = std::min(members, kSampledOfGroup);
    for (int i = 0; i < chosen; ++i) {
      const int place = chosen == 1 ? 0 : i * (members - 1) / (chosen - 1);
      sampled_.push_back(2 * place + parity);
    }
  }
  std::sort(sampled_.begin(), sampled_.end());
}

int ControlWorkload::warm_up_steps() const {
  switch (options_.which) {
    case ControlCase::kUncached:
      return 0;
    case ControlCase::kJoin:
      return kJoinStep + 1;
    default:
      return 3;
  }
}

void ControlWorkload::Make(Tensor& tensor) const {
  for (uint32_t parity = 0; parity < 2; ++parity) {
    if (parity == 1 && !tensor.in_sub_set) {
      tensor.offers[1] = tensor.offers[0];
      return;
    }
    control::Request request;
    request.name = tensor.name;
    request.process_set = tensor.in_sub_set ? (parity == 0 ? kEven : kOdd) : 0;
    request.tensors = {{tensor.name, DType::kFloat32, {tensor.elements}}};
    tensor.offers[parity] = std::make_shared<const control::Request>(std::move(request));
  }
}

void ControlWorkload::ChangeShape(Tensor& tensor) {
  tensor.elements = options_.tensor_bytes / 4 + ++changes_;
  Make(tensor);
}

void ControlWorkload::NextStep() {
  ++step_;
  if (options_.which == ControlCase::kJoin && step_ == kJoinStep) joiner_ = options_.ranks - 1;
  if (options_.which == ControlCase::kShapes && step_ > 0) {
    for (size_t i = 0; i < tensors_.size(); i += 10) ChangeShape(tensors_[i]);
  }
  if (options_.which == ControlCase::kMix && step_ > 0) MixUp();
  List();
}

// Up to a fifth of the tensors has a new shape, some have a new name, and in one step of four a
// rank has no data.
void ControlWorkload::MixUp() {
  const uint64_t changed = Below(20);
  for (Tensor& tensor : tensors_) {
    const uint64_t drawn = Below(100);
    if (drawn < changed) ChangeShape(tensor);
    if (drawn == 99) {
      tensor.name += "'";
      Make(tensor);
    }
  }
  joiner_ = Below(4) == 0 ? ChooseJoiner() : -1;
}

int ControlWorkload::ChooseJoiner() {
  return sampled_[1 + static_cast<size_t>(Below(sampled_.size() - 1))];
}

void ControlWorkload::List() {
  for (auto& offers : offers_) offers.clear();
  if (joiner_ >= 0 && (options_.which == ControlCase::kMix || step_ == kJoinStep)) {
    offers_[kJoiner].push_back(join_);
  }
  // The others offer nothing while that one joins for good.
  if (options_.which == ControlCase::kJoin && step_ == kJoinStep) return;
  for (size_t parity = 0; parity < 2; ++parity) {
    for (const Tensor& tensor : tensors_) offers_[parity].push_back(tensor.offers[parity]);
    // Where a rank was out of data, the others say that they are, too, and go on with it.
    if (options_.which == ControlCase::kMix && joiner_ >= 0) offers_[parity].push_back(join_);
  }
}

int ControlWorkload::GroupOf(int rank) const { return rank == joiner_ ? kJoiner : rank % 2; }

const std::vector<control::SharedRequest>& ControlWorkload::OffersOf(int rank) const {
  return offers_[static_cast<size_t>(GroupOf(rank))];
}

}  // namespace rueda::bench
