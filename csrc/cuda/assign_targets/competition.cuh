// The cells of a tile, and what the boxes make of them.
#pragma once

#include "cuda/assign_targets/candidate_boxes.cuh"

namespace fcos_ops::cuda::assignment {

// The cells of a thread: (row + k, column) for k < count.
struct Cells {
  std::uint32_t row, column, count;
};

// What a cell matched.
template <class Real>
struct alignas(16) Match {
  math::Box<Real> box;
  std::int64_t label, index;
};

// Of the cells of all threads; a thread reads only what it has written.
template <class Real>
struct Matches {
  Match<Real> cell[kManyCells][kAssignThreads];
};

// The competition of boxes for the cells of a thread.
template <class Real>
class Competition {
 public:
  __device__ Competition(const TiledLevel<Real>& level, const Cells& cells)
      : level_(level), x_(math::location(cells.column, level.rule.offset, level.rule.stride_x)) {
    for (std::int32_t k = 0; k < kManyCells; ++k) {
      cost_[k] = math::kInfinity<Real>;
      y_[k] = math::location(cells.row + k, level.rule.offset, level.rule.stride_y);
    }
    const std::int32_t last = kWarp - 1;
    const Real last_y = level.cells == 1 ? y_[0] : y_[kManyCells - 1];
    area_.x = {__shfl_sync(kFullMask, x_, 0), __shfl_sync(kFullMask, x_, last)};
    area_.y = {__shfl_sync(kFullMask, y_[0], 0), __shfl_sync(kFullMask, last_y, last)};
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
  template <std::int32_t kCells>
  __device__ __forceinline__ void add_to(std::int32_t count, std::int64_t first) {
    const auto& candidates = block_shared<BoxCandidates<Real>>();
    std::int32_t best[kCells];
    for (std::int32_t k = 0; k < kCells; ++k) best[k] = -1;
    for (std::int32_t tested = 0; tested < count; tested += kWarp) {
      const auto mine = static_cast<std::int32_t>(tested + threadIdx.x % kWarp);
      const bool is_near = mine < count && may_match(candidates.list[mine], area_);
      unsigned near = __ballot_sync(kFullMask, is_near);
      while (near != 0) {
        const std::int32_t i = tested + __ffs(static_cast<int>(near)) - 1;
        near &= near - 1;
        const BoxCandidate<Real>& box = candidates.list[i];
        const auto x = math::match_axis(x_, box.x, box.center_x, level_.chebyshev_radius);
        for (std::int32_t k = 0; k < kCells; ++k) {
          const auto y = math::match_axis(y_[k], box.y, box.center_y, level_.chebyshev_radius);
          // An equal cost does not win: the lower index came first.
          const bool better =
              math::matches(x, y, level_.rule.lower, level_.rule.upper) & (box.cost < cost_[k]);
          cost_[k] = better ? box.cost : cost_[k];
          best[k] = better ? i : best[k];
        }
      }
    }
    for (std::int32_t k = 0; k < kCells; ++k) {
      if (best[k] < 0) continue;
      const BoxCandidate<Real>& winner = candidates.list[best[k]];
      block_shared<Matches<Real>>().cell[k][threadIdx.x] = {
          {winner.x.low, winner.y.low, winner.x.high, winner.y.high},
          winner.label,
          first + winner.index};
      matched_ |= 1u << k;
    }
  }

  const TiledLevel<Real>& level_;
  Real x_, y_[kManyCells], cost_[kManyCells];
  Area<Real> area_;  // of the warp
  std::uint32_t matched_ = 0;
};

}  // namespace fcos_ops::cuda::assignment
