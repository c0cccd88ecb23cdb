#include "torch/handle_table.h"

#include <memory>
#include <utility>

namespace rueda::pytorch {

HandleTable::~HandleTable() {
  DropFinished();
  if (works_.empty()) return;
  // Leaked on purpose, see the header.
  static_cast<void>(std::make_unique<decltype(works_)>(std::move(works_)).release());
}

int64_t HandleTable::Insert(StartedWork&& work) {
  const int64_t handle = next_handle_++;
  spare_.Insert(&works_, handle, std::move(work));
  return handle;
}

const StartedWork* HandleTable::Find(int64_t handle) const {
  const auto found = works_.find(handle);
  return found == works_.end() ? nullptr : &found->second;
}

const StartedWork* HandleTable::FindByName(uint32_t process_set, std::string_view name) const {
  for (const auto& [handle, work] : works_) {
    if (work.ticket->done() || work.request->process_set != process_set) continue;
    if (work.request->name == name) return &work;
  }
  return nullptr;
}

std::optional<StartedWork> HandleTable::Take(int64_t handle) {
  return spare_.Take(&works_, handle);
}

void HandleTable::DropFinished() {
  std::erase_if(works_, [](const auto& entry) { return entry.second.ticket->done(); });
}

}  // namespace rueda::pytorch
