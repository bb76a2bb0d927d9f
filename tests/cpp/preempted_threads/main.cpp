// Regions leave out a thread whose core another process uses, for a while. A thread that sleeps has
// no core either, so here one sleeps in a task.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "cpu/common/parallel.h"

namespace {

using fcos_ops::cpu::parallel_for;
using fcos_ops::cpu::PreemptedThreads;
using std::chrono::milliseconds;
using std::this_thread::sleep_for;

constexpr std::int64_t kMillisecond = 1'000'000;

void expect(bool truth, const char* what) {
  if (truth) return;
  std::fprintf(stderr, "%s\n", what);
  std::exit(1);
}

void sleep_until_all_are_back(int threads) {
  while (PreemptedThreads::team_size(threads) < threads) sleep_for(milliseconds(5));
}

// Whether others than the caller have taken tasks, and slept in each for so long.
bool others_take_part(milliseconds in_a_task) {
  const auto caller = std::this_thread::get_id();
  bool others = false;
  parallel_for(64, 2, [&](std::int64_t) {
    if (std::this_thread::get_id() == caller) return sleep_for(milliseconds(1));
    others = true;
    sleep_for(in_a_task);
  });
  return others;
}

// A region of which one thread had no core for 5 of 6 ms.
void preempt(int wanted) {
  const int threads = PreemptedThreads::team_size(wanted);
  PreemptedThreads::record(threads, 6 * kMillisecond, 5 * kMillisecond);
}

bool are_counted() {
  preempt(16);
  preempt(16);
  const bool two_of_16 = PreemptedThreads::team_size(16) == 14;
  const bool no_more_are_had = PreemptedThreads::team_size(15) == 14;
  const bool others_are_free = PreemptedThreads::team_size(8) == 8;
  sleep_until_all_are_back(16);
  preempt(3);
  preempt(3);
  const bool alone = PreemptedThreads::team_size(3) == 1;
  preempt(2);
  const bool caller_always_works = PreemptedThreads::team_size(2) == 1;
  sleep_until_all_are_back(3);
  return two_of_16 && no_more_are_had && others_are_free && alone && caller_always_works;
}

bool is_left_out() {
  expect(others_take_part(milliseconds(100)), "two threads share the tasks");
  const bool others = others_take_part(milliseconds(0));
  sleep_until_all_are_back(2);
  return !others;
}

// Threads are left out for 10 ms and longer, in which this process, too, may lie still.
bool is_seen(bool (*truth)()) {
  for (int i = 0; i < 7; ++i) {
    if (truth()) return true;
  }
  return false;
}

}  // namespace

int main() {
  PreemptedThreads::record(2, 20 * kMillisecond, 5 * kMillisecond);
  expect(PreemptedThreads::team_size(2) == 2, "5 of 20 ms: the other thread made up for it");
  PreemptedThreads::record(2, kMillisecond / 2, kMillisecond / 2);
  expect(PreemptedThreads::team_size(2) == 2, "half a millisecond: a thread that wakes up late");
  expect(is_seen(are_counted), "each preempted thread is left out, and no other");
  expect(is_seen(is_left_out), "a region held up by a thread is followed by one without it");
  expect(others_take_part(milliseconds(0)), "a thread that was left out is tried again");
}
