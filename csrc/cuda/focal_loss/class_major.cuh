// Focal loss where locations are the contiguous axis (NCHW), or with any strides: a block's tile of
// locations and chunk of channels.
#pragma once

#include "cuda/focal_loss/elements.cuh"

namespace fcos_ops::cuda::focal {

// A thread's locations of a tile, and its channels.
template <class T, Gamma kGamma, Labels kLabels>
class ClassMajorTile {
  using Real = math::Real<T>;
  static constexpr int kCount = kVector<T>;
  using Loss = ElementLoss<T, kGamma, kLabels>;
  static constexpr bool kDense = kLabels == Labels::kDense;

 public:
  __device__ ClassMajorTile(const FocalArguments<Real>& args, const Loss& element_loss,
                            const Tile& tile, std::int32_t first_channel, std::int32_t channels)
      : args_(args),
        element_loss_(element_loss),
        level_(args.level[tile.level]),
        image_(tile.image),
        location_(tile.first + threadIdx.x * kCount),
        row_(tile.row + threadIdx.x * kCount),
        first_channel_(first_channel),
        end_channel_(first_channel + channels < args.num_classes ? first_channel + channels
                                                                 : args.num_classes) {
    const std::int64_t left = tile.end - location_;
    count_ = static_cast<std::int32_t>(left < 0 ? 0 : left < kCount ? left : kCount);
  }

  // kAnywhere: logits may be infinite; see has_infinite().
  template <bool kAnywhere>
  __device__ __forceinline__ Real sum() const {
    if (count_ == 0) return 0;
    if constexpr (kAnywhere) return strided<true>();
    return level_.is_class_major ? contiguous() : strided<false>();
  }

 private:
  __device__ __forceinline__ FocalCursor<T> cursor(std::int32_t channel) const {
    return focal_cursor<T>(args_, level_, [&](const auto& array) {
      return image_ * array.stride_batch + location_ + channel * array.stride_channel;
    });
  }

  __device__ __forceinline__ Real contiguous() const {
    const std::uint32_t special = special_channels();
    Real sum = 0;
    Vector<T> next = load_up_to(cursor(first_channel_).logits, count_);
    for (std::int32_t channel = first_channel_; channel < end_channel_; ++channel) {
      const FocalCursor<T> at = cursor(channel);
      Real logits[kCount];
#pragma unroll
      for (int i = 0; i < kCount; ++i) logits[i] = read(next.element(i));
      if (channel + 1 < end_channel_) next = load_up_to(cursor(channel + 1).logits, count_);
      if ((special >> (channel - first_channel_) & 1u) != 0) {
        sum += process_mixed(channel, logits, at);
      } else {
        Real gradient[kCount];
        sum += element_loss_.negatives(logits, Real(1), gradient);
        store_gradient(gradient, kCount, at);
      }
    }
    return sum;
  }

  // Bit i: not all of the vector of channel first_channel_ + i is negative, of weight 1.
  __device__ __forceinline__ std::uint32_t special_channels() const {
    constexpr std::uint32_t kAll = 0xffffffffu;
    if (kDense || count_ < kCount || args_.weight != nullptr || level_.losses.data != nullptr) {
      return kAll;
    }
    std::uint32_t special = 0;
    for (int i = 0; i < kCount; ++i) {
      const std::int32_t label = Loss::label(args_, row_ + i);
      if (label < math::kBackground) special = kAll;
      if (label >= first_channel_ && label < end_channel_) {
        special |= 1u << static_cast<std::uint32_t>(label - first_channel_);
      }
    }
    return special;
  }

  __device__ __forceinline__ Real process_mixed(std::int32_t channel, const Real (&logits)[kCount],
                                                const FocalCursor<T>& at) const {
    Real losses[kCount] = {}, gradient[kCount] = {}, sum = 0;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (i >= count_) continue;
      const FocalRow<Real> row = element_loss_.row(row_ + i);
      const Real target = kDense ? at.targets[i] : Real(0);
      const auto loss_and_grad = element_loss_.entry(logits[i], target, channel == row.label, row);
      losses[i] = loss_and_grad.loss;
      gradient[i] = loss_and_grad.gradient;
      sum += loss_and_grad.loss;
    }
    if (at.losses != nullptr) store_up_to<Real>(losses, count_, at.losses);
    store_gradient(gradient, count_, at);
    return sum;
  }

  // Any strides: one element after the other.
  template <bool kAnywhere>
  __device__ __forceinline__ Real strided() const {
    Real sum = 0;
#pragma unroll 1
    for (std::int32_t i = 0; i < count_; ++i) {
      const auto location = static_cast<std::uint32_t>(location_ + i);
      const std::int64_t y = location / static_cast<std::uint32_t>(level_.width);
      const std::int64_t x = location - y * level_.width;
      const FocalRow<Real> row = element_loss_.row(row_ + i);
#pragma unroll 1
      for (std::int32_t channel = first_channel_; channel < end_channel_; ++channel) {
        const FocalCursor<T> at = focal_cursor<T>(args_, level_, [&](const auto& array) {
          return image_ * array.stride_batch + y * array.stride_y + x * array.stride_x +
                 channel * array.stride_channel;
        });
        const Real target = kDense ? *at.targets : Real(0);
        const Real logit = read(*at.logits);
        const bool is_positive = channel == row.label;
        const auto loss_and_grad =
            kAnywhere ? element_loss_.entry_anywhere(logit, target, is_positive, row)
                      : element_loss_.entry(logit, target, is_positive, row);
        sum += loss_and_grad.loss;
        at.write(loss_and_grad);
      }
    }
    return sum;
  }

  const FocalArguments<Real>& args_;
  const Loss& element_loss_;
  const FocalLevel& level_;
  std::int64_t image_, location_, row_;
  std::int32_t first_channel_, end_channel_, count_;
};

}  // namespace fcos_ops::cuda::focal
