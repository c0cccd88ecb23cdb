#include "control/agreement.h"

#include <algorithm>
#include <bit>
#include <string>
#include <string_view>

#include "control/disagreement.h"
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
                      a.process_set == b.process_set && a.tensors == b.tensors);
}

// "[*, 5]" for an allgather, whose ranks may differ in the first dimension if they have one.
std::string OfferedShape(const Request& request, size_t tensor) {
  const std::vector<int64_t>& shape = request.tensors[tensor].shape;
  std::string text = ShapeText(shape);
  if (request.kind != OpKind::kAllgather || shape.empty()) return text;
  return "[*" + text.substr(text.find_first_of(",]"));
}

// Looks for what keeps the members' offers apart, property by property.
class Comparison {
 public:
  Comparison(const Topology& topology, const std::vector<int>& ranks,
             const std::vector<const Request*>& offers)
      : topology_(topology), ranks_(ranks), offers_(offers), first_(*offers[0]) {}

  Status Run() const {
    const bool alike = std::all_of(offers_.begin(), offers_.end(), [this](const Request* offer) {
      return PlainlyAlike(first_, *offer);
    });
    if (!alike) {
      RUEDA_RETURN_IF_ERROR(CompareOperation());
      RUEDA_RETURN_IF_ERROR(CompareArguments());
      RUEDA_RETURN_IF_ERROR(CompareTensors());
    }
    return CheckRoot();
  }

 private:
  // Ok if `text` gives the same for all offers; it must tell apart whatever may not differ.
  template <typename Text>
  Status Alike(const std::string& property, std::string_view advice, Text text) const {
    Disagreement disagreement;
    for (const Request* offer : offers_) disagreement.values.emplace_back(text(*offer));
    const std::vector<std::string>& values = disagreement.values;
    if (std::all_of(values.begin(), values.end(),
                    [&](auto& value) { return value == values[0]; })) {
      return Status::Ok();
    }
    disagreement.property = property;
    disagreement.advice = advice;
    return Describe(topology_, ranks_, disagreement);
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
    if (first_.kind == OpKind::kBroadcast) {
      return Alike("root rank of " + Whole(), kSameArgument,
                   [](const Request& offer) { return std::to_string(offer.root); });
    }
    if (first_.kind != OpKind::kAllreduce) return Status::Ok();
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
      const bool alike = std::all_of(offers_.begin(), offers_.end(), [&](const Request* offer) {
        return offer->tensors[i] == first_.tensors[i];
      });
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

  Status CheckRoot() const {
    if (first_.kind != OpKind::kBroadcast) return Status::Ok();
    if (std::find(ranks_.begin(), ranks_.end(), first_.root) != ranks_.end()) return Status::Ok();
    return {StatusCode::kInvalidArgument,
            Whole() + " has the root rank " + std::to_string(first_.root) +
                ", but its process set is " + RankList(ranks_) + ". Pass a root rank among them."};
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
  const std::vector<const Request*>& offers_;
  const Request& first_;
};

std::vector<int64_t> PlacementsOf(const std::vector<const Request*>& offers) {
  const Request& first = *offers[0];
  if (first.kind != OpKind::kAllreduce) return {};
  for (const TensorSpec& tensor : first.tensors) {
    if (tensor.dtype != first.tensors[0].dtype) return {};
  }
  std::vector<int64_t> placements;
  placements.reserve(offers.size());
  for (const Request* offer : offers) {
    if (offer->placement == kPrivate) return {};
    placements.push_back(offer->placement);
  }
  return placements;
}

// Fills in the first dimensions of one gathered tensor; false if the gathered one is larger than
// memory can be.
bool GatherFirstDims(const std::vector<const Request*>& offers, size_t tensor, Response& response) {
  const TensorSpec& first = offers[0]->tensors[tensor];
  auto row = static_cast<int64_t>(SizeOf(first.dtype));
  for (size_t i = 1; i < first.shape.size(); ++i) row *= first.shape[i];
  std::vector<int64_t>& dims = response.first_dims.emplace_back();
  dims.reserve(offers.size());
  int64_t bytes = 0;
  for (const Request* offer : offers) {
    dims.push_back(offer->tensors[tensor].shape[0]);
    int64_t own = 0;
    if (__builtin_mul_overflow(row, dims.back(), &own)) return false;
    if (__builtin_add_overflow(bytes, own, &bytes)) return false;
  }
  return true;
}

Status FillFirstDims(const std::vector<const Request*>& offers, Response& response) {
  const Request& first = *offers[0];
  for (size_t i = 0; i < first.tensors.size(); ++i) {
    const std::string name = "allgather of " + Quote(first.tensors[i].name);
    if (first.tensors[i].shape.empty()) {
      return {StatusCode::kInvalidArgument,
              name +
                  " needs at least one dimension to join the ranks' parts along, but every rank "
                  "offered a scalar. Reshape it to [1]."};
    }
    if (!GatherFirstDims(offers, i, response)) {
      return {StatusCode::kInvalidArgument,
              name + " would be larger than memory can be. Gather a smaller tensor."};
    }
  }
  return Status::Ok();
}

}  // namespace

Response Agree(const Topology& topology, const std::vector<int>& ranks,
               const std::vector<const Request*>& offers) {
  Response response;
  response.process_set = offers[0]->process_set;
  response.name = offers[0]->name;
  response.error = Comparison(topology, ranks, offers).Run();
  if (!response.error.ok()) return response;
  response.placements = PlacementsOf(offers);
  if (offers[0]->kind == OpKind::kAllgather) response.error = FillFirstDims(offers, response);
  if (!response.error.ok()) response.first_dims.clear();
  return response;
}

}  // namespace rueda::control
