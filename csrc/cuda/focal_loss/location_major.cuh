// Focal loss where the classes of neighbouring locations form one line: a block's tile of that
// line.
//
// A thread takes 16 bytes of logits at a time and has the next 16 on their way meanwhile. Nearly
// all vectors hold negatives only; the positives of a row are set aside and patched in.
#pragma once

#include "cuda/focal_loss/elements.cuh"

namespace fcos_ops::cuda::focal {

// A vector of a tile with its place and labels, as a thread has read them.
template <class T>
struct TileVector {
  std::int64_t row;              // of the first element
  std::int32_t offset, channel;  // of the first element: in the tile, in its row
  std::int32_t count;            // elements; 0 beyond the tile
  std::int32_t first, second;    // labels of the row, and of the next if elements belong to it
  Vector<T> logits;
};

template <class T, Gamma kGamma, Labels kLabels>
class LocationMajorTile {
  using Real = math::Real<T>;
  static constexpr int kCount = kVector<T>;
  using Loss = ElementLoss<T, kGamma, kLabels>;
  static constexpr bool kDense = kLabels == Labels::kDense;

 public:
  __device__ LocationMajorTile(const FocalArguments<Real>& args, const Loss& element_loss,
                               const Tile& tile)
      : args_(args),
        element_loss_(element_loss),
        size_(static_cast<std::int32_t>(tile.end - tile.first)) {
    // A tile of elements: so its `row`, among the elements of all images, has the row and class.
    const auto [row, channel] = math::divide(tile.row, args.num_classes);
    row_ = row;
    channel_ = static_cast<std::int32_t>(channel);
    cursor_ = focal_cursor<T>(args, args.level[tile.level], [&](const auto& array) {
      return tile.image * array.stride_batch + tile.first;
    });
  }

  // kAnywhere: logits may be infinite; see has_infinite().
  template <bool kAnywhere>
  __device__ __forceinline__ Real sum() const {
    if constexpr (kAnywhere) return sum_anywhere();
    constexpr auto kStep = static_cast<std::int32_t>(kFocalThreads) * kCount;
    Real sum = 0;
    TileVector<T> next = read_vector(static_cast<std::int32_t>(threadIdx.x) * kCount);
    while (next.count > 0) {
      const TileVector<T> vector = next;
      next = read_vector(vector.offset + kStep);
      sum += process(vector);
    }
    return sum;
  }

 private:
  __device__ __forceinline__ TileVector<T> read_vector(std::int32_t offset) const {
    TileVector<T> vector;
    vector.offset = offset;
    vector.count = size_ - offset < kCount ? size_ - offset : kCount;
    if (vector.count <= 0) return vector;
    vector.logits = load_up_to(cursor_.logits + offset, vector.count);
    const auto element = static_cast<std::uint32_t>(channel_ + offset);
    const std::uint32_t rows = args_.class_divisor.quotient(element);
    vector.row = row_ + rows;
    vector.channel = static_cast<std::int32_t>(element - rows * args_.class_divisor.divisor());
    vector.first = vector.second = math::kBackground;
    if constexpr (!kDense) {
      vector.first = Loss::label(args_, vector.row);
      if (vector.channel + vector.count > args_.num_classes)
        vector.second = Loss::label(args_, vector.row + 1);
    }
    return vector;
  }

  // True if the elements are whole and negative but for one positive a row, of at most two rows of
  // valid labels, and no array of losses is asked for.
  __device__ __forceinline__ bool takes_negatives_path(const TileVector<T>& vector) const {
    const bool one_row = vector.channel + kCount <= args_.num_classes;
    return !kDense && vector.count == kCount && vector.first >= math::kBackground &&
           vector.second >= math::kBackground && args_.num_classes >= kCount &&
           (one_row || args_.weight == nullptr) && cursor_.losses == nullptr;
  }

  __device__ __forceinline__ Real process(const TileVector<T>& vector) const {
    const FocalCursor<T> at = cursor_ + vector.offset;
    Real logits[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) logits[i] = read(vector.logits.element(i));
    return takes_negatives_path(vector) ? process_negatives(vector, logits, at)
                                        : process_mixed(vector, logits, at);
  }

