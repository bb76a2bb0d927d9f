// The sum over a launch, in fixed order. A single block writes it by itself; several leave their
// sums, which a second launch adds.
#pragma once

#include "common/workspace.h"
#include "cuda/common/block_reduce.cuh"
#include "cuda/common/last_block.cuh"

namespace fcos_ops::cuda {

// 1: the last block adds the sums, which saves the second launch and costs a memset in front; not
// measured.
#if !defined(FCOS_OPS_AB_LAST_BLOCK)
#define FCOS_OPS_AB_LAST_BLOCK 0
#endif
inline constexpr bool kLastBlockAdds = FCOS_OPS_AB_LAST_BLOCK != 0;

template <class Real>
struct BlockSums {
  double* partials;         // [blocks]; not used by one block
  std::uint32_t* arrivals;  // see is_last_block()
  Real* total;              // null where nobody asks
};

// What so many blocks need of a workspace: a single one nothing.
struct BlockSumsWorkspace {
  BlockSumsWorkspace(void* memory, std::int64_t blocks) {
    if (blocks <= 1) return;
    DeviceArena arrays(memory);
    partials = arrays.take<double>(blocks);
    if (kLastBlockAdds) arrivals = arrays.take<std::uint32_t>(1);
    size = arrays.size();
  }

  double* partials = nullptr;
  std::uint32_t* arrivals = nullptr;
  std::size_t size = 0;
};

// `sum`: a thread's, added within the block in its own type. All threads of every block call it
// once, at the end.
template <unsigned kThreads, class Sum, class Real>
__device__ __forceinline__ void add_to_total(Sum sum, const BlockSums<Real>& sums) {
  sum = block_sum<kThreads>(sum);
  if (gridDim.x == 1) {
    if (threadIdx.x == 0 && sums.total != nullptr) *sums.total = static_cast<Real>(sum);
    return;
  }
  if (threadIdx.x == 0) sums.partials[blockIdx.x] = sum;
  if constexpr (kLastBlockAdds) {
    if (sums.total == nullptr || !is_last_block(sums.arrivals, gridDim.x)) return;
    const double total = sum_of_partials<kThreads, 1>(sums.partials, gridDim.x);
    if (threadIdx.x == 0) *sums.total = static_cast<Real>(total);
  }
}

// Starts a kernel that ends with add_to_total(), its sums behind its other arguments, and what adds
// them, under the name `finish`. `total` is a Real or null.
template <class Real, class... Parameters, class... Arguments>
Status launch_with_total(const char* name, const char* finish, void (*kernel)(Parameters...),
                         std::int64_t blocks, unsigned threads, const Context& context,
                         Workspace workspace, void* total, const Arguments&... arguments) {
  const BlockSumsWorkspace memory(workspace.data, blocks);
  const BlockSums<Real> sums = {memory.partials, memory.arrivals, static_cast<Real*>(total)};
  const bool are_several = total != nullptr && blocks > 1;
  if (kLastBlockAdds && are_several) {
    const Status status = fill_zero(finish, sums.arrivals, sizeof(*sums.arrivals), context);
    if (!status.ok()) return status;
  }
  const Status status =
      launch(name, kernel, static_cast<unsigned>(blocks), threads, context, arguments..., sums);
  const bool is_written = total == nullptr || blocks == 1 || (kLastBlockAdds && are_several);
  if (!status.ok() || is_written) return status;
  return launch(finish, finish_sum_kernel<Real>, 1, kFinishThreads, context,
                static_cast<const double*>(memory.partials), blocks, sums.total);
}

}  // namespace fcos_ops::cuda
