// The words of a stall report: groups, accounts of ranks, bounds, and texts that are not trusted.
#include "control/stall_report.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <string>
#include <vector>

#include "control_samples.h"

namespace rueda::control {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

Stall Withheld(const std::string& name, std::vector<int> missing,
               OpKind kind = OpKind::kAllreduce) {
  Stall stall;
  stall.name = name;
  stall.kind = kind;
  stall.missing_ranks = std::move(missing);
  stall.age = seconds(10);
  stall.tensor_count = 1;
  return stall;
}

RankAccount Answering(int rank, const std::string& program) {
  RankAccount account;
  account.rank = rank;
  account.facts.emplace();
  account.facts->program_follows = true;
  account.program = program;
  return account;
}

RankAccount Silent(int rank, char process, int64_t pid = 0) {
  RankAccount account;
  account.rank = rank;
  account.process = process;
  account.local_pid = pid;
  return account;
}

std::string TextOf(const StallFindings& findings, int size = 4) {
  return WordStallReport(TopologyOf(size), findings).text;
}

size_t LinesIn(const std::string& text) {
  return 1 + static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

TEST_CASE("one withheld tensor, one rank that answers", "[stall]") {
  StallFindings findings;
  findings.stalls = {Withheld("loss", {1})};
  findings.accounts = {Answering(1, "is in load (data.py:17)\ntrain.py:41 in train\n  step()")};
  findings.accounts[0].facts->finished = 37;
  findings.accounts[0].facts->last = "allreduce 'w'";
  findings.accounts[0].facts->last_ago = milliseconds(12345);
  findings.next_report = seconds(10);
  findings.given_up_in = seconds(50);
  CHECK(TextOf(findings) ==
        "stalled for 10 s: allreduce 'loss' waits for rank 1 (pid 101 on hostb), which is in load "
        "(data.py:17)\n"
        "  its last collective was number 37, allreduce 'w', 12 s ago\n"
        "  its main thread, most recent call last:\n"
        "    train.py:41 in train\n"
        "      step()\n"
        "  next report in 10 s, unless it goes on; given up in 50 s "
        "(RUEDA_STALL_SHUTDOWN_TIME_SECONDS)");
}

TEST_CASE("what waits for the same ranks shares a line", "[stall]") {
  StallFindings findings;
  for (const char* name : {"a", "b", "c", "d", "e", "f"}) {
    findings.stalls.push_back(Withheld(name, {1}));
  }
  findings.stalls.push_back(Withheld("g", {1, 2}));
  findings.stalls.push_back(Withheld("h", {1}, OpKind::kAllgather));
  findings.stalls.push_back(Withheld("a", {1}));
  findings.stalls.back().process_set = 3;
  const std::string text = TextOf(findings);
  CHECK_THAT(text, Catch::StartsWith("stalled for 10 s: 9 collectives wait for rank 1 (pid 101 on "
                                     "hostb) and rank 2 (pid 102 on hostc)\n"));
  CHECK_THAT(text,
             Catch::Contains("\n  allreduce 'a', 'b', 'c', 'd' and 2 more wait for rank 1 ("));
  CHECK_THAT(text,
             Catch::Contains("\n  allreduce 'g' waits for rank 1 (pid 101 on hostb) and rank"));
  CHECK_THAT(text, Catch::Contains("\n  allgather 'h' waits for rank 1 ("));
  CHECK_THAT(text, Catch::Contains("\n  allreduce 'a' in process set 3 waits for rank 1 ("));
}

TEST_CASE("the tensors of a group are named", "[stall]") {
  StallFindings findings;
  Stall bucket = Withheld("gradients.0", {1});
  bucket.tensor_count = 12;
  bucket.tensors = {"fc.weight", "fc.bias", "conv.weight", "conv.bias"};
  findings.stalls = {bucket};
  CHECK_THAT(TextOf(findings),
             Catch::Contains("allreduce 'gradients.0' of 12 tensors ('fc.weight', 'fc.bias', "
                             "'conv.weight', 'conv.bias' and 8 more) waits for rank 1"));
  bucket.tensor_count = 2;
  bucket.tensors = {"fc.weight", "fc.bias"};
  findings.stalls = {bucket};
  CHECK_THAT(TextOf(findings), Catch::Contains("of 2 tensors ('fc.weight' and 'fc.bias') waits"));
}

TEST_CASE("a rank without an answer is told by its process", "[stall]") {
  CHECK(DoingClause(Silent(1, 'T', 4711)) ==
        "is stopped (by SIGSTOP or Ctrl-Z; kill -CONT 4711 continues it)");
  CHECK(DoingClause(Silent(1, 't', 4711)) == "is held by a debugger or tracer");
  CHECK_THAT(DoingClause(Silent(1, 'D')), Catch::Contains("waits in the kernel"));
  CHECK(DoingClause(Silent(1, 'Z')) == "has ended");
  CHECK(DoingClause(Silent(1, 'X')) == "has ended");
  CHECK(DoingClause(Silent(1, 'R')) == "does not answer, though it runs; is this host overloaded?");
  CHECK(DoingClause(Silent(1, 0)) == "does not answer; is it stopped, or its host cut off?");
}

TEST_CASE("an engine that answers for a program that does not", "[stall]") {
  RankAccount account = Answering(1, "");
  account.program.reset();
  CHECK(Judge(account) == Doing::kBusy);
  CHECK_THAT(DoingClause(account),
             Catch::StartsWith("is busy: its engine answers") && Catch::Contains("(GIL)"));
  account.facts->main_thread = 'D';
  CHECK_THAT(DoingClause(account), Catch::Contains("waits in the kernel"));
  account.facts->program_follows = false;
  CHECK(Judge(account) == Doing::kEngineOnly);
  account.facts->running = "broadcast 'y'";
  account.facts->running_for = seconds(3);
  CHECK(DoingClause(account) == "runs broadcast 'y' for 3.0 s");
  account.facts->leaving = true;
  CHECK(DoingClause(account) == "is shutting rueda down");
}

TEST_CASE("what a missing rank waits for itself is told", "[stall]") {
  StallFindings findings;
  findings.stalls = {Withheld("a", {1})};
  findings.accounts = {Answering(1, "is in main (x.py:1)")};
  findings.accounts[0].facts->in_flight = {"allreduce 'b'", "join 'join'"};
  findings.accounts[0].facts->in_flight_count = 5;
  findings.accounts[0].facts->running = "allreduce 'c'";
  findings.accounts[0].facts->running_for = seconds(4);
  findings.accounts[0].facts->waits_for = {3, -7, 2, 99};
  const std::string text = TextOf(findings);
  CHECK_THAT(text, Catch::Contains("\n  it has taken part in no collective yet\n"));
  CHECK_THAT(text, Catch::Contains("it has in flight: allreduce 'b', join 'join' and 3 more"));
  CHECK_THAT(text, Catch::Contains("allreduce 'c' has run for 4.0 s; still waiting for rank 2 (pid "
                                   "102 on hostc) and rank 3 (pid 103 on hostd)"));
}

TEST_CASE("a bucket that does not move is reported with whom it waits for", "[stall]") {
  StallFindings findings;
  findings.runs = {{"allreduce 'x'", seconds(10), {2}, false}};
  findings.accounts = {Silent(2, 'T', 7)};
  const StallReport report = WordStallReport(TopologyOf(3), findings);
  CHECK(report.headline ==
        "allreduce 'x' has run for 10 s; still waiting for rank 2 (pid 102 on hostc), which is "
        "stopped (by SIGSTOP or Ctrl-Z; kill -CONT 7 continues it)");
  findings.runs[0].waits_for.clear();
  findings.accounts.clear();
  CHECK(WordStallReport(TopologyOf(3), findings).text == "allreduce 'x' has run for 10 s");
  findings.stalls = {Withheld("y", {1})};
  CHECK_THAT(TextOf(findings), Catch::Contains("\n  allreduce 'x' has run for 10 s"));
}

TEST_CASE("an offer that rank 0 does not answer is reported", "[stall]") {
  StallFindings findings;
  findings.runs = {{"allreduce 'x' and 2 more", seconds(12), {0}, true}};
  findings.accounts = {Silent(0, 'T', 9)};
  CHECK(TextOf(findings) ==
        "allreduce 'x' and 2 more has waited 12 s for the answer of rank 0 (pid 100 on hosta), "
        "which is stopped (by SIGSTOP or Ctrl-Z; kill -CONT 9 continues it)");
}

TEST_CASE("a report is bounded whatever stalls", "[stall]") {
  StallFindings findings;
  for (int i = 0; i < 1000; ++i) {
    findings.stalls.push_back(Withheld(std::string(3000, 'n') + std::to_string(i), {i % 100}));
  }
  std::string program = "is in f (x.py:1)";
  for (int i = 0; i < 500; ++i) program += "\n" + std::string(2000, 's');
  for (size_t i = 0; i < kMaxAccounts; ++i) {
    findings.accounts.push_back(Answering(static_cast<int>(i), program));
  }
  Topology topology = TopologyOf(4);
  topology.size = 100;
  const StallReport report = WordStallReport(topology, findings);
  CHECK(report.text.size() < 40'000);
  CHECK(LinesIn(report.text) < 250);
  CHECK(report.headline.size() < 400);
  CHECK_THAT(report.text, Catch::Contains("92 more such groups") &&
                              Catch::Contains("92 more ranks were not asked"));
}

TEST_CASE("texts of others cannot write over a terminal", "[stall]") {
  CHECK(Printable("a\x1b[31mb\r\n\x7f\xc2\x9b!", 100) == "a?[31mb" + std::string(4, '?') + "!");
  CHECK(Printable("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80", 100) ==
        "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80");
  CHECK(Printable("\xff\xc0\xaf\xed\xa0\x80\xf5", 100) == std::string(7, '?'));
  CHECK(Printable("abc\xe2\x82\xac", 4) == "abc...");
  CHECK(Printable("\xe2\x82", 10) == "??");

  StallFindings findings;
  findings.stalls = {Withheld("x\n[rueda, rank 0] error: forged\x1b[2J", {1})};
  findings.accounts = {Answering(1, "is in \x1b]0;f\x07 (x.py:1)\n\x1b[2Jevil\rline")};
  findings.accounts[0].facts->last = "allreduce '\n\x1b'";
  findings.accounts[0].facts->in_flight = {"a\nb"};
  const std::string text = TextOf(findings);
  for (const char c : text) CHECK((c == '\n' || static_cast<unsigned char>(c) >= 0x20));
  CHECK(LinesIn(text) == 5);
}

TEST_CASE("times as people read them", "[stall]") {
  CHECK(DurationText(milliseconds(350)) == "350 ms");
  CHECK(DurationText(milliseconds(4270)) == "4.2 s");
  CHECK(DurationText(seconds(37)) == "37 s");
  CHECK(DurationText(seconds(725)) == "12 min 5 s");
  CHECK(DurationText(seconds(12'000)) == "3 h 20 min");
}

TEST_CASE("how it ended is told", "[stall]") {
  CHECK_THAT(WordStallEnd(seconds(37), true), Catch::StartsWith("resumed after 37 s"));
  CHECK_THAT(WordStallEnd(seconds(37), false),
             Catch::Contains("after 37 s") && Catch::Contains("error"));
}

}  // namespace
}  // namespace rueda::control
