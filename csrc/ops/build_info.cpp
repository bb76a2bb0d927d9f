#include "fcos_ops/build_info.h"

#include "cpu/common/isa.h"
#include "fcos_ops/version.h"

namespace fcos_ops {
namespace {

const char* instruction_set_name() {
  switch (cpu::instruction_set()) {
    case cpu::InstructionSet::kAvx512:
      return "AVX-512";
    case cpu::InstructionSet::kAvx2:
      return "AVX2+FMA";
    default:
      return "baseline";
  }
}

}  // namespace

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
          instruction_set_name()};
}

}  // namespace fcos_ops
