// The boxes of an image that may match a cell of a tile, found by all threads of a block.
#pragma once

#include "common/dtypes.h"
#include "cuda/common/runtime.cuh"
#include "fcos_ops/assign_targets.h"
#include "math/match.h"

namespace fcos_ops::cuda::assignment {

inline constexpr unsigned kAssignThreads = 256;
inline constexpr unsigned kAssignWarps = kAssignThreads / kWarp;

// A box that may match a cell of the tile, in these rows.
template <class Real>
struct alignas(16) BoxCandidate {
  math::Box<Real> box;
  Real cost;
  std::int32_t index;  // among the boxes that are tested together
  math::CellInterval rows;
};

template <class Real>
struct BoxCandidates {
  BoxCandidate<Real> list[kAssignThreads];
  std::int32_t count[kAssignWarps];  // candidates of each warp
};

template <class Real>
__device__ __forceinline__ math::Box<Real> load_box(const AssignTargetsArgs& args, std::int64_t i) {
  return math::dispatch(math::ComputedAs<Real>{}, args.box_dtype,
                        [&](auto type) { return math::load_box(type.array(args.boxes) + 4 * i); });
}

__device__ __forceinline__ std::int64_t box_offset(const AssignTargetsArgs& args,
                                                   std::int64_t image) {
  return math::clamped_offset(args.offsets, args.offset_dtype, image, 0, args.num_boxes);
}

// Lists those of the boxes [first, end), at most kAssignThreads, that may match a cell of `tile`,
// by rising index; returns how many. Threads may still read the last list when they call this.
template <class Real>
__device__ __forceinline__ std::int32_t find_candidates(const AssignTargetsArgs& args,
                                                        const math::MatchLevel<Real>& rule,
                                                        const math::CellRectangle& tile,
                                                        std::int64_t first, std::int64_t end) {
  auto& candidates = block_shared<BoxCandidates<Real>>();
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  BoxCandidate<Real> mine = {};
  bool is_candidate = false;
  if (first + threadIdx.x < end) {
    mine.box = load_box<Real>(args, first + threadIdx.x);
    mine.cost = math::match_cost(mine.box, rule);
    mine.index = static_cast<std::int32_t>(threadIdx.x);
    mine.rows = math::candidate_cells(mine.box, rule, tile).rows;
    is_candidate = (mine.rows.first < mine.rows.end) & (mine.cost < math::kInfinity<Real>);
  }
  const unsigned ballot = __ballot_sync(kFullMask, is_candidate);
  if (lane == 0) candidates.count[warp] = __popc(ballot);
  __syncthreads();  // all counts are there, and nobody reads the last list any more
  std::int32_t slot = __popc(ballot & ((1u << lane) - 1)), total = 0;
  for (unsigned i = 0; i < kAssignWarps; ++i) {
    slot += i < warp ? candidates.count[i] : 0;
    total += candidates.count[i];
  }
  if (is_candidate) candidates.list[slot] = mine;
  __syncthreads();
  return total;
}

}  // namespace fcos_ops::cuda::assignment
