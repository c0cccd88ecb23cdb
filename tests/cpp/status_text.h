// How Catch2 shows a Status in a failed assertion.
#pragma once

#include <catch2/catch.hpp>
#include <string>

#include "core/status.h"

namespace Catch {

template <>
struct StringMaker<rueda::Status> {
  static std::string convert(const rueda::Status& status) {
    if (status.ok()) return "ok";
    std::string text = rueda::CodeName(status.code()) + " '" + status.message() + "'";
    if (status.blamed_rank() >= 0) text += " blaming rank " + std::to_string(status.blamed_rank());
    return text;
  }
};

}  // namespace Catch
