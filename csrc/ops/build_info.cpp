#include "fcos_ops/build_info.h"

#include "cpu/isa.h"
#include "fcos_ops/version.h"

namespace fcos_ops {

BuildInfo build_info() {
  return {kVersion,
#if defined(__clang__)
          "Clang " __VERSION__,
#else
          "GCC " __VERSION__,
#endif
          FCOS_OPS_CUDA_BUILT,
          FCOS_OPS_CUDA_REASON,
          FCOS_OPS_CUDA_ARCHITECTURES,
          cpu::has_avx2() ? "AVX2+FMA" : "baseline"};
}

}  // namespace fcos_ops
