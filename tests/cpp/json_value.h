// JsonValue: JSON as tests read it, to see that a trace is what it should be. Strict (RFC 8259).
#pragma once

#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rueda::testing {

struct JsonValue {
  enum class Kind { kNull, kBool, kNumber, kString, kArray, kObject };
  Kind kind = Kind::kNull;
  bool boolean = false;
  double number = 0;
  std::string text;
  std::vector<JsonValue> items;
  std::map<std::string, JsonValue> fields;

  bool has(const std::string& key) const { return fields.count(key) > 0; }
  // A field that must be there.
  const JsonValue& operator[](const std::string& key) const { return fields.at(key); }
};

class JsonParser {
 public:
  // Nothing unless the whole text is one value.
  static std::optional<JsonValue> Parse(std::string_view text) {
    JsonParser parser(text);
    JsonValue value;
    if (!parser.Value(&value)) return std::nullopt;
    parser.Blanks();
    if (!parser.rest_.empty()) return std::nullopt;
    return value;
  }

 private:
  explicit JsonParser(std::string_view text) : rest_(text) {}

  void Blanks() {
    while (!rest_.empty() && std::string_view(" \t\r\n").find(rest_.front()) != rest_.npos) {
      rest_.remove_prefix(1);
    }
  }
  bool Take(std::string_view word) {
    Blanks();
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }

  bool Value(JsonValue* value) {
    using Kind = JsonValue::Kind;
    Blanks();
    if (rest_.empty()) return false;
    if (Take("{")) return Object(value);
    if (Take("[")) return Array(value);
    if (rest_.front() == '"') {
      value->kind = Kind::kString;
      return String(&value->text);
    }
    if (Take("true") || Take("false")) {
      value->kind = Kind::kBool;
      value->boolean = *(rest_.data() - 2) == 'u';
      return true;
    }
    if (Take("null")) return true;
    return Number(value);
  }

  bool Object(JsonValue* value) {
    value->kind = JsonValue::Kind::kObject;
    if (Take("}")) return true;
    do {
      Blanks();
      std::string key;
      if (!String(&key) || !Take(":") || !Value(&value->fields[key])) return false;
    } while (Take(","));
    return Take("}");
  }

  bool Array(JsonValue* value) {
    value->kind = JsonValue::Kind::kArray;
    if (Take("]")) return true;
    do {
      if (!Value(&value->items.emplace_back())) return false;
    } while (Take(","));
    return Take("]");
  }

  bool Number(JsonValue* value) {
    value->kind = JsonValue::Kind::kNumber;
    const size_t length = rest_.find_first_not_of("+-0123456789.eE");
    const std::string digits(rest_.substr(0, length));
    if (digits.empty() || digits.front() == '+' || digits.front() == '.') return false;
    char* end = nullptr;
    value->number = std::strtod(digits.c_str(), &end);
    rest_.remove_prefix(digits.size());
    return *end == '\0';
  }

  bool String(std::string* text) {
    if (rest_.empty() || rest_.front() != '"') return false;
    for (rest_.remove_prefix(1); !rest_.empty() && rest_.front() != '"'; rest_.remove_prefix(1)) {
      if (static_cast<unsigned char>(rest_.front()) < 0x20) return false;
      if (rest_.front() != '\\') {
        *text += rest_.front();
      } else if (!Escaped(text)) {
        return false;
      }
    }
    return Take("\"");
  }

  // \", \\ and \u00xx; others as U+FFFD.
  bool Escaped(std::string* text) {
    rest_.remove_prefix(1);
    if (rest_.empty()) return false;
    if (rest_.front() == '"' || rest_.front() == '\\') {
      *text += rest_.front();
      return true;
    }
    if (rest_.front() != 'u' || rest_.size() < 5) return false;
    const long code = std::strtol(std::string(rest_.substr(1, 4)).c_str(), nullptr, 16);
    rest_.remove_prefix(4);
    *text += code < 0x80 ? std::string(1, static_cast<char>(code)) : std::string("\xEF\xBF\xBD");
    return true;
  }

  std::string_view rest_;
};

}  // namespace rueda::testing
