#include "core/config.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/config_table.h"
#include "core/text.h"

namespace rueda {
namespace {

constexpr std::string_view kPrefix = "RUEDA_";

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};

std::string RangeOf(const OptionRow& row) {
  return std::visit(
      Overloaded{[](const ChoiceOption& option) {
                   std::string text;
                   for (std::string_view choice : option.choices) {
                     text += (text.empty() ? "" : ", ") + std::string(choice);
                   }
                   return text;
                 },
                 [](const TextOption&) { return std::string(); },
                 [](const IntegerOption& option) {
                   if (option.in_bytes) {
                     return FormatBytes(option.lowest) + " to " + FormatBytes(option.highest);
                   }
                   return std::to_string(option.lowest) + " to " + std::to_string(option.highest);
                 },
                 [](const SecondsOption& option) {
                   return FormatSeconds(option.lowest) + " to " + FormatSeconds(option.highest) +
                          " seconds";
                 },
                 [](const NumberOption& option) {
                   return FormatSeconds(option.lowest) + " to " + FormatSeconds(option.highest);
                 }},
      row.value);
}

std::string DefaultOf(const OptionRow& row) {
  const Config defaults;
  return std::visit(
      Overloaded{
          [&](const ChoiceOption& option) { return defaults.*option.member; },
          [](const TextOption&) { return std::string(); },
          [&](const IntegerOption& option) {
            const int64_t value = defaults.*option.member;
            return option.in_bytes && value > 0 ? FormatBytes(value) : std::to_string(value);
          },
          [&](const SecondsOption& option) { return FormatSeconds(defaults.*option.member); },
          [&](const NumberOption& option) { return FormatSeconds(defaults.*option.member); }},
      row.value);
}

std::string_view KindOf(const OptionRow& row) {
  return std::visit(
      Overloaded{[](const ChoiceOption&) { return "choice"; },
                 [](const TextOption&) { return "text"; },
                 [](const IntegerOption& o) { return o.in_bytes ? "bytes" : "integer"; },
                 [](const SecondsOption&) { return "seconds"; },
                 [](const NumberOption&) { return "number"; }},
      row.value);
}

// "25MiB", "25 MB", "25m", "26214400 B" and "26214400" all mean 25 * 2^20.
bool ParseInteger(std::string_view text, bool in_bytes, int64_t* value) {
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, *value);
  if (error != std::errc()) return false;
  if (rest == end) return true;
  if (!in_bytes) return false;
  std::string unit(rest, end);
  unit.erase(0, unit.find_first_not_of(' '));
  std::transform(unit.begin(), unit.end(), unit.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  if (unit == "b") return true;
  constexpr std::string_view kUnits = "kmgt";
  const size_t power = kUnits.find(unit.empty() ? '?' : unit.front());
  const std::string_view tail = std::string_view(unit).substr(std::min<size_t>(1, unit.size()));
  if (power == std::string_view::npos || !(tail.empty() || tail == "b" || tail == "ib"))
    return false;
  const int64_t factor = int64_t{1} << (10 * (static_cast<int64_t>(power) + 1));
  return !__builtin_mul_overflow(*value, factor, value);
}

bool ParseReal(std::string_view text, double* value) {
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, *value);
  return error == std::errc() && rest == end && std::isfinite(*value);
}

// Stores the parsed text in `config`; false when it is not an accepted value.
bool Store(const OptionRow& row, const std::string& text, Config* config) {
  return std::visit(Overloaded{[&](const ChoiceOption& option) {
                                 config->*option.member = text;
                                 return std::find(option.choices.begin(), option.choices.end(),
                                                  text) != option.choices.end();
                               },
                               [&](const TextOption& option) {
                                 if (option.member != nullptr) config->*option.member = text;
                                 return true;
                               },
                               [&](const IntegerOption& option) {
                                 int64_t value = 0;
                                 const bool parsed = ParseInteger(text, option.in_bytes, &value);
                                 config->*option.member = value;
                                 return parsed && value >= option.lowest && value <= option.highest;
                               },
                               [&](const SecondsOption& option) {
                                 double value = 0;
                                 const bool parsed = ParseReal(text, &value);
                                 config->*option.member = value;
                                 return parsed && value >= option.lowest && value <= option.highest;
                               },
                               [&](const NumberOption& option) {
                                 double value = 0;
                                 const bool parsed = ParseReal(text, &value);
                                 config->*option.member = value;
                                 return parsed && value >= option.lowest && value <= option.highest;
                               }},
                    row.value);
}

const OptionRow* FindOption(std::string_view name) {
  const auto table = OptionTable();
  const auto row =
      std::find_if(table.begin(), table.end(), [&](auto& r) { return r.name == name; });
  return row == table.end() ? nullptr : &*row;
}

std::string UnknownVariable(const std::string& name) {
  std::vector<std::string> known;
  for (const OptionRow& row : OptionTable()) known.emplace_back(row.name);
  std::string text = "unknown variable " + name + " is ignored";
  if (const auto nearest = NearestName(name, known)) text += "; did you mean " + *nearest + "?";
  return text;
}

}  // namespace

LogLevel Config::lowest_log_level() const {
  for (int level = 0; level < 6; ++level) {
    if (NameOf(static_cast<LogLevel>(level)) == log_level) return static_cast<LogLevel>(level);
  }
  return LogLevel::kWarning;
}

std::vector<OptionInfo> ListOptions() {
  std::vector<OptionInfo> options;
  for (const OptionRow& row : OptionTable()) {
    options.push_back({std::string(row.name), std::string(KindOf(row)), DefaultOf(row),
                       RangeOf(row), std::string(row.meaning), row.set_by_launcher});
  }
  return options;
}

Result<ParsedConfig> ParseConfig(const std::map<std::string, std::string>& variables) {
  ParsedConfig parsed;
  for (auto it = variables.lower_bound(std::string(kPrefix));
       it != variables.end() && it->first.starts_with(kPrefix); ++it) {
    const auto& [name, text] = *it;
    const OptionRow* row = FindOption(name);
    if (row == nullptr) {
      parsed.warnings.push_back(UnknownVariable(name));
    } else if (!Store(*row, text, &parsed.config)) {
      return Status(StatusCode::kInvalidArgument, name + "='" + text +
                                                      "' is not accepted; expected " +
                                                      std::string(KindOf(*row)) + ": " +
                                                      RangeOf(*row) + ". Change it or unset it.");
    } else {
      parsed.config.given.insert(name);
    }
  }
  return parsed;
}

std::map<std::string, std::string> ProcessEnvironment() {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const size_t equals = text.find('=');
    if (equals != std::string_view::npos) {
      variables.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
  }
  return variables;
}

}  // namespace rueda
