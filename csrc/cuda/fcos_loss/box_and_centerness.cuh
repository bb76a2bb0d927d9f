// Losses of boxes and centerness of a tile of locations, for the whole FCOS loss.
//
// A thread takes every kFocalThreads-th location of a tile: neighbouring threads touch
// neighbouring memory. Nearly all match no box: 4 bytes are read and zeros written. A positive
// recomputes its targets from the matched box, which costs less than reading 20 bytes for every
// location.
#pragma once

#include "cuda/fcos_loss/scales.cuh"
#include "cuda/focal_loss/elements.cuh"
#include "fcos_ops/fcos_loss.h"
#include "math/cross_entropy.h"
#include "math/iou.h"
#include "math/location_target.h"

namespace fcos_ops::cuda::fcos {

struct LocationLevel {
  std::int64_t width;
  double stride_x, stride_y, scale;  // pixels
  focal::LevelArray<const void*> ltrb, centerness;
  focal::LevelArray<void*> ltrb_gradient, centerness_gradient;
};

// FcosLossArgs as the losses of locations take them by value, without its views and levels, which
// are in memory of the host; `level` has those.
template <class Real>
struct LocationArguments : FcosLossArgs {
  LocationLevel level[kMaxLevels];
  bool wants_ltrb, wants_centerness;
  Real eps;
  ScaleArguments<Real> scales;
};

struct LocationSums {
  double ltrb = 0, centerness = 0;
};

template <class Real>
class LocationTile {
 public:
  __device__ LocationTile(const LocationArguments<Real>& args, const Tile& tile)
      : args_(args), level_(args.level[tile.level]), tile_(tile) {}

  __device__ __forceinline__ void add_to(LocationSums* sums) const {
    const std::int32_t* const matched = args_.matched + tile_.row - tile_.first;
    std::int64_t next = tile_.first + threadIdx.x;
    std::int32_t next_box = next < tile_.end ? matched[next] : -1;
    while (next < tile_.end) {
      const std::int64_t location = next;
      const std::int32_t box = next_box;
      next += focal::kFocalThreads;
      if (next < tile_.end) next_box = matched[next];
      process(location, box, sums);
    }
  }

 private:
  struct Cell {
    std::int64_t y, x;
  };
  struct Target {
    Real sides[4], centerness;
  };

  template <class Pointer>
  __device__ __forceinline__ std::int64_t offset(const focal::LevelArray<Pointer>& array,
                                                 const Cell& cell) const {
    return tile_.image * array.stride_batch + cell.y * array.stride_y + cell.x * array.stride_x;
  }

  __device__ __forceinline__ void process(std::int64_t location, std::int32_t box,
                                          LocationSums* sums) const {
    const auto [y, x] = math::divide(location, level_.width);
    const Cell cell = {y, x};
    Real grad_ltrb[4] = {0, 0, 0, 0}, grad_centerness = 0;
    if (is_positive(box)) {
      const LossScales<Real> scales = loss_scales(args_.scales, tile_.image);
      const Target target = args_.box_dtype == DType::kFloat64 ? make_target<double>(cell, box)
                                                               : make_target<float>(cell, box);
      if (args_.wants_ltrb) sums->ltrb += box_loss(cell, target, scales, grad_ltrb);
      if (args_.wants_centerness) {
        sums->centerness += centerness_loss(cell, target, scales, &grad_centerness);
      }
    }
    if (const auto& array = level_.ltrb_gradient; array.data != nullptr) {
      math::dispatch(math::ComputedAs<Real>{}, args_.ltrb_dtype, [&](auto type) {
        store_four(grad_ltrb, type.array(array.data) + offset(array, cell), array.stride_channel);
      });
    }
    if (const auto& array = level_.centerness_gradient; array.data != nullptr) {
      math::dispatch(math::ComputedAs<Real>{}, args_.centerness_dtype, [&](auto type) {
        write(grad_centerness, type.array(array.data)[offset(array, cell)]);
      });
    }
  }

  __device__ __forceinline__ bool is_positive(std::int32_t box) const {
    return box >= 0 && box < args_.num_boxes &&
           math::read_integer(args_.labels, args_.label_dtype, box) >= 0;
  }

  // Rounded as assign_targets rounds.
  template <class BoxReal>
  __device__ __forceinline__ Target make_target(const Cell& cell, std::int32_t box) const {
    BoxReal corner[4];
    for (int i = 0; i < 4; ++i) {
      corner[i] = read_stored<BoxReal>(args_.boxes, args_.box_dtype, 4 * std::int64_t{box} + i);
    }
    const auto [s, centerness] = math::location_target<BoxReal>(
        cell.x, cell.y, args_.location_offset, level_, {corner[0], corner[1], corner[2], corner[3]},
        args_.normalize_ltrb);
    return {{static_cast<Real>(s.left), static_cast<Real>(s.top), static_cast<Real>(s.right),
             static_cast<Real>(s.bottom)},
            static_cast<Real>(centerness)};
  }

  // Returns the loss; writes its derivatives to `grads`.
  __device__ __forceinline__ Real box_loss(const Cell& cell, const Target& target,
                                           const LossScales<Real>& scales, Real (&grads)[4]) const {
    const std::int64_t first = offset(level_.ltrb, cell);
    Real pred[4];
    for (int i = 0; i < 4; ++i) {
      pred[i] = read_stored<Real>(level_.ltrb.data, args_.ltrb_dtype,
                                  first + i * level_.ltrb.stride_channel);
    }
    const auto pair = math::dispatch_kind(args_.loss.box_loss, [&](auto kind) {
      return math::iou_loss<kind.value, BoxFormat::kLtrb>(pred, target.sides,
                                                          math::kCoordinateLimit<Real>, args_.eps);
    });
    const Real factor = args_.loss.box_weight == BoxWeight::kUniform
                            ? scales.positives
                            : scales.centerness * target.centerness;
    const Real grad_factor = factor * gradient_scale(args_.scales, args_.ltrb_gradient_scale);
    for (int i = 0; i < 4; ++i) grads[i] = grad_factor * pair.gradient[i];
    return factor * pair.loss;
  }

  __device__ __forceinline__ Real centerness_loss(const Cell& cell, const Target& target,
                                                  const LossScales<Real>& scales,
                                                  Real* grad) const {
    const auto logit = read_stored<Real>(level_.centerness.data, args_.centerness_dtype,
                                         offset(level_.centerness, cell));
    const auto loss_and_grad = math::binary_cross_entropy(logit, target.centerness);
    *grad = scales.positives * gradient_scale(args_.scales, args_.centerness_gradient_scale) *
            loss_and_grad.gradient;
    return scales.positives * loss_and_grad.loss;
  }

  const LocationArguments<Real>& args_;
  const LocationLevel& level_;
  const Tile tile_;
};

}  // namespace fcos_ops::cuda::fcos
