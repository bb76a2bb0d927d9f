// The contents of this build of the library.
#pragma once

namespace fcos_ops {

struct BuildInfo {
  const char* version;
  const char* compiler;
  bool cuda;                        // CUDA kernels are in the library
  const char* cuda_reason;          // why not, or how they were built
  const char* cuda_architectures;   // "sm_80 sm_90", or empty
  const char* cpu_instruction_set;  // what this processor runs: "AVX-512", "AVX2+FMA" or "baseline"
};

[[gnu::visibility("default")]] BuildInfo build_info();

}  // namespace fcos_ops
