// CopyStreaming with the non-temporal stores that every x86-64 has.
#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "device/copy.h"

namespace rueda::device {
namespace {

constexpr int64_t kLine = 64;

// Four stores to one line, one after the other, leave the core as one write of a whole line.
void StreamLine(char* to, const char* from) {
  const auto* source = reinterpret_cast<const __m128i_u*>(from);
  auto* line = reinterpret_cast<__m128i*>(to);
  const __m128i a = _mm_loadu_si128(source), b = _mm_loadu_si128(source + 1);
  const __m128i c = _mm_loadu_si128(source + 2), d = _mm_loadu_si128(source + 3);
  _mm_stream_si128(line, a);
  _mm_stream_si128(line + 1, b);
  _mm_stream_si128(line + 2, c);
  _mm_stream_si128(line + 3, d);
}

}  // namespace

void CopyStreaming(void* to, const void* from, int64_t bytes) {
  auto* target = static_cast<char*>(to);
  const auto* source = static_cast<const char*>(from);
  const auto past_line = static_cast<int64_t>(reinterpret_cast<uintptr_t>(target) % kLine);
  const int64_t head = std::min(bytes, (kLine - past_line) % kLine);
  std::memcpy(target, source, static_cast<size_t>(head));
  int64_t at = head;
  for (; bytes - at >= kLine; at += kLine) StreamLine(target + at, source + at);
  std::memcpy(target + at, source + at, static_cast<size_t>(bytes - at));
  // A release alone orders no non-temporal store.
  _mm_sfence();
}

}  // namespace rueda::device
