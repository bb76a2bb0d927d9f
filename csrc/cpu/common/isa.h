// Function multiversioning of one source: runs a loop compiled for the best instruction set that
// this processor has.
//
// A loop is a struct with a static, always-inlined `run`. It is inlined into functions that differ
// only in their target attribute, so nothing else in the binary is compiled for more than the
// baseline: no template of the standard library can leak AVX code into it.
#pragma once

#include <cstdlib>
#include <cstring>

namespace fcos_ops::cpu {

enum class InstructionSet { kBaseline, kAvx2, kAvx512 };

// The best one here that FCOS_OPS_ISA=baseline or avx2 in the environment allows: with it any
// machine runs what an older one would, for tests.
inline InstructionSet instruction_set() {
#if defined(__x86_64__)
  static const InstructionSet best = [] {
    const char* const limit = std::getenv("FCOS_OPS_ISA");
    const auto is_limit = [&](const char* name) { return limit && std::strcmp(limit, name) == 0; };
    if (is_limit("baseline") || !__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
      return InstructionSet::kBaseline;
    }
    const bool has_avx512 =
        __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return has_avx512 && !is_limit("avx2") ? InstructionSet::kAvx512 : InstructionSet::kAvx2;
  }();
  return best;
#else
  return InstructionSet::kBaseline;
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

template <class Loop, class... Args>
__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,prefer-vector-width=512"))) auto
run_avx512(const Args&... args) {
  return Loop::run(args...);
}
#endif

template <class Loop, class... Args>
auto run_best(const Args&... args) {
#if defined(__x86_64__)
  switch (instruction_set()) {
    case InstructionSet::kAvx512:
      return run_avx512<Loop>(args...);
    case InstructionSet::kAvx2:
      return run_avx2<Loop>(args...);
    case InstructionSet::kBaseline:
      break;
  }
#endif
  return run_baseline<Loop>(args...);
}

}  // namespace fcos_ops::cpu
