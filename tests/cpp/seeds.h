// Seeds: how many seeds of a random test this build goes through.
//
// A plain build goes through all. Under a sanitizer each costs five to thirty times as much, and
// what a sanitizer finds, a wrong access or an unordered one, it finds in whatever code is reached;
// further seeds reach other orders and values, whose results the plain build checks.
#pragma once

namespace rueda::testing {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

// About a third of `all` under a sanitizer, at least one.
template <typename Count>
constexpr Count SeedsOf(Count all) {
  return kSanitized ? (all + 2) / 3 : all;
}

}  // namespace rueda::testing
