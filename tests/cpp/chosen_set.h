// ChosenSet: lets a test force instruction sets and puts the machine's own choice back.
#pragma once

#include <string>
#include <vector>

#include "device/reduce.h"

namespace rueda::test {

// Puts back the set that the machine would choose.
class ChosenSet {
 public:
  ChosenSet() : name_(device::InstructionSet()) {}
  ~ChosenSet() { device::ForceInstructionSet(name_); }
  ChosenSet(const ChosenSet&) = delete;
  ChosenSet& operator=(const ChosenSet&) = delete;

 private:
  std::string name_;
};

// The sets that this machine can run.
inline std::vector<std::string> AvailableSets() {
  const ChosenSet restore;
  std::vector<std::string> sets;
  for (const char* name : {"avx512", "avx2", "baseline"}) {
    if (device::ForceInstructionSet(name)) sets.emplace_back(name);
  }
  return sets;
}

}  // namespace rueda::test
