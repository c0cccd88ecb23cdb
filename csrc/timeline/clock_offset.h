// ClockOffset: how far another rank's steady clock is from ours.
//
// Cristian's estimate (F. Cristian, "Probabilistic clock synchronization", 1989) with the clock
// filter of NTP (RFC 5905, section 10): of the last eight exchanges the one that took the shortest
// way there and back tells best. Its error is at most half that time. Pure; one thread at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace rueda::timeline {

// One question and its answer, in nanoseconds.
struct ClockExchange {
  int64_t asked = 0;     // by our clock
  int64_t heard = 0;     // by the other's
  int64_t answered = 0;  // by the other's
  int64_t received = 0;  // by our clock

  // Time on the way, there and back.
  int64_t way() const { return (received - asked) - (answered - heard); }
};

class ClockOffset {
 public:
  static constexpr size_t kExchanges = 8;

  // An exchange that took no or negative time was no exchange and is not counted.
  void Add(const ClockExchange& exchange);
  bool known() const { return count_ > 0; }
  // As many as are ever compared have been added.
  bool settled() const { return count_ >= kExchanges; }

  // What the last exchanges measured: the other's time plus this is ours. Overflow cannot happen
  // with clocks of one century.
  int64_t measured() const;
  // Half of the shortest way: measured() is no further from the truth.
  int64_t error() const;
  // What to add to the other's times. Zero as long as that agrees with what was measured: ranks of
  // one host read the same clock, and no estimate could be better.
  int64_t offset() const;

 private:
  const ClockExchange& best() const;

  std::array<ClockExchange, kExchanges> last_{};  // by number % kExchanges
  size_t count_ = 0;
};

}  // namespace rueda::timeline