  __device__ __forceinline__ Real process_negatives(const TileVector<T>& vector,
                                                    Real (&logits)[kCount],
                                                    const FocalCursor<T>& at) const {
    const Real weight = args_.weight == nullptr ? Real(1) : args_.weight[vector.row];
    // The elements at which the two rows have their positive; out of range for none.
    const std::int32_t in_row = args_.num_classes - vector.channel;
    const std::int32_t first = vector.first < vector.channel ? -1 : vector.first - vector.channel;
    const std::int32_t second = vector.second < 0 ? -1 : in_row + vector.second;
    Real first_logit = kInertLogit, second_logit = kInertLogit;
    if (static_cast<std::uint32_t>(first) < kCount || static_cast<std::uint32_t>(second) < kCount) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        if (i == first) first_logit = logits[i];
        if (i == second) second_logit = logits[i];
        if (i == first || i == second) logits[i] = kInertLogit;
      }
    }
    Real gradient[kCount];
    Real sum = element_loss_.negatives(logits, weight, gradient);
    if (static_cast<std::uint32_t>(first) < kCount) {
      sum += patch(first, first_logit, weight, gradient);
    }
    if (static_cast<std::uint32_t>(second) < kCount) {
      sum += patch(second, second_logit, weight, gradient);
    }
    store_gradient(gradient, kCount, at);
    return sum;
  }

  // One element after the other.
  __device__ __forceinline__ Real sum_anywhere() const {
    constexpr auto kToNext = static_cast<std::int32_t>(kFocalThreads - 1) * kCount;
    Real sum = 0;
#pragma unroll 1
    for (std::int32_t i = static_cast<std::int32_t>(threadIdx.x) * kCount; i < size_;
         i += i % kCount == kCount - 1 ? 1 + kToNext : 1) {
      const auto element = static_cast<std::uint32_t>(channel_ + i);
      const std::uint32_t rows = args_.class_divisor.quotient(element);
      const auto channel =
          static_cast<std::int32_t>(element - rows * args_.class_divisor.divisor());
      const FocalRow<Real> row = element_loss_.row(row_ + rows);
      const FocalCursor<T> at = cursor_ + i;
      const Real target = kDense ? *at.targets : Real(0);
      const auto loss_and_grad =
          element_loss_.entry_anywhere(read(*at.logits), target, channel == row.label, row);
      sum += loss_and_grad.loss;
      at.write(loss_and_grad);
    }
    return sum;
  }

  // Puts in the gradient of a positive; returns its loss.
  __device__ __forceinline__ Real patch(std::int32_t index, Real logit, Real weight,
                                        Real (&gradient)[kCount]) const {
    const auto loss_and_grad =
        element_loss_.entry(logit, Real(0), true, {math::kBackground, weight});
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      gradient[i] = i == index ? loss_and_grad.gradient : gradient[i];
    }
    return loss_and_grad.loss;
  }

  __device__ __forceinline__ Real process_mixed(const TileVector<T>& vector,
                                                const Real (&logits)[kCount],
                                                const FocalCursor<T>& at) const {
    Vector<Real> targets[kCount / kVector<Real>] = {};
    if constexpr (kDense) {
      for (int i = 0; i < kCount; i += kVector<Real>) {
        const std::int32_t count =
            vector.count - i < kVector<Real> ? vector.count - i : kVector<Real>;
        targets[i / kVector<Real>] = load_up_to(at.targets + i, count);
      }
    }
    std::int64_t row = vector.row;
    std::int32_t channel = vector.channel;
    FocalRow<Real> state = element_loss_.row(row);
    Real losses[kCount] = {}, gradient[kCount] = {}, sum = 0;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (i >= vector.count) continue;
      if (channel == args_.num_classes) {
        channel = 0;
        state = element_loss_.row(++row);
      }
      const Real target = targets[i / kVector<Real>].element(i % kVector<Real>);
      const auto loss_and_grad =
          element_loss_.entry(logits[i], target, channel == state.label, state);
      losses[i] = loss_and_grad.loss;
      gradient[i] = loss_and_grad.gradient;
      sum += loss_and_grad.loss;
      ++channel;
    }
    if (at.losses != nullptr) store_up_to<Real>(losses, vector.count, at.losses);
    store_gradient(gradient, vector.count, at);
    return sum;
  }

  const FocalArguments<Real>& args_;
  const Loss& element_loss_;
  std::int64_t row_;
  std::int32_t size_, channel_;
  FocalCursor<T> cursor_;
};

}  // namespace fcos_ops::cuda::focal
