// Threads. Work is cut into numbered tasks whose results do not depend on who computes them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/common/preempted_threads.h"

namespace fcos_ops::cpu {

// Of `num_threads`, those that work of so many bytes, written or the time of so many, is worth: a
// region waits for all of its threads, and one that shares its core with others may take
// milliseconds to wake up.
inline std::int32_t worthwhile_threads(std::int64_t bytes, std::int32_t num_threads) {
  constexpr std::int64_t kBytesOfThread = std::int64_t{1} << 20;  // some 15 us
  return static_cast<std::int32_t>(
      std::clamp<std::int64_t>(bytes / kBytesOfThread, 1, num_threads));
}

// Calls body(i) for i in [0, count). One thread takes a serial path that never touches OpenMP:
// after a fork, a second OpenMP region in the child would hang.
template <class Body>
void parallel_for(std::int64_t count, std::int32_t num_threads, const Body& body) {
  const auto wanted = static_cast<int>(std::min<std::int64_t>(count, num_threads));
  const int threads = wanted > 1 ? PreemptedThreads::team_size(wanted) : 1;
  if (threads <= 1) {
    for (std::int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  const std::int64_t start = wall_time();
  // The longest that a thread had no core. Not the caller: no region can do without it.
  std::int64_t preempted = 0;
#pragma omp parallel num_threads(threads) reduction(max : preempted)
  {
    bool is_caller = false;
#pragma omp master
    is_caller = true;
    const std::int64_t core_start = is_caller ? 0 : core_time();
    // Without waiting at the end, where a thread seems to work, or, asleep, to have no core.
#pragma omp for schedule(dynamic, 1) nowait
    for (std::int64_t i = 0; i < count; ++i) body(i);
    if (!is_caller) preempted = PreemptedThreads::preemption(start, core_start);
  }
  if (preempted > 0) PreemptedThreads::record(threads, wall_time() - start, preempted);
}

}  // namespace fcos_ops::cpu
