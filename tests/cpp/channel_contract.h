// The contract that every Channel passes. An implementation instantiates it in channel_test.cc:
//
//   RUEDA_CHANNEL_CONTRACT("loopback", MakeLoopback)
//
// where MakeLoopback() returns a ChannelLink: two ends, each with the parker that its news wake.
#pragma once

#include <catch2/catch.hpp>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "channel_streams.h"
#include "deadline.h"
#include "status_text.h"

namespace rueda::testing {

using MakeLink = ChannelLink (*)();

// One thread plays both ends: any order of calls, any chunk sizes, both directions at once.
inline void DeliversInOrderWhateverTheChunks(MakeLink make) {
  const Deadline deadline("bytes in order");
  const uint64_t seed = GENERATE(1u, 2u, 3u, 4u);
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  ChannelLink link = make();
  ChannelEnd* const ends[] = {&link.first, &link.second};
  ByteSource sources[] = {{11, 300'007}, {22, 150'001}};
  ByteSink sinks[] = {{22, 150'001}, {11, 300'007}};
  int fruitless = 0;
  while (!sinks[0].done() || !sinks[1].done()) {
    const size_t side = random() % 2;
    const size_t most = RandomChunk(random);
    const Result<size_t> moved = random() % 2 == 0
                                     ? sources[side].Send(*ends[side]->channel, most)
                                     : sinks[side].Receive(*ends[side]->channel, most);
    REQUIRE(moved.status() == Status());
    REQUIRE(*moved <= most);
    fruitless = *moved > 0 ? 0 : fruitless + 1;
    // Sockets deliver when they like.
    if (fruitless > 1000) ParkFor(*ends[side]->parker, std::chrono::milliseconds(1));
  }
  CHECK(sinks[0].wrong() == "");
  CHECK(sinks[1].wrong() == "");
}

inline void AFullChannelTakesNothingUntilThereIsRoom(MakeLink make) {
  const Deadline deadline("back-pressure");
  ChannelLink link = make();
  ByteSource source(1, kWithoutEnd);
  ByteSink sink(1, kWithoutEnd);
  FillUp(source, *link.first.channel);
  const uint64_t held = source.sent();
  CHECK(held > 0);
  if (link.first.channel->descriptor() >= 0) CHECK(link.first.channel->wants_room());

  const uint32_t seen = link.first.parker->Prepare();
  REQUIRE(ReceiveUntil(sink, link.second, held) == Status());
  const Patience patience;
  link.first.parker->Park(seen, patience.end());
  CHECK_FALSE(patience.over());  // room woke it
  Result<size_t> more = source.Send(*link.first.channel, 1);
  while (more.ok() && *more == 0 && !patience.over()) {
    ParkFor(*link.first.parker, std::chrono::milliseconds(10));
    more = source.Send(*link.first.channel, 1);
  }
  REQUIRE(more.status() == Status());
  CHECK(*more == 1);
  REQUIRE(ReceiveUntil(sink, link.second, held + 1) == Status());
  CHECK(sink.wrong() == "");
}

inline void ArrivingBytesWakeTheReceiver(MakeLink make) {
  const Deadline deadline("arriving bytes");
  ChannelLink link = make();
  for (uint8_t i = 0; i < 20; ++i) {
    const uint32_t seen = link.second.parker->Prepare();
    uint8_t byte = 0;
    REQUIRE(*link.second.channel->Receive(&byte, 1) == 0);
    REQUIRE(*link.first.channel->Send(&i, 1) == 1);
    const Patience patience;
    link.second.parker->Park(seen, patience.end());
    CHECK_FALSE(patience.over());
    REQUIRE(ReceiveByte(link.second, &byte) == Status());
    CHECK(byte == i);
  }
}

inline void WhatWasSentBeforeACloseArrives(MakeLink make) {
  const Deadline deadline("bytes before a close");
  const bool destroyed = GENERATE(false, true);
  // A full TCP connection that is destroyed with bytes unread drops what it still had to send.
  const auto [full, unread] =
      GENERATE(table<bool, bool>({{false, false}, {true, false}, {false, true}}));
  CAPTURE(destroyed, full, unread);
  ChannelLink link = make();
  ByteSource ignored(4, unread ? 500 : 0);
  FillUp(ignored, *link.second.channel);
  ByteSource source(3, full ? kWithoutEnd : 1000);
  FillUp(source, *link.first.channel);
  const uint32_t seen = link.second.parker->Prepare();
  if (destroyed) {
    link.first.channel.reset();
  } else {
    link.first.channel->Close();
    link.first.channel->Close();
  }
  const Patience patience;
  link.second.parker->Park(seen, patience.end());
  CHECK_FALSE(patience.over());  // the close woke it
  ByteSink sink(3, source.sent());
  REQUIRE(ReceiveUntil(sink, link.second, source.sent()) == Status());
  CHECK(sink.wrong() == "");
  uint8_t byte = 0;
  CHECK(ReceiveByte(link.second, &byte).code() == StatusCode::kPeerLost);
  CHECK(ReceiveByte(link.second, &byte).code() == StatusCode::kPeerLost);
}

inline void SendingAfterAnyCloseIsALoss(MakeLink make) {
  const Deadline deadline("sending after a close");
  const bool own = GENERATE(false, true);
  const bool destroyed = GENERATE(false, true);
  CAPTURE(own, destroyed);
  if (own && destroyed) return;
  ChannelLink link = make();
  ByteSource before(5, 700);
  FillUp(before, *link.second.channel);
  if (destroyed) {
    link.second.channel.reset();
  } else {
    (own ? link.first : link.second).channel->Close();
  }
  CHECK(SendUntilLost(link.first).code() == StatusCode::kPeerLost);
  CHECK(SendUntilLost(link.first).code() == StatusCode::kPeerLost);
  if (own) return;
  // A send that fails takes nothing from what had arrived: last words are often among it.
  ByteSink sink(5, 700);
  REQUIRE(ReceiveUntil(sink, link.first, 700) == Status());
  CHECK(sink.wrong() == "");
  uint8_t byte = 0;
  CHECK(ReceiveByte(link.first, &byte).code() == StatusCode::kPeerLost);
}

inline void AFullChannelThatIsClosedFailsTheSender(MakeLink make) {
  const Deadline deadline("closing a full channel");
  ChannelLink link = make();
  ByteSource source(7, kWithoutEnd);
  FillUp(source, *link.first.channel);
  const uint32_t seen = link.first.parker->Prepare();
  link.second.channel->Close();
  const Patience patience;
  link.first.parker->Park(seen, patience.end());
  CHECK_FALSE(patience.over());
  CHECK(SendUntilLost(link.first).code() == StatusCode::kPeerLost);
}

inline void CallsForNoBytesDoNothing(MakeLink make) {
  const Deadline deadline("calls for no bytes");
  ChannelLink link = make();
  const auto both = [&](uint8_t* data) {
    const Result<size_t> sent = link.first.channel->Send(data, 0);
    const Result<size_t> received = link.second.channel->Receive(data, 0);
    return sent.ok() && received.ok() && *sent == 0 && *received == 0;
  };
  uint8_t byte = 42;
  CHECK(both(nullptr));
  CHECK(both(&byte));
  REQUIRE(*link.first.channel->Send(&byte, 1) == 1);
  CHECK(both(nullptr));
  byte = 0;
  REQUIRE(ReceiveByte(link.second, &byte) == Status());
  CHECK(byte == 42);
  link.first.channel->Close();
  CHECK(both(nullptr));
}

// A thread an end, each sleeping in its parker: a lost wake-up ends in the deadline.
inline void BothWaysAtOnceFromTwoThreads(MakeLink make) {
  const Deadline deadline("both ways at once");
  const uint64_t seed = GENERATE(1u, 2u);
  CAPTURE(seed);
  ChannelLink link = make();
  std::string wrong[2];
  std::thread other([&] { wrong[1] = Exchange(link.second, 22, 11, kExchanged, seed + 100); });
  wrong[0] = Exchange(link.first, 11, 22, kExchanged, seed);
  other.join();
  CHECK(wrong[0] == "");
  CHECK(wrong[1] == "");
}

inline void OneThreadSendsWhileAnotherReceives(MakeLink make) {
  const Deadline deadline("sending while receiving");
  ChannelLink link = make();
  std::string wrong[4];
  std::thread threads[] = {
      std::thread([&] { wrong[0] = SendAll(*link.first.channel, 11, kExchanged / 4); }),
      std::thread([&] { wrong[1] = SendAll(*link.second.channel, 22, kExchanged / 4); }),
      std::thread([&] { wrong[2] = ReceiveAll(*link.first.channel, 22, kExchanged / 4); }),
      std::thread([&] { wrong[3] = ReceiveAll(*link.second.channel, 11, kExchanged / 4); })};
  for (std::thread& thread : threads) thread.join();
  for (const std::string& one : wrong) CHECK(one == "");
}

#define RUEDA_CHANNEL_CONTRACT(name, make)                                                     \
  TEST_CASE(name ": delivers bytes in order, whatever the chunks", "[channel]") {              \
    ::rueda::testing::DeliversInOrderWhateverTheChunks(make);                                  \
  }                                                                                            \
  TEST_CASE(name ": a full one takes nothing until there is room, which wakes", "[channel]") { \
    ::rueda::testing::AFullChannelTakesNothingUntilThereIsRoom(make);                          \
  }                                                                                            \
  TEST_CASE(name ": arriving bytes wake the receiver", "[channel]") {                          \
    ::rueda::testing::ArrivingBytesWakeTheReceiver(make);                                      \
  }                                                                                            \
  TEST_CASE(name ": what was sent before a close arrives, then the loss", "[channel]") {       \
    ::rueda::testing::WhatWasSentBeforeACloseArrives(make);                                    \
  }                                                                                            \
  TEST_CASE(name ": sending after a close is a loss, receiving still works", "[channel]") {    \
    ::rueda::testing::SendingAfterAnyCloseIsALoss(make);                                       \
  }                                                                                            \
  TEST_CASE(name ": a full one that is closed wakes and fails its sender", "[channel]") {      \
    ::rueda::testing::AFullChannelThatIsClosedFailsTheSender(make);                            \
  }                                                                                            \
  TEST_CASE(name ": calls for no bytes do nothing", "[channel]") {                             \
    ::rueda::testing::CallsForNoBytesDoNothing(make);                                          \
  }                                                                                            \
  TEST_CASE(name ": moves megabytes both ways at once", "[channel]") {                         \
    ::rueda::testing::BothWaysAtOnceFromTwoThreads(make);                                      \
  }                                                                                            \
  TEST_CASE(name ": one thread sends while another receives", "[channel]") {                   \
    ::rueda::testing::OneThreadSendsWhileAnotherReceives(make);                                \
  }

}  // namespace rueda::testing
