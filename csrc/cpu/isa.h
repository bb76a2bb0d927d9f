// Runs a loop compiled for the best instruction set that this processor has, from one text.
//
// A loop is a struct with a static, always-inlined `run`. It is inlined into two functions that
// differ only in their target attribute, so nothing else in the binary is compiled for AVX2: no
// template of the standard library can leak AVX2 code into the baseline.
#pragma once

namespace fcos_ops::cpu {

inline bool has_avx2() {
#if defined(__x86_64__)
  static const bool present = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return present;
#else
  return false;
#endif
}

template <class Loop, class... Args>
auto run_baseline(const Args&... args) {
  return Loop::run(args...);
}

#if defined(__x86_64__)
template <class Loop, class... Args>
__attribute__((target("avx2,fma"))) auto run_avx2(const Args&... args) {
  return Loop::run(args...);
}
#endif

template <class Loop, class... Args>
auto run_best(const Args&... args) {
#if defined(__x86_64__)
  if (has_avx2()) return run_avx2<Loop>(args...);
#endif
  return run_baseline<Loop>(args...);
}

}  // namespace fcos_ops::cpu
