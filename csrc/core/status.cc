#include "core/status.h"

#include <cstring>

namespace rueda {

std::string CodeName(StatusCode code) {
  std::string name("R");
  return name.append(std::to_string(static_cast<int>(code)));
}

Status SystemError(std::string_view what, int error_number) {
  return {StatusCode::kSystem, std::string(what) + ": " + std::strerror(error_number)};
}

}  // namespace rueda
