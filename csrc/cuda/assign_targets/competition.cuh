// The cells of a tile, and what the boxes make of them.
#pragma once

#include "cuda/assign_targets/candidate_boxes.cuh"

namespace fcos_ops::cuda::assignment {

// The cells of a thread: (row + k, column) for k < count.
struct Cells {
  std::uint32_t row, column, count;
};

// What a cell matched: the index of the box, which is read once more, as the first cache has it;
// and its label, whose read has been waited for already.
struct alignas(16) Match {
  std::int64_t label, box;
};

// Of the cells of all threads; a thread reads only what it has written.
struct Matches {
  Match cell[kManyCells][kAssignThreads];
};

// The competition of boxes for the cells of a thread.
template <class Real>
class Competition {
 public:
  __device__ Competition(const TiledLevel<Real>& level, const Cells& cells)
      : level_(level),
        cells_(cells),
        x_(math::location(cells.column, level.rule.offset, level.rule.stride_x)) {
    for (std::int32_t k = 0; k < kManyCells; ++k) cost_[k] = math::kInfinity<Real>;
    // The first thread of a warp has its first row and column, the last has its last ones.
    const Real last_y = y(level.cells - 1);
    area_.x = {__shfl_sync(kFullMask, x_, 0), __shfl_sync(kFullMask, x_, kWarp - 1)};
    area_.y = {__shfl_sync(kFullMask, y(0), 0), __shfl_sync(kFullMask, last_y, kWarp - 1)};
  }

  // Lets the listed candidates compete; `first` is the box that index 0 stands for. All threads of
  // a warp call it together.
  __device__ __forceinline__ void add(std::int32_t count, std::int64_t first) {
    if (level_.cells == 1) {
      add_to<1>(count, first);
    } else {
      add_to<kManyCells>(count, first);
    }
  }

  // Bit k says that cell k has a match.
  __device__ std::uint32_t matched() const { return matched_; }

 private:
  __device__ __forceinline__ Real y(std::uint32_t k) const {
    return math::location(cells_.row + k, level_.rule.offset, level_.rule.stride_y);
  }

  template <std::int32_t kCells>
  __device__ __forceinline__ void add_to(std::int32_t count, std::int64_t first) {
    const auto& candidates = block_shared<BoxCandidates<Real>>();
    std::int32_t best[kCells];
    for (std::int32_t k = 0; k < kCells; ++k) best[k] = -1;
    bool are_any_near = false;
    for (std::int32_t tested = 0; tested < count; tested += kWarp) {
      const auto mine = static_cast<std::int32_t>(tested + threadIdx.x % kWarp);
      const bool is_near = mine < count && may_match(candidates.list[mine], area_);
      unsigned near = __ballot_sync(kFullMask, is_near);
      are_any_near |= near != 0;
      while (near != 0) {
        const std::int32_t i = tested + __ffs(static_cast<int>(near)) - 1;
        near &= near - 1;
        const BoxCandidate<Real>& box = candidates.list[i];
        const auto axis_x = math::match_axis(x_, box.x, box.center_x, level_.chebyshev_radius);
        for (std::int32_t k = 0; k < kCells; ++k) {
          const auto axis_y = math::match_axis(y(k), box.y, box.center_y, level_.chebyshev_radius);
          // An equal cost does not win: the lower index came first.
          const bool better = math::matches(axis_x, axis_y, level_.rule.lower, level_.rule.upper) &
                              (box.cost < cost_[k]);
          cost_[k] = better ? box.cost : cost_[k];
          best[k] = better ? i : best[k];
        }
      }
    }
    if (!are_any_near) return;
    for (std::int32_t k = 0; k < kCells; ++k) {
      if (best[k] < 0) continue;
      const BoxCandidate<Real>& winner = candidates.list[best[k]];
      block_shared<Matches>().cell[k][threadIdx.x] = {winner.label, first + winner.index};
      matched_ |= 1u << k;
    }
  }

  const TiledLevel<Real>& level_;
  const Cells cells_;
  const Real x_;
  Real cost_[kManyCells];
  Area<Real> area_;  // of the warp
  std::uint32_t matched_ = 0;
};

}  // namespace fcos_ops::cuda::assignment
