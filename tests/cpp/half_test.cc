// Half: every float16 and bfloat16 both ways, every rounding tie and its neighbours.
#include "device/half.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>

#include "naive_reduce.h"

namespace rueda::device {
namespace {

using test::Decode;
using test::Encode;
using test::Format;

struct Conversions {
  const char* name;
  Format format;
  float (*widen)(uint16_t);
  uint16_t (*narrow)(float);
};

constexpr Conversions kBoth[] = {
    {"float16", test::kFloat16Format, &Float16ToFloat, &FloatToFloat16},
    {"bfloat16", test::kBFloat16Format, &BFloat16ToFloat, &FloatToBFloat16},
};

constexpr uint32_t kEnd = 1u << 16;
constexpr uint32_t kNone = kEnd;

bool IsNaN(Format format, uint16_t bits) { return (bits & 0x7fff) > format.infinity(); }

bool SameBits(float a, double b) {
  const auto narrow_b = static_cast<float>(b);
  return std::memcmp(&a, &narrow_b, sizeof(a)) == 0;
}

// Whether narrowing x gives the nearest value, or some NaN for a NaN.
bool NarrowsRight(const Conversions& half, float x) {
  const uint16_t got = half.narrow(x);
  return std::isnan(x) ? IsNaN(half.format, got) : got == Encode(half.format, x);
}

TEST_CASE("every 16-bit float widens exactly and comes back the same", "[half]") {
  for (const Conversions& half : kBoth) {
    uint32_t wrong = kNone;
    for (uint32_t i = 0; i < kEnd && wrong == kNone; ++i) {
      const auto bits = static_cast<uint16_t>(i);
      const float wide = half.widen(bits);
      const bool right =
          IsNaN(half.format, bits)
              ? std::isnan(wide) && IsNaN(half.format, half.narrow(wide))
              : SameBits(wide, Decode(half.format, bits)) && half.narrow(wide) == bits;
      if (!right) wrong = i;
    }
    INFO(half.name);
    CHECK(wrong == kNone);
  }
}

TEST_CASE("ties between 16-bit floats go to the even one, their neighbours to the nearer",
          "[half]") {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const Conversions& half : kBoth) {
    uint32_t wrong = kNone;
    for (uint32_t i = 0; i < half.format.infinity() && wrong == kNone; ++i) {
      const double low = Decode(half.format, static_cast<uint16_t>(i));
      // Above the largest finite value the tie is with the next power of two, that is, infinity.
      const double step = low - Decode(half.format, static_cast<uint16_t>(i == 0 ? 0 : i - 1));
      const bool last = i + 1 == half.format.infinity();
      const double high = last ? low + step : Decode(half.format, static_cast<uint16_t>(i + 1));
      const auto tie = static_cast<float>((low + high) / 2);
      const uint32_t even = i % 2 == 0 ? i : i + 1;
      const bool right = half.narrow(tie) == even && half.narrow(-tie) == (even | 0x8000) &&
                         half.narrow(std::nextafter(tie, 0.0f)) == i &&
                         half.narrow(std::nextafter(tie, kInfinity)) == i + 1;
      if (!right) wrong = i;
    }
    INFO(half.name);
    CHECK(wrong == kNone);
  }
}

TEST_CASE("floats of all magnitudes narrow to the nearest 16-bit float", "[half]") {
  std::mt19937 random(7);
  for (const Conversions& half : kBoth) {
    float wrong = 0;
    for (int i = 0; i < 300'000 && wrong == 0; ++i) {
      const auto bits = static_cast<uint32_t>(random());
      float x;
      std::memcpy(&x, &bits, sizeof(x));
      if (!NarrowsRight(half, x)) wrong = x;
    }
    INFO(half.name);
    CHECK(wrong == 0);
  }
}

TEST_CASE("a NaN stays one whatever its payload", "[half]") {
  for (const Conversions& half : kBoth) {
    for (const uint32_t bits : {0x7f800001u, 0xff800001u, 0x7fffffffu, 0xffffffffu, 0x7fc00000u}) {
      float nan;
      std::memcpy(&nan, &bits, sizeof(nan));
      INFO(half.name << " from " << bits);
      CHECK(IsNaN(half.format, half.narrow(nan)));
    }
  }
}

}  // namespace
}  // namespace rueda::device
