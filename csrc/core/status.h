// Status and Result<T>: how every fallible function of rueda answers.
//
// A Status is a value: free to copy, safe to share between threads once written. Context is added
// once, in words a user understands; only the Python bindings turn a Status into an exception.
#pragma once

#include <cassert>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace rueda {

// Each code is stable and documented in docs/errors.md; CodeName gives its printed form.
enum class StatusCode : int {
  kOk = 0,
  kInvalidArgument = 101,  // the caller's mistake; nothing was started
  kNotInitialized = 102,   // used before init or after shutdown
  kDuplicateName = 103,    // the same name is already in flight on this rank
  kUnsupported = 104,      // this build, device or backend cannot do it
  kForked = 105,           // used in a forked child of an initialised process
  kMismatch = 201,         // ranks disagree about one tensor; the job goes on
  kPeerLeft = 202,         // a rank shut down without offering this tensor; the job goes on
  kPeerLost = 301,         // a rank died; the epoch ends
  kTimedOut = 302,         // a bucket did not finish in time; the epoch ends
  kShutDown = 303,         // this rank shut down with the work still in flight
  kStalled = 304,          // ranks withheld a tensor past the stall limit; the epoch ends
  kSystem = 401,           // the operating system refused something
  kCorrupt = 402,          // a message did not parse; versions differ or memory was damaged
};

// The stable printed code, such as "R201".
std::string CodeName(StatusCode code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status Ok() { return {}; }

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }
  // The rank this status blames, or -1: what a launcher needs to find the cause among victims.
  int blamed_rank() const { return blamed_rank_; }
  Status& Blame(int rank) {
    blamed_rank_ = rank;
    return *this;
  }

  bool operator==(const Status&) const = default;

 private:
  StatusCode code_ = StatusCode::kOk;
  int blamed_rank_ = -1;
  std::string message_;
};

// kSystem with what was tried and errno in words.
Status SystemError(std::string_view what, int error_number);

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}                               // NOLINT: implicit
  Result(Status status) : state_(std::move(status)) { assert(!this->ok()); }  // NOLINT: implicit

  bool ok() const { return std::holds_alternative<T>(state_); }
  // Ok() when there is a value.
  Status status() const { return ok() ? Status() : std::get<Status>(state_); }
  T& value() & { return std::get<T>(state_); }
  const T& value() const& { return std::get<T>(state_); }
  T&& value() && { return std::get<T>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Status> state_;
};

// Leaves the function with the first status that is not ok.
#define RUEDA_RETURN_IF_ERROR(expression)          \
  do {                                             \
    ::rueda::Status rueda_status_ = (expression);  \
    if (!rueda_status_.ok()) return rueda_status_; \
  } while (false)

}  // namespace rueda
