// Threads that the next regions do without, because other processes use their cores.
//
// A region ends with its last thread. One that shares its core may lie still for a slice of the
// scheduler, some 3 ms, in the middle of a task of 30 us, and all others wait, which takes longer
// than its share of the work: with one of two cores busy, two threads need 5.4 ms for what one
// does in 2.9. So after such a region a thread less takes part, and a while later one more again.
#pragma once

#include <time.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace fcos_ops::cpu {

// In nanoseconds: what has passed, and for how much of it this thread had a core.
inline std::int64_t clock_time(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}
inline std::int64_t wall_time() { return clock_time(CLOCK_MONOTONIC); }
inline std::int64_t core_time() { return clock_time(CLOCK_THREAD_CPUTIME_ID); }

class SparedThreads {
 public:
  // Of `wanted` threads, those that take part in a region.
  static int take(int wanted) {
    const int spared = spared_.load(std::memory_order_relaxed);
    if (spared > 0 && wall_time() > until_.load(std::memory_order_relaxed)) spare(spared - 1);
    return std::max(wanted - spared, 1);
  }

  // A region of `threads` took `time`, for `away` of which one of them had no core. Without that
  // thread the others, who worked for time - away, would have worked for threads / (threads - 1) of
  // this.
  static void record(int threads, std::int64_t time, std::int64_t away) {
    if (away > kLongAway && away * threads > time) {
      spare(std::min(spared_.load(std::memory_order_relaxed) + 1, threads - 1));
    }
  }

 private:
  static void spare(int threads) {
    spared_.store(threads, std::memory_order_relaxed);
    until_.store(wall_time() + kWhile, std::memory_order_relaxed);
  }

  static constexpr std::int64_t kLongAway = 1'000'000, kWhile = 250'000'000;  // nanoseconds
  static inline std::atomic<int> spared_{0};
  static inline std::atomic<std::int64_t> until_{0};
};

}  // namespace fcos_ops::cpu
