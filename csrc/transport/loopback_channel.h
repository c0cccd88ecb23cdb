// LoopbackChannel: two ends in one process, for ranks that are threads.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "transport/channel.h"

namespace rueda::transport {

// The two ends of one link that holds at most `capacity` bytes a direction. `wake_first` is called
// (by any thread) when there is news for the first end, `wake_second` likewise.
std::pair<std::unique_ptr<Channel>, std::unique_ptr<Channel>> MakeLoopbackLink(
    size_t capacity, std::function<void()> wake_first, std::function<void()> wake_second);

}  // namespace rueda::transport
