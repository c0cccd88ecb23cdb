// Config: every row of the table, its default, its bounds, its words; unknown variables.
#include "core/config.h"

#include <stdlib.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "core/config_table.h"
#include "status_text.h"

namespace rueda {
namespace {

using Variables = std::map<std::string, std::string>;

Status Refusal(const std::string& name, const std::string& text) {
  return ParseConfig({{name, text}}).status();
}

Config Parsed(const std::string& name, const std::string& text) {
  const Result<ParsedConfig> parsed = ParseConfig({{name, text}});
  REQUIRE(parsed.status() == Status());
  CHECK(parsed->warnings.empty());
  return parsed->config;
}

// The refusal names the variable, what was found, and what is accepted.
void CheckRefused(const OptionInfo& option, const std::string& text) {
  CAPTURE(option.name, text);
  const Status refusal = Refusal(option.name, text);
  CHECK(refusal.code() == StatusCode::kInvalidArgument);
  CHECK_THAT(refusal.message(), Catch::Contains(option.name) && Catch::Contains("'" + text + "'") &&
                                    Catch::Contains(option.kind) && Catch::Contains(option.range));
}

TEST_CASE("without variables every option has its default", "[config]") {
  const Result<ParsedConfig> parsed = ParseConfig({{"PATH", "/bin"}, {"HOROVOD_RANK", "x"}});
  REQUIRE(parsed.ok());
  CHECK(parsed->warnings.empty());
  CHECK(parsed->config.backend == "auto");
  CHECK(parsed->config.fusion_threshold == int64_t{64} << 20);
  CHECK(parsed->config.linger_us == -1);
  CHECK(parsed->config.timeout_seconds == 300);
  CHECK(parsed->config.lowest_log_level() == LogLevel::kWarning);
}

TEST_CASE("every option is described, by a name of its own", "[config]") {
  std::set<std::string> names;
  for (const OptionInfo& option : ListOptions()) {
    CAPTURE(option.name);
    CHECK(names.insert(option.name).second);
    CHECK(option.name.starts_with("RUEDA_"));
    CHECK(option.meaning.size() > 10);
    CHECK(option.meaning.back() == '.');
    CHECK(option.range.empty() == (option.kind == "text"));
    CHECK((option.kind == "text" || !option.default_text.empty()));
  }
  CHECK(names.size() == OptionTable().size());
}

TEST_CASE("what an option's description says is its default is accepted and is it", "[config]") {
  const Config defaults;
  for (const OptionRow& row : OptionTable()) {
    const auto options = ListOptions();
    const auto option = std::find_if(options.begin(), options.end(),
                                     [&](const OptionInfo& info) { return info.name == row.name; });
    CAPTURE(option->name, option->default_text);
    const Result<ParsedConfig> parsed = ParseConfig({{option->name, option->default_text}});
    REQUIRE(parsed.status() == Status());
    std::visit(
        [&](const auto& value) {
          if (value.member != nullptr) {
            CHECK(parsed->config.*(value.member) == defaults.*(value.member));
          }
        },
        row.value);
  }
}

TEST_CASE("numbers are accepted up to their bounds and not beyond", "[config]") {
  const auto options = ListOptions();
  for (size_t i = 0; i < options.size(); ++i) {
    const OptionInfo& option = options[i];
    const auto& value = OptionTable()[i].value;
    if (const auto* integer = std::get_if<IntegerOption>(&value)) {
      CHECK(Parsed(option.name, std::to_string(integer->lowest)).*(integer->member) ==
            integer->lowest);
      CHECK(Parsed(option.name, std::to_string(integer->highest)).*(integer->member) ==
            integer->highest);
      CheckRefused(option, std::to_string(integer->lowest - 1));
      CheckRefused(option, std::to_string(integer->highest + 1));
    }
    if (const auto* seconds = std::get_if<SecondsOption>(&value)) {
      CHECK(Parsed(option.name, std::to_string(seconds->lowest)).*(seconds->member) ==
            seconds->lowest);
      CHECK(Parsed(option.name, std::to_string(seconds->highest)).*(seconds->member) ==
            seconds->highest);
      CheckRefused(option, std::to_string(seconds->highest * 1.001));
      CheckRefused(option, "-0.5");
    }
    if (const auto* number = std::get_if<NumberOption>(&value)) {
      CHECK(Parsed(option.name, std::to_string(number->highest)).*(number->member) ==
            number->highest);
      CheckRefused(option, std::to_string(number->lowest - 0.001));
      CheckRefused(option, std::to_string(number->highest + 0.001));
    }
  }
}

TEST_CASE("what was set is known, also where it is the default", "[config]") {
  const Config config = Parsed("RUEDA_LINGER_US", "30");
  CHECK(config.IsGiven("RUEDA_LINGER_US"));
  CHECK_FALSE(config.IsGiven("RUEDA_FUSION_THRESHOLD"));
}

TEST_CASE("text that is no number is refused", "[config]") {
  const std::vector<std::string> texts{
      "",   " ",    "x",   "1x",  "1 ",  " 1",  "+1",
      "1e", "0x10", "1,5", "nan", "inf", "--1", "99999999999999999999"};
  for (const OptionInfo& option : ListOptions()) {
    if (option.kind == "text" || option.kind == "choice") continue;
    for (const std::string& text : texts) CheckRefused(option, text);
  }
}

TEST_CASE("choices are taken as they are written, and nothing else", "[config]") {
  const auto options = ListOptions();
  for (size_t i = 0; i < options.size(); ++i) {
    const auto* choice = std::get_if<ChoiceOption>(&OptionTable()[i].value);
    if (choice == nullptr) continue;
    for (const std::string_view text : choice->choices) {
      CHECK(Parsed(options[i].name, std::string(text)).*(choice->member) == text);
      CHECK_THAT(options[i].range, Catch::Contains(std::string(text)));
    }
    for (const std::string text : {"", "AUTO", "auto ", "nonsense"}) CheckRefused(options[i], text);
  }
}

TEST_CASE("bytes may have a unit", "[config]") {
  const auto bytes = [](const std::string& text) {
    return Parsed("RUEDA_FUSION_THRESHOLD", text).fusion_threshold;
  };
  for (const std::string text : {"25MiB", "25 MiB", "25mib", "25MB", "25 mb", "25m", "25M",
                                 "26214400", "26214400B", "26214400 b", "25600 KiB"}) {
    CAPTURE(text);
    CHECK(bytes(text) == int64_t{25} << 20);
  }
  CHECK(bytes("1k") == 1024);
  CHECK(bytes("3GiB") == int64_t{3} << 30);
  CHECK(bytes("1TiB") == int64_t{1} << 40);
  const auto options = ListOptions();
  const auto option = std::find_if(options.begin(), options.end(), [](const OptionInfo& info) {
    return info.name == "RUEDA_FUSION_THRESHOLD";
  });
  for (const std::string text : {"25Mi", "25MBs", "25 M B", "MiB", "1.5GiB", "25mm", "2TiB", "-1k",
                                 "9000000000000000000k", "25 "}) {
    CheckRefused(*option, text);
  }
  // Plain numbers take no unit.
  CHECK_FALSE(Refusal("RUEDA_LINGER_US", "30k").ok());
}

TEST_CASE("seconds may have a fraction", "[config]") {
  CHECK(Parsed("RUEDA_TIMEOUT_SECONDS", "0.25").timeout_seconds == 0.25);
  CHECK(Parsed("RUEDA_TIMEOUT_SECONDS", "1e2").timeout_seconds == 100);
  CHECK(Parsed("RUEDA_STALL_CHECK_TIME_SECONDS", "0").stall_check_time_seconds == 0);
}

TEST_CASE("an unknown variable is a warning that names the nearest known one", "[config]") {
  const auto warnings = [](const Variables& variables) {
    const Result<ParsedConfig> parsed = ParseConfig(variables);
    REQUIRE(parsed.ok());
    return parsed->warnings;
  };
  const auto near = warnings({{"RUEDA_BACKENDS", "shm"}});
  REQUIRE(near.size() == 1);
  CHECK_THAT(near[0],
             Catch::Contains("RUEDA_BACKENDS") && Catch::Contains("did you mean RUEDA_BACKEND?"));
  CHECK_THAT(warnings({{"RUEDA_LOGLEVEL", "1"}}).at(0), Catch::Contains("RUEDA_LOG_LEVEL?"));
  CHECK_THAT(warnings({{"RUEDA_TIMEOUT", "1"}}).at(0), Catch::Contains("RUEDA_TIMEOUT_SECONDS?"));
  const auto far = warnings({{"RUEDA_QQQQQQQQQQQQ", "1"}});
  REQUIRE(far.size() == 1);
  CHECK_THAT(far[0], !Catch::Contains("did you mean"));
  CHECK(warnings({{"RUEDA_A", ""}, {"RUEDA_B", ""}, {"RUEDA", ""}, {"XRUEDA_C", ""}}).size() == 2);
}

TEST_CASE("variables that only the launcher sets are known", "[config]") {
  const Result<ParsedConfig> parsed =
      ParseConfig({{"RUEDA_RANK", "3"}, {"RUEDA_SIZE", "x"}, {"RUEDA_SECRET_FD", ""}});
  REQUIRE(parsed.ok());
  CHECK(parsed->warnings.empty());
}

TEST_CASE("every log level is its name", "[config]") {
  for (int level = 0; level < 6; ++level) {
    const auto name = std::string(NameOf(static_cast<LogLevel>(level)));
    CHECK(static_cast<int>(Parsed("RUEDA_LOG_LEVEL", name).lowest_log_level()) == level);
  }
}

TEST_CASE("the environment is read as it is", "[config]") {
  ::setenv("RUEDA_TEST_VARIABLE", "a=b=", 1);
  const Variables variables = ProcessEnvironment();
  ::unsetenv("RUEDA_TEST_VARIABLE");
  CHECK(variables.at("RUEDA_TEST_VARIABLE") == "a=b=");
  CHECK_FALSE(ProcessEnvironment().contains("RUEDA_TEST_VARIABLE"));
}

}  // namespace
}  // namespace rueda
