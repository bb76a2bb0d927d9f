// Threads that the next regions do without, because other processes use their cores.
//
// A region ends with its last thread. One that shares its core may lie still for a slice of the
// scheduler, some 3 ms, in the middle of a task of 30 us, while all others wait: with one of two
// cores busy, focal loss of batch 2 takes 5 ms in the mean with two threads, 3 ms with one. So the
// next regions leave out such a thread, until a while later they try one more again.
#pragma once

#include <time.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace fcos_ops::cpu {

inline std::int64_t clock_nanoseconds(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// Both in nanoseconds: the time, and that for which this thread has had a core.
inline std::int64_t wall_time() { return clock_nanoseconds(CLOCK_MONOTONIC); }
inline std::int64_t core_time() { return clock_nanoseconds(CLOCK_THREAD_CPUTIME_ID); }

class PreemptedThreads {
 public:
  // For how long this thread has had no core since `start`, when its core_time() was `core_start`;
  // 0 where that cannot be long: the clock of a thread is a call of the system, the other is not.
  static std::int64_t preemption(std::int64_t start, std::int64_t core_start) {
    const std::int64_t time = wall_time() - start;
    return time < kLongPreemption ? 0 : time - (core_time() - core_start);
  }

  // Of `wanted` threads, those that shall take part in the next region.
  static int team_size(int wanted) {
    int left_out = load(left_out_);
    if (left_out > 0 && wall_time() > load(until_)) store(left_out_, --left_out);
    return std::max(wanted - left_out, std::min(wanted, load(enough_)));
  }

  // A region of `threads` took `time`, and one thread had no core for `preempted` of it. The others
  // waited so long: they worked for time - preempted. One thread fewer would have taken
  // threads / (threads - 1) of that, which is less than `time` if preempted > time / threads.
  static void record(int threads, std::int64_t time, std::int64_t preempted) {
    if (preempted < kLongPreemption || preempted * threads < time) return;
    const std::int64_t now = wall_time();
    const bool again = now < load(until_) + kBackoffGrowsWithin;
    const std::int64_t backoff =
        again ? std::min(2 * load(backoff_), kLongestBackoff) : kFirstBackoff;
    store(enough_, threads - 1);
    store(left_out_, again ? load(left_out_) + 1 : 1);
    store(backoff_, backoff);
    store(until_, now + backoff);
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

  // In nanoseconds. A preemption is longer than it takes to wake a thread up; what uses the core
  // may be gone soon, or is found there again and again.
  static constexpr std::int64_t kLongPreemption = 1'000'000, kBackoffGrowsWithin = 250'000'000;
  static constexpr std::int64_t kFirstBackoff = 10'000'000, kLongestBackoff = 1'000'000'000;
  static inline std::atomic<int> left_out_{0}, enough_{0};         // so many are had in any case
  static inline std::atomic<std::int64_t> backoff_{0}, until_{0};  // until one more is tried
};

}  // namespace fcos_ops::cpu
