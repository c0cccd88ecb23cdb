#include "timeline/trace_text.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace rueda::timeline {
namespace {

constexpr char kHex[] = "0123456789abcdef";

template <typename Integer>
void AppendInteger(Integer value, std::string* out) {
  std::array<char, 24> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  out->append(digits.data(), end);
}

bool IsContinuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

// Bytes of the well-formed UTF-8 sequence at the front of `text` (Unicode 15, table 3-7), 0 if
// there is none.
size_t SequenceLength(std::string_view text) {
  const auto at = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
  };
  const unsigned char first = static_cast<unsigned char>(text.front());
  if (first < 0x80) return 1;
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4) return 0;
  for (size_t i = 1; i < length; ++i) {
    if (!IsContinuation(static_cast<unsigned char>(at(i)))) return 0;
  }
  const bool overlong = (first == 0xE0 && at(1) < 0xA0) || (first == 0xF0 && at(1) < 0x90);
  const bool surrogate = first == 0xED && at(1) > 0x9F;
  const bool too_large = first == 0xF4 && at(1) > 0x8F;
  return overlong || surrogate || too_large ? 0 : length;
}

// Whether a byte stands for itself in a JSON string, as most of every name does.
bool IsPlain(char byte) { return byte >= 0x20 && byte < 0x7F && byte != '"' && byte != '\\'; }

// The inside of a JSON string.
void AppendEscaped(std::string_view text, std::string* out) {
  while (!text.empty()) {
    const auto plain =
        static_cast<size_t>(std::find_if_not(text.begin(), text.end(), IsPlain) - text.begin());
    out->append(text.substr(0, plain));
    text.remove_prefix(plain);
    if (text.empty()) return;
    const size_t length = SequenceLength(text);
    const auto first = static_cast<unsigned char>(text.front());
    if (length == 0) {
      *out += "\\ufffd";
    } else if (first == '"' || first == '\\') {
      *out += '\\';
      *out += static_cast<char>(first);
    } else if (first < 0x20) {
      *out += "\\u00";
      *out += kHex[first >> 4];
      *out += kHex[first & 15];
    } else {
      out->append(text.substr(0, length));
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
}

}  // namespace

void AppendJsonString(std::string_view text, std::string* out) {
  *out += '"';
  AppendEscaped(text, out);
  *out += '"';
}

void AppendMicroseconds(int64_t nanoseconds, std::string* out) {
  if (nanoseconds < 0) *out += '-';
  const uint64_t amount = nanoseconds < 0 ? uint64_t{0} - static_cast<uint64_t>(nanoseconds)
                                          : static_cast<uint64_t>(nanoseconds);
  AppendInteger(amount / 1000, out);
  const auto rest = static_cast<unsigned>(amount % 1000);
  if (rest == 0) return;
  *out += '.';
  *out += kHex[rest / 100];
  *out += kHex[rest / 10 % 10];
  *out += kHex[rest % 10];
}

// A process of the trace is a rank; numbers begin at 1, because Perfetto takes process 0 for the
// kernel's idle task.
EventText::EventText(char phase, int rank, uint64_t track, std::string* out) : out_(out) {
  *out_ += ",\n{\"ph\":\"";
  *out_ += phase;
  *out_ += "\",\"pid\":";
  AppendInteger(rank + 1, out_);
  *out_ += ",\"tid\":";
  AppendInteger(track, out_);
}

EventText::~EventText() { *out_ += has_arguments_ ? "}}" : "}"; }

EventText& EventText::Span(int64_t begun, int64_t done) {
  begun = std::max<int64_t>(begun, 0);
  At(begun);
  *out_ += ",\"dur\":";
  AppendMicroseconds(std::max(done, begun) - begun, out_);
  return *this;
}

EventText& EventText::At(int64_t time) {
  *out_ += ",\"ts\":";
  AppendMicroseconds(std::max<int64_t>(time, 0), out_);
  return *this;
}

EventText& EventText::Category(std::string_view category) {
  *out_ += ",\"cat\":\"";
  *out_ += category;
  *out_ += '"';
  return *this;
}

EventText& EventText::Name(std::string_view name) {
  *out_ += ",\"name\":";
  AppendJsonString(name, out_);
  return *this;
}

EventText& EventText::Name(std::string_view kind, std::string_view name) {
  *out_ += ",\"name\":\"";
  *out_ += kind;
  *out_ += ' ';
  AppendEscaped(name, out_);
  *out_ += '"';
  return *this;
}

void EventText::Key(std::string_view key) {
  *out_ += has_arguments_ ? ",\"" : ",\"args\":{\"";
  *out_ += key;
  *out_ += "\":";
  has_arguments_ = true;
}

EventText& EventText::Argument(std::string_view key, int64_t value) {
  Key(key);
  AppendInteger(value, out_);
  return *this;
}

EventText& EventText::Argument(std::string_view key, uint64_t value) {
  Key(key);
  AppendInteger(value, out_);
  return *this;
}

EventText& EventText::Argument(std::string_view key, std::string_view value) {
  Key(key);
  AppendJsonString(value, out_);
  return *this;
}

EventText& EventText::Flag(std::string_view key, bool value) {
  Key(key);
  *out_ += value ? "true" : "false";
  return *this;
}

EventText& EventText::Microseconds(std::string_view key, int64_t nanoseconds) {
  Key(key);
  AppendMicroseconds(nanoseconds, out_);
  return *this;
}

}  // namespace rueda::timeline
