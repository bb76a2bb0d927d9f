// The boxes of an image that may match a cell of a tile, found by all threads of a block.
#pragma once

#include "common/dtypes.h"
#include "cuda/assign_targets/tiling.h"
#include "cuda/common/runtime.cuh"
#include "cuda/common/vectors.cuh"
#include "fcos_ops/assign_targets.h"
#include "math/match_axis.h"

namespace fcos_ops::cuda::assignment {

inline constexpr unsigned kAssignWarps = kAssignThreads / kWarp;

// A box that may match a cell of the tile.
template <class Real>
struct alignas(16) BoxCandidate {
  math::BoxAxis<Real> x, y;
  Real center_x, center_y, cost;
  std::int32_t index;  // among the boxes that are tested together
  std::int64_t label;
};

template <class Real>
struct BoxCandidates {
  BoxCandidate<Real> list[kAssignThreads];
  std::int32_t count[kAssignWarps];  // candidates of each warp
};

// The locations of the cells of a rectangle.
template <class Real>
struct Area {
  math::Span<Real> x, y;
};

template <class Real>
__device__ __forceinline__ bool may_match(const BoxCandidate<Real>& box, const Area<Real>& area) {
  return math::may_match(box.x, area.x) & math::may_match(box.y, area.y);
}

template <class Real>
__device__ __forceinline__ math::Box<Real> load_box(const AssignTargetsArgs& args, std::int64_t i) {
  Real corners[4];
  math::dispatch(math::ComputedAs<Real>{}, args.box_dtype,
                 [&](auto type) { load_four(type.array(args.boxes) + 4 * i, 1, corners); });
  return {corners[0], corners[1], corners[2], corners[3]};
}

// Lists those of the boxes [first, end), at most kAssignThreads, that may match a cell of `tile`,
// by rising index; returns how many. Threads may still read the last list when they call this.
template <class Real>
__device__ __forceinline__ std::int32_t find_candidates(const AssignTargetsArgs& args,
                                                        const math::MatchLevel<Real>& rule,
                                                        const Area<Real>& tile, std::int64_t first,
                                                        std::int64_t end) {
  auto& candidates = block_shared<BoxCandidates<Real>>();
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  BoxCandidate<Real> mine = {};
  bool is_candidate = false;
  if (first + threadIdx.x < end) {
    // The label is read before the box is waited for: who needs it would have to wait once more.
    if (args.location_labels != nullptr) {
      mine.label = math::read_integer(args.labels, args.label_dtype, first + threadIdx.x);
    }
    const math::Box<Real> box = load_box<Real>(args, first + threadIdx.x);
    mine.x = math::box_axis(box.x1, box.x2, rule);
    mine.y = math::box_axis(box.y1, box.y2, rule);
    mine.center_x = math::box_center(box.x1, box.x2);
    mine.center_y = math::box_center(box.y1, box.y2);
    mine.cost = math::match_cost(box, rule);
    mine.index = static_cast<std::int32_t>(threadIdx.x);
    is_candidate =
        (mine.cost < math::kInfinity<Real>)&math::size_may_match(box, rule) & may_match(mine, tile);
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
  __syncthreads();  // the list is there
  return total;
}

}  // namespace fcos_ops::cuda::assignment
