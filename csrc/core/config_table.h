// The table of options that config.cc parses and docs/configuration.md lists.
#pragma once

#include <span>
#include <string_view>
#include <variant>

#include "core/config.h"

namespace rueda {

struct ChoiceOption {
  std::string Config::*member;
  std::span<const std::string_view> choices;
};
struct TextOption {
  std::string Config::*member;  // null for what only Python reads
};
struct IntegerOption {
  int64_t Config::*member;
  int64_t lowest;
  int64_t highest;
  bool in_bytes;
};
struct SecondsOption {
  double Config::*member;
  double lowest;
  double highest;
};
struct NumberOption {
  double Config::*member;
  double lowest;
  double highest;
};

struct OptionRow {
  std::string_view name;
  std::variant<ChoiceOption, TextOption, IntegerOption, SecondsOption, NumberOption> value;
  std::string_view meaning;
  bool set_by_launcher = false;
};

std::span<const OptionRow> OptionTable();

}  // namespace rueda
