// Threads that the next regions do without, because other processes use their cores.
//
// A region ends with its last thread. One that shares its core may lie still for a slice of the
// scheduler, some 3 ms, in the middle of a task of 30 us, while all others wait: with one of two
// cores busy, focal loss of batch 2 takes 5 ms in the mean with two threads, 3 ms with one. So the
// next regions do without such a thread, until a while later they try one more again.
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
    const int spared = load(spared_);
    if (spared > 0 && wall_time() > load(until_)) store(spared_, spared - 1);
    return wanted <= load(enough_) ? wanted : std::max(wanted - spared, 1);
  }

  // A region of `threads` took `time`, for `away` of which one of them had no core. Without that
  // thread the others, who worked for time - away, would have worked for threads / (threads - 1) of
  // this.
  static void record(int threads, std::int64_t time, std::int64_t away) {
    if (away < kLongAway || away * threads < time) return;
    const int spared = std::min(load(spared_) + 1, threads - 1);
    const std::int64_t now = wall_time();
    const bool again = now < load(until_) + kSoon;
    const std::int64_t rest = again ? std::min(2 * load(rest_), kLongestRest) : kFirstRest;
    store(spared_, spared);
    store(enough_, threads - spared);
    store(rest_, rest);
    store(until_, now + rest);
  }

 private:
  // Callers in several threads may mix their records, which makes a worse guess and no harm.
  template <class T>
  static T load(const std::atomic<T>& value) {
    return value.load(std::memory_order_relaxed);
  }
  template <class T>
  static void store(std::atomic<T>& value, T now) {
    value.store(now, std::memory_order_relaxed);
  }

  // In nanoseconds. A thread is away for longer than it takes to wake one up; what uses its core
  // may be gone soon, or is found there again and again.
  static constexpr std::int64_t kLongAway = 1'000'000, kSoon = 250'000'000;
  static constexpr std::int64_t kFirstRest = 10'000'000, kLongestRest = 1'000'000'000;
  static inline std::atomic<int> spared_{0}, enough_{0};        // regions of `enough_` spare none
  static inline std::atomic<std::int64_t> rest_{0}, until_{0};  // until a thread more is tried
};

}  // namespace fcos_ops::cpu
