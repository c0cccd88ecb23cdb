// ChosenSet: lets a test force instruction sets and puts the machine's own choice back.
#pragma once

#include <string>
#include <vector>

#include "device/kernel_set.h"
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

// The sets that this machine can run: never none.
inline std::vector<std::string> AvailableSets() {
  std::vector<std::string> sets;
  for (const device::KernelSet& set : device::KernelSets()) {
    if (set.supported()) sets.emplace_back(set.name);
  }
  return sets;
}

}  // namespace rueda::test
