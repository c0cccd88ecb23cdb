#include "control/agreement.h"

#include <algorithm>
#include <bit>
#include <string>
#include <string_view>

#include "control/disagreement.h"
#include "control/uneven_tensors.h"
#include "control/words.h"

namespace rueda::control {
namespace {

constexpr std::string_view kSameTensor =
    "Make the tensor the same on every rank, or give different tensors different names.";
constexpr std::string_view kSameOperation =
    "Call the same operation for it on every rank, or give different tensors different names.";
constexpr std::string_view kSameArgument = "Pass the same value on every rank.";
constexpr std::string_view kSameGroup = "Group the same tensors in the same order on every rank.";

bool SameBits(double a, double b) {
  return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b);
}

// Whether nothing needs a closer look. What it leaves out, ranks may differ in.
bool PlainlyAlike(const Request& a, const Request& b) {
  return &a == &b || (a.kind == b.kind && a.op == b.op && a.root == b.root &&
                      SameBits(a.prescale, b.prescale) && SameBits(a.postscale, b.postscale) &&
                      a.process_set == b.process_set && a.priority == b.priority &&
                      a.tensors == b.tensors && (IsUneven(a.kind) || a.parts == b.parts));
}

// "[*, 5]" where ranks may differ in the first dimension, if they have one.
std::string OfferedShape(const Request& request, size_t tensor) {
  const std::vector<int64_t>& shape = request.tensors[tensor].shape;
  std::string text = ShapeText(shape);
  if (!IsUneven(request.kind) || shape.empty()) return text;
  return "[*" + text.substr(text.find_first_of(",]"));
}

// Looks for what keeps the members' offers apart, property by property.
class Comparison {
 public:
  Comparison(const Topology& topology, const std::vector<int>& ranks, const Offers& offers)
      : topology_(topology), ranks_(ranks), offers_(offers), first_(*offers.first()) {}

  Status Run() const {
    const bool alike = AllOf([this](const Request& offer) { return PlainlyAlike(first_, offer); });
    if (!alike) {
      RUEDA_RETURN_IF_ERROR(CompareOperation());
      RUEDA_RETURN_IF_ERROR(CompareArguments());
      RUEDA_RETURN_IF_ERROR(CompareTensors());
    }
    return Status::Ok();
  }

 private:
  template <typename Predicate>
  bool AllOf(Predicate holds) const {
    return std::ranges::all_of(offers_.variants(),
                               [&](const Offers::Variant& one) { return holds(*one.request); });
  }

  // Ok if `text` gives the same for all offers; it must tell apart whatever may not differ.
  template <typename Text>
  Status Alike(const std::string& property, std::string_view advice, Text text) const {
    const std::string firsts(text(first_));
    if (AllOf([&](const Request& offer) { return text(offer) == firsts; })) return Status::Ok();
    Disagreement disagreement;
    std::vector<int> present;
    const std::vector<const Request*> offers = offers_.ByNumber(ranks_.size());
    for (size_t i = 0; i < ranks_.size(); ++i) {
      if (offers[i] == nullptr) continue;
      present.push_back(ranks_[i]);
      disagreement.values.emplace_back(text(*offers[i]));
    }
    disagreement.property = property;
    disagreement.advice = advice;
    return Describe(topology_, present, disagreement);
  }

  Status CompareOperation() const {
    const std::string name = Quote(first_.name);
    RUEDA_RETURN_IF_ERROR(Alike("process set of " + name, kSameArgument, [](const Request& offer) {
      return std::to_string(offer.process_set);
    }));
    return Alike("operation on " + name, kSameOperation,
                 [](const Request& offer) { return NameOf(offer.kind); });
  }

  // The arguments that mean something to this operation.
  Status CompareArguments() const {
    if (HasRoot(first_.kind)) {
      RUEDA_RETURN_IF_ERROR(Alike("root rank of " + Whole(), kSameArgument,
                                  [](const Request& offer) { return std::to_string(offer.root); }));
    }
    if (!IsUneven(first_.kind)) {
      RUEDA_RETURN_IF_ERROR(
          Alike((first_.kind == OpKind::kAddProcessSet ? "ranks of " : "process set in ") + Whole(),
                kSameArgument, [](const Request& offer) { return ShapeText(offer.parts); }));
    }
    // Of every operation: the planner orders by it.
    RUEDA_RETURN_IF_ERROR(Alike("priority of " + Whole(), kSameArgument, [](const Request& offer) {
      return std::to_string(offer.priority);
    }));
    if (!Reduces(first_.kind)) return Status::Ok();
    RUEDA_RETURN_IF_ERROR(Alike("op of " + Whole(), kSameArgument,
                                [](const Request& offer) { return NameOf(offer.op); }));
    RUEDA_RETURN_IF_ERROR(Alike("prescale factor of " + Whole(), kSameArgument,
                                [](const Request& offer) { return NumberText(offer.prescale); }));
    return Alike("postscale factor of " + Whole(), kSameArgument,
                 [](const Request& offer) { return NumberText(offer.postscale); });
  }

