// Fingerprints: equal for what agrees, different for whatever ranks may not differ in.
#include "control/fingerprint.h"

#include <catch2/catch.hpp>
#include <functional>
#include <limits>
#include <set>
#include <string>
#include <vector>

namespace rueda::control {
namespace {

Request Sample() {
  Request request;
  request.kind = OpKind::kAllreduce;
  request.name = "fc.weight";
  request.tensors = {{"fc.weight", DType::kFloat32, {10, 4}}, {"fc.bias", DType::kFloat32, {10}}};
  return request;
}

using Change = std::function<void(Request&)>;

std::vector<Change> Changes() {
  return {
      [](Request& r) { r.kind = OpKind::kBroadcast; },
      [](Request& r) { r.op = ReduceOp::kMax; },
      [](Request& r) { r.root = 0; },
      [](Request& r) { r.root = 1; },
      [](Request& r) { r.priority = 1; },
      [](Request& r) { r.priority = -1; },
      [](Request& r) { r.prescale = 0.5; },
      [](Request& r) { r.postscale = 0.5; },
      [](Request& r) { r.prescale = -0.0; },
      [](Request& r) { r.prescale = std::numeric_limits<double>::quiet_NaN(); },
      [](Request& r) { r.process_set = 1; },
      [](Request& r) { r.name = ""; },
      [](Request& r) { r.name += 'x'; },
      [](Request& r) { r.name += '\0'; },
      [](Request& r) { r.name.back() = '\0'; },
      [](Request& r) { r.parts = {0}; },
      [](Request& r) {
        r.parts = {0, 0};
      },
      [](Request& r) { r.tensors.clear(); },
      [](Request& r) { r.tensors.pop_back(); },
      [](Request& r) { std::swap(r.tensors[0], r.tensors[1]); },
      [](Request& r) { r.tensors[0].name = "w"; },
      [](Request& r) { r.tensors[1].dtype = DType::kInt32; },
      [](Request& r) {
        r.tensors[0].shape = {4, 10};
      },
      [](Request& r) { r.tensors[0].shape = {40}; },
      [](Request& r) { r.tensors[0].shape = {}; },
      [](Request& r) {
        r.tensors[0].shape = {10, 4, 1};
      },
  };
}

TEST_CASE("fingerprints tell requests apart", "[control]") {
  std::set<uint64_t> known{FingerprintOf(Sample())};
  size_t number = 0;
  for (const Change& change : Changes()) {
    Request changed = Sample();
    change(changed);
    CAPTURE(number++);
    CHECK(known.insert(FingerprintOf(changed)).second);
  }
}

TEST_CASE("a fingerprint leaves out what ranks may differ in", "[control]") {
  Request other = Sample();
  other.placement = 4096;
  other.transient = true;
  other.notes.SetSlot(7);
  CHECK(FingerprintOf(other) == FingerprintOf(Sample()));
}

TEST_CASE("fingerprints of numbered names do not collide", "[control]") {
  std::set<uint64_t> known;
  for (int i = 0; i < 100'000; ++i) {
    Request request = Sample();
    request.name = "allreduce.noname." + std::to_string(i);
    known.insert(FingerprintOf(request));
  }
  CHECK(known.size() == 100'000);
  CHECK(known.count(0) == 0);
}

}  // namespace
}  // namespace rueda::control
