// SocketProcedure: an all-reduce over plain TCP connections, by the calling thread alone.
//
// A ring: reduce-scatter, then all-gather (Patarasuk and Yuan 2009,
// doi:10.1016/j.jpdc.2008.09.002), so every rank sends and receives 2(n-1)/n of the bytes, which is
// the least that there is. Sending and receiving overlap through poll; what arrives is added as it
// comes. What a kernel's sockets give without any library above them.
#pragma once

#include <memory>
#include <vector>

#include "bench/engine_procedure.h"
#include "bench/procedure.h"
#include "device/reduce.h"
#include "transport/unique_fd.h"

namespace rueda::bench {

class SocketProcedure final : public Procedure {
 public:
  // Connected sockets to the next rank and from the one before, which are duplicated; one socket in
  // both roles where there are two ranks, none with one. Allreduce alone.
  static Result<std::unique_ptr<SocketProcedure>> Make(int rank, int size, int next, int previous,
                                                       const Collective& collective);

  std::span<uint8_t> input() override { return {memory_.get(), bytes_}; }
  std::span<uint8_t> output() override { return input(); }
  Status Call() override;

 private:
  // One side of a step: a slice, and how far it has come.
  struct Transfer {
    uint8_t* data = nullptr;
    size_t bytes = 0;
    size_t done = 0;
    bool over() const { return done == bytes; }
  };

  SocketProcedure() = default;
  // Slice `index` of the ring, in bytes.
  Transfer Slice(int index) const;
  Status Step(int sent_slice, int received_slice, bool adds);
  Status Send(Transfer* out);
  Status Receive(Transfer* in, bool adds);
  Status AwaitReady(bool sends, bool receives);

  int rank_ = 0;
  int size_ = 1;
  transport::UniqueFd next_;
  transport::UniqueFd previous_;
  device::ReduceSpec spec_;
  size_t element_bytes_ = 0;
  size_t bytes_ = 0;
  Memory memory_;
  Memory arriving_;     // what was received and not yet added
  size_t arrived_ = 0;  // bytes in it
};

}  // namespace rueda::bench
