#include "core/dtype.h"

#include <array>

namespace rueda {
namespace {

constexpr std::array<std::string_view, kDTypeCount> kNames{
    "uint8",         "int8",        "int16",           "int32",          "int64",
    "float16",       "bfloat16",    "float32",         "float64",        "bool",
    "uint16",        "uint32",      "uint64",          "complex64",      "complex128",
    "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"};

}  // namespace

std::string_view NameOf(DType dtype) { return kNames[static_cast<size_t>(dtype)]; }

}  // namespace rueda
