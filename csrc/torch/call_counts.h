// CallCounts: what calls without a name are called, by process set and operation.
//
// Ranks match unnamed calls by their count, so each process set counts for itself, and all begin
// anew after a join: a rank that joined early made fewer calls. Called with the GIL held, which is
// its lock.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>

namespace rueda::pytorch {

class CallCounts {
 public:
  // "<operation>.noname.<count>", with the number of joins before the count once there was one.
  std::string NextName(uint32_t process_set, const std::string& operation) const;
  // The next one is called otherwise from here on.
  void Count(uint32_t process_set, const std::string& operation);
  // Both at once.
  std::string Take(uint32_t process_set, const std::string& operation);

  // Joins that the ranks of a process set have seen the end of, its own and those of all ranks.
  uint64_t joins(uint32_t process_set) const;
  void EndJoin(uint32_t process_set);
  // Of a set that was removed nothing stays: its number never comes again.
  void Forget(uint32_t process_set);

 private:
  uint64_t OwnJoins(uint32_t process_set) const;

  std::map<std::pair<uint32_t, std::string>, uint64_t> counts_;
  std::map<uint32_t, uint64_t> joins_;
};

}  // namespace rueda::pytorch
