// OfferKey: what tells requests apart, a process set and a name unique within it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace rueda::control {

// To look up by, without a copy of the name.
struct OfferKeyView {
  uint32_t process_set = 0;
  std::string_view name;
};

struct OfferKey {
  uint32_t process_set = 0;
  std::string name;

  explicit OfferKey(OfferKeyView view) : process_set(view.process_set), name(view.name) {}
  operator OfferKeyView() const { return {process_set, name}; }  // NOLINT: implicit
};

struct OfferKeyHash {
  using is_transparent = void;
  size_t operator()(OfferKeyView key) const {
    return std::hash<std::string_view>{}(key.name) ^ (key.process_set * 0x9E3779B97F4A7C15U);
  }
};

struct OfferKeyEqual {
  using is_transparent = void;
  bool operator()(OfferKeyView a, OfferKeyView b) const {
    return a.process_set == b.process_set && a.name == b.name;
  }
};

}  // namespace rueda::control