  Status CompareTensors() const {
    RUEDA_RETURN_IF_ERROR(
        Alike("number of tensors in " + Whole(), kSameGroup,
              [](const Request& offer) { return std::to_string(offer.tensors.size()); }));
    for (size_t i = 0; i < first_.tensors.size(); ++i) {
      const bool alike =
          AllOf([&](const Request& offer) { return offer.tensors[i] == first_.tensors[i]; });
      if (!alike) RUEDA_RETURN_IF_ERROR(CompareTensor(i));
    }
    return Status::Ok();
  }

  Status CompareTensor(size_t i) const {
    RUEDA_RETURN_IF_ERROR(
        Alike("name of tensor " + std::to_string(i) + " of " + Whole(), kSameGroup,
              [i](const Request& offer) { return Quote(offer.tensors[i].name); }));
    RUEDA_RETURN_IF_ERROR(Alike("dtype of " + Part(i), kSameTensor, [i](const Request& offer) {
      return NameOf(offer.tensors[i].dtype);
    }));
    return Alike("shape of " + Part(i), kSameTensor,
                 [i](const Request& offer) { return OfferedShape(offer, i); });
  }

  std::string Whole() const { return Subject(first_.kind, first_.name); }

  // "'x' in allreduce", or "'w' of group 'g' in allreduce".
  std::string Part(size_t tensor) const {
    const std::string& name = first_.tensors[tensor].name;
    const bool alone = first_.tensors.size() == 1 && (name.empty() || name == first_.name);
    const std::string whole = Quote(first_.name) + " in " + std::string(NameOf(first_.kind));
    return alone ? whole : Quote(name) + " of group " + whole;
  }

  const Topology& topology_;
  const std::vector<int>& ranks_;
  const Offers& offers_;
  const Request& first_;
};

// Of `members`, all of whom offered.
std::vector<int64_t> PlacementsOf(const Offers& offers, size_t members) {
  const Request& first = *offers.first();
  // The members of a new set place memory for it; the other ranks have none.
  const bool adds = first.kind == OpKind::kAddProcessSet;
  if (first.kind != OpKind::kAllreduce && !adds) return {};
  for (const TensorSpec& tensor : first.tensors) {
    if (tensor.dtype != first.tensors[0].dtype) return {};
  }
  for (const Offers::Variant& one : offers.variants()) {
    if (one.request->placement == kPrivate && !adds) return {};
  }
  std::vector<int64_t> placements;
  placements.reserve(members);
  for (const Request* offer : offers.ByNumber(members)) placements.push_back(offer->placement);
  return placements;
}

Status CheckReducescatter(const Request& first) {
  for (const TensorSpec& tensor : first.tensors) {
    if (!tensor.shape.empty()) continue;
    return {StatusCode::kInvalidArgument,
            "reducescatter of " + Quote(tensor.name) +
                " needs at least one dimension to divide among the ranks, but every rank offered a "
                "scalar. Reshape it to [1]."};
  }
  return Status::Ok();
}

Status CheckRoot(const std::vector<int>& ranks, const BitSet& present, const Request& first) {
  if (!HasRoot(first.kind)) return Status::Ok();
  const auto root = std::find(ranks.begin(), ranks.end(), first.root);
  const std::string whole =
      Subject(first.kind, first.name) + " has the root rank " + std::to_string(first.root);
  if (root == ranks.end()) {
    return {StatusCode::kInvalidArgument, whole + ", but its process set is " + RankList(ranks) +
                                              ". Pass a root rank among them."};
  }
  if (present.Contains(static_cast<size_t>(root - ranks.begin()))) return Status::Ok();
  return {StatusCode::kInvalidArgument,
          whole + ", which has joined: it is out of data. Pass a root rank that has not."};
}

}  // namespace

Response Agree(const Topology& topology, const std::vector<int>& ranks, const Offers& offers) {
  const Request& first = *offers.first();
  BitSet present;
  for (const Offers::Variant& one : offers.variants()) present.Unite(one.by);
  const bool whole = present.count() == ranks.size();
  Response response;
  response.process_set = first.process_set;
  response.name = first.name;
  response.error = Comparison(topology, ranks, offers).Run();
  if (response.error.ok()) response.error = CheckRoot(ranks, present, first);
  if (response.error.ok() && first.kind == OpKind::kReducescatter) {
    response.error = CheckReducescatter(first);
  }
  if (response.error.ok() && IsUneven(first.kind)) {
    response.error = FillFirstDims(ranks, offers, first, &response.first_dims);
  }
  if (!response.error.ok()) {
    response.first_dims.clear();
  } else if (whole) {
    response.placements = PlacementsOf(offers, ranks.size());
  } else {
    response.request = offers.first();
    for (size_t i = 0; i < ranks.size(); ++i) {
      if (!present.Contains(i)) response.absent.push_back(ranks[i]);
    }
  }
  return response;
}

}  // namespace rueda::control
