#include "control/uneven_tensors.h"

#include <string>

#include "control/words.h"

namespace rueda::control {
namespace {

using Dims = std::vector<std::vector<int64_t>>;

class UnevenTensors {
 public:
  UnevenTensors(const std::vector<int>& ranks, const Offers& offers, const Request& first)
      : ranks_(ranks), offers_(offers.ByNumber(ranks.size())), first_(first) {}

  Status Fill(Dims* dims_by_tensor) const {
    if (first_.kind == OpKind::kAlltoall || first_.kind == OpKind::kScatter) {
      return FillParts(dims_by_tensor);
    }
    for (size_t i = 0; i < first_.tensors.size(); ++i) {
      if (first_.tensors[i].shape.empty()) return Scalar(i);
      std::vector<int64_t>& dims = dims_by_tensor->emplace_back();
      for (const Request* offer : offers_) {
        dims.push_back(offer == nullptr ? 0 : offer->tensors[i].shape[0]);
      }
      if (!Fits(i, dims)) return TooLarge(i);
    }
    return Status::Ok();
  }

 private:
  // Alltoall and scatter have one tensor.
  Status FillParts(Dims* dims_by_tensor) const {
    if (first_.tensors.size() != 1) return Refuse("takes one tensor");
    if (first_.tensors[0].shape.empty()) return Scalar(0);
    std::vector<int64_t>& rows = dims_by_tensor->emplace_back();
    for (size_t from = 0; from < ranks_.size(); ++from) {
      const bool sends = offers_[from] != nullptr &&
                         (first_.kind == OpKind::kAlltoall || ranks_[from] == first_.root);
      if (sends) RUEDA_RETURN_IF_ERROR(CheckParts(from));
      for (size_t to = 0; to < ranks_.size(); ++to) {
        rows.push_back(sends ? offers_[from]->parts[to] : 0);
      }
    }
    return Fits(0, rows) ? Status::Ok() : TooLarge(0);
  }

  Status CheckParts(size_t from) const {
    const Request& offer = *offers_[from];
    const std::string who = "rank " + std::to_string(ranks_[from]);
    if (offer.parts.size() != ranks_.size()) {
      return Refuse("needs one part for each of " + std::to_string(ranks_.size()) + " ranks, but " +
                    who + " passed " + std::to_string(offer.parts.size()));
    }
    int64_t sum = 0;
    for (size_t to = 0; to < ranks_.size(); ++to) {
      if (__builtin_add_overflow(sum, offer.parts[to], &sum)) return TooLarge(0);
      if (offer.parts[to] > 0 && offers_[to] == nullptr) {
        return Refuse(who + " sends rows to rank " + std::to_string(ranks_[to]) +
                      ", which has joined: it would never get them. Send it none");
      }
    }
    if (sum <= offer.tensors[0].shape[0]) return Status::Ok();
    return Refuse("got parts that sum to " + std::to_string(sum) + " from " + who +
                  ", whose tensor has " + std::to_string(offer.tensors[0].shape[0]) + " rows");
  }

  // Whether so many rows are not larger than memory can be.
  bool Fits(size_t tensor, const std::vector<int64_t>& rows) const {
    const TensorSpec& spec = first_.tensors[tensor];
    auto row = static_cast<int64_t>(SizeOf(spec.dtype));
    for (size_t i = 1; i < spec.shape.size(); ++i) row *= spec.shape[i];
    int64_t bytes = 0;
    for (const int64_t count : rows) {
      int64_t own = 0;
      if (__builtin_mul_overflow(row, count, &own)) return false;
      if (__builtin_add_overflow(bytes, own, &bytes)) return false;
    }
    return true;
  }

  Status Refuse(const std::string& why) const {
    return {StatusCode::kInvalidArgument, Subject(first_.kind, first_.name) + " " + why + "."};
  }
  Status Scalar(size_t tensor) const {
    return {StatusCode::kInvalidArgument,
            std::string(NameOf(first_.kind)) + " of " + Quote(first_.tensors[tensor].name) +
                " needs at least one dimension to join the ranks' parts along, but every rank "
                "offered a scalar. Reshape it to [1]."};
  }
  Status TooLarge(size_t tensor) const {
    return {StatusCode::kInvalidArgument,
            std::string(NameOf(first_.kind)) + " of " + Quote(first_.tensors[tensor].name) +
                " would be larger than memory can be. Use a smaller tensor."};
  }

  const std::vector<int>& ranks_;
  const std::vector<const Request*> offers_;  // by member
  const Request& first_;
};

}  // namespace

Status FillFirstDims(const std::vector<int>& ranks, const Offers& offers, const Request& first,
                     std::vector<std::vector<int64_t>>* first_dims) {
  return UnevenTensors(ranks, offers, first).Fill(first_dims);
}

}  // namespace rueda::control
