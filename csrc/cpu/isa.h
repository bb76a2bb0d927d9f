// Runs a loop compiled for the best instruction set that this processor has, from one text.
//
// A loop is a struct with a static, always-inlined `run`. It is inlined into two functions that
// differ only in their target attribute, so nothing else in the binary is compiled for AVX2: no
// template of the standard library can leak AVX2 code into the baseline.
#pragma once

#include <cstdlib>
#include <cstring>

namespace fcos_ops::cpu {

// FCOS_OPS_ISA=baseline in the environment makes any machine run what an old one would: for tests.
inline bool has_avx2() {
#if defined(__x86_64__)
  static const bool present = [] {
    const char* wanted = std::getenv("FCOS_OPS_ISA");
    const bool baseline = wanted != nullptr && std::strcmp(wanted, "baseline") == 0;
    return !baseline && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  }();
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
