// Regions leave out a thread whose core another process uses, for a while. A thread that sleeps has
// no core either, so here one sleeps in a task.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "cpu/common/parallel.h"

namespace {

using fcos_ops::cpu::parallel_for;
using fcos_ops::cpu::SparedThreads;
using std::chrono::milliseconds;
using std::this_thread::sleep_for;

constexpr std::int64_t kMillisecond = 1'000'000;

void expect(bool truth, const char* what) {
  if (truth) return;
  std::fprintf(stderr, "%s\n", what);
  std::exit(1);
}

void sleep_until_all_are_back() {
  while (SparedThreads::take(2) < 2) sleep_for(milliseconds(5));
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

}  // namespace

int main() {
  SparedThreads::record(2, 20 * kMillisecond, 5 * kMillisecond);
  expect(SparedThreads::take(2) == 2, "5 of 20 ms: the other thread made up for it");
  SparedThreads::record(2, kMillisecond / 2, kMillisecond / 2);
  expect(SparedThreads::take(2) == 2, "half a millisecond: a thread that wakes up late");
  SparedThreads::record(16, 20 * kMillisecond, 5 * kMillisecond);
  expect(SparedThreads::take(16) == 15, "5 of 20 ms is more than the share of one of 16");
  expect(SparedThreads::take(8) == 8, "15 other cores are free");
  for (int i = 0; i < 5; ++i) SparedThreads::record(3, 6 * kMillisecond, 5 * kMillisecond);
  expect(SparedThreads::take(3) == 1 && SparedThreads::take(1) == 1, "the caller always works");
  sleep_until_all_are_back();

  bool is_left_out = false;  // unless this process lies still for that while, which doubles
  for (int i = 0; i < 7 && !is_left_out; ++i) {
    expect(others_take_part(milliseconds(100)), "two threads share the tasks");
    is_left_out = !others_take_part(milliseconds(0));
    sleep_until_all_are_back();
  }
  expect(is_left_out, "a region held up by a thread is followed by one without it");
  expect(others_take_part(milliseconds(0)), "a thread that was left out is tried again");
}
