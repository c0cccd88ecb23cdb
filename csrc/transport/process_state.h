// What /proc says of processes of this host: for reports, never for decisions.
#pragma once

#include <cstdint>

namespace rueda::transport {

// The state letter of a process's main thread, as in /proc/<pid>/stat (proc(5)): 'R', 'S', 'D',
// 'T' stopped, 't' traced, 'Z'. 'X' if there is no such process; 0 if it cannot be told.
char ProcessState(int64_t pid);

// The state of this process's main thread.
char OwnMainThreadState();

// The process of a pidfd as this process numbers it, from /proc/self/fdinfo; 0 if it cannot be
// told, -1 if the process has ended.
int64_t PidOf(int pidfd);

}  // namespace rueda::transport
