#include "core/dtype.h"

#include <array>

namespace rueda {
namespace {

struct Entry {
  size_t size;
  std::string_view name;
};

constexpr std::array<Entry, kDTypeCount> kEntries{{{1, "uint8"},
                                                   {1, "int8"},
                                                   {2, "int16"},
                                                   {4, "int32"},
                                                   {8, "int64"},
                                                   {2, "float16"},
                                                   {2, "bfloat16"},
                                                   {4, "float32"},
                                                   {8, "float64"},
                                                   {1, "bool"},
                                                   {2, "uint16"},
                                                   {4, "uint32"},
                                                   {8, "uint64"},
                                                   {8, "complex64"},
                                                   {16, "complex128"},
                                                   {1, "float8_e4m3fn"},
                                                   {1, "float8_e5m2"},
                                                   {1, "float8_e4m3fnuz"},
                                                   {1, "float8_e5m2fnuz"}}};

}  // namespace

size_t SizeOf(DType dtype) { return kEntries[static_cast<size_t>(dtype)].size; }

std::string_view NameOf(DType dtype) { return kEntries[static_cast<size_t>(dtype)].name; }

}  // namespace rueda
