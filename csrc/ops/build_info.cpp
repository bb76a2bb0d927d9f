#include "fcos_ops/build_info.h"

#include "cpu/common/isa.h"
#include "fcos_ops/version.h"

namespace fcos_ops {
namespace {

// In the order of cpu::InstructionSet.
constexpr const char* kInstructionSets[] = {"baseline", "AVX2+FMA", "AVX-512"};

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
          kInstructionSets[static_cast<int>(cpu::instruction_set())]};
}

}  // namespace fcos_ops
