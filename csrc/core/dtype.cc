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
                                                   {8, "uint64"}}};

}  // namespace

size_t SizeOf(DType dtype) { return kEntries[static_cast<size_t>(dtype)].size; }

std::string_view NameOf(DType dtype) { return kEntries[static_cast<size_t>(dtype)].name; }

}  // namespace rueda
