// Focal loss of plain logits whose classes form one line a level (location-major): labels for
// targets, gamma 2, and no more arrays than the logits and their gradient, in vectors of 16 bytes.
// Nearly all calls are such.
//
// As many blocks as run at once take all tiles of neighbouring rows, each one after the other. A
// thread has two vectors in registers and the next two on their way, also where they belong to the
// next tile. The loop over vectors knows no labels: the thread of a row has marked the vectors that
// hold a positive or an ignored element, by bits in shared memory. Such elements are made inert
// before the vector is computed as if it were negative, and positives are patched in behind a
// barrier.
//
// Not measured in this form; its shape comes from a prototype on an H200 (16 images of 22,400
// locations, 80 classes, cold, where a device copy of the logits takes 58 us in float32 and 31 in
// bfloat16), which took 66-70 us in float32 and 44.8 in bfloat16. A turn of the loop is 28.5 and
// 27.3 instructions a logit (SASS of sm_90). benchmarks/results/h200-predicted.csv has the rest.
#pragma once

#include "cuda/focal_loss/elements.cuh"
#include "cuda/focal_loss/negatives.cuh"
#include "cuda/focal_loss/plain_tiling.cuh"

namespace fcos_ops::cuda::focal {

template <class T>
struct RowTile {
  const T* logits;
  T* gradient;
  std::int64_t row;                      // of the first row, among those of all images
  std::int32_t rows, elements, vectors;  // 0 beyond the last tile
  FocalFactors<float> factors;
};

// What the threads of a block tell each other of the tile that they are at, of the one that they
// load already, and of the one behind.
template <class T>
struct RowMarks {
  static constexpr unsigned kTiles = 4;  // a power of two above the three that are in use
  RowTile<T> tile[kTiles];
  std::uint32_t special[kTiles][kMaxTileVectors / 32 + 1];  // a bit a vector: not all is negative
  std::int32_t label[kTiles][kRowThreads];                  // of each row
};

template <class T, bool kGradient, Labels kLabels>
class PlainRows {
  static constexpr std::int32_t kCount = kVector<T>, kStride = kRowThreads;
  static constexpr std::int32_t kStep = kRowVectors * kStride;
  using Loss = ElementLoss<T, Gamma::kTwo, kLabels>;
  struct Vectors {
    Vector<T> of[kRowVectors];
  };
  // Where the thread's next vector of a tile is, and how many the tile has from there on.
  struct Position {
    const T* logits;
    std::int32_t left;
  };

 public:
  using Tiling = RowTiling;
  static constexpr unsigned kThreads = kRowThreads, kBlocks = kRowBlocks;

  __device__ PlainRows(const RowTiling& tiling, const FocalArguments<float>& args)
      : tiling_(tiling), args_(args), thread_(static_cast<std::int32_t>(threadIdx.x)) {}

  // The thread's part of the sum over the tiles of its block. `factors_of(image)` gives factors.
  template <class FactorsOf>
  __device__ __forceinline__ double sum(const FactorsOf& factors_of) const {
    auto& marks = block_shared<RowMarks<T>>();
    for (auto& special : marks.special) clear(special);
    std::int64_t index = blockIdx.x;
    if (thread_ == 0) {
      marks.tile[0] = tile_at(index, factors_of);
      marks.tile[1] = tile_at(index + gridDim.x, factors_of);
    }
    __syncthreads();  // all is clear before a bit is set, and the first tiles are known
    auto stored_label = stored_label_of(marks.tile[0]);
    Position position = first_position(marks.tile[0]);
    Vectors next = load(position);
    double total = 0;
    for (unsigned slot = 0; marks.tile[slot].rows > 0; index += gridDim.x) {
      const RowTile<T>& tile = marks.tile[slot];
      if (thread_ < tile.rows) {
        const std::int32_t label = Loss::label_of(args_, stored_label);
        if (label == math::kInvalidLabel) total = math::kNaN<double>;  // see exact_sum()
        marks.label[slot][thread_] = label;
        mark(label, marks.special[slot]);
      }
      __syncthreads();  // all is marked, and the tile before has been left
      const unsigned next_slot = (slot + 1) % RowMarks<T>::kTiles;
      if (thread_ == 0) {
        marks.tile[(slot + 2) % RowMarks<T>::kTiles] =
            tile_at(index + 2 * std::int64_t{gridDim.x}, factors_of);
      }
      stored_label = stored_label_of(marks.tile[next_slot]);
      const float twice_sum = negatives(slot, next_slot, &position, &next);
      total += static_cast<double>(0.5f * tile.factors.negative * twice_sum);
      __syncthreads();  // a positive's gradient is written after that of its vector
      total += patch(tile, marks.label[slot]);
      clear(marks.special[slot]);
      slot = next_slot;
    }
    // All threads or none, as exact_sum() deals the elements out otherwise. The barrier also orders
    // its gradients behind those that were written above.
    return __syncthreads_or(has_infinite(total)) != 0 ? exact_sum(factors_of) : total;
  }

 private:
  template <class FactorsOf>
  __device__ __forceinline__ RowTile<T> tile_at(std::int64_t index,
                                                const FactorsOf& factors_of) const {
    if (index >= tiling_.tiles.count()) return {};
    const Tile tile = tiling_.tiles[index];
    const FocalLevel& level = args_.level[tile.level];
    const std::int64_t offset = tile.first * args_.num_classes;
    const auto rows = static_cast<std::int32_t>(tile.end - tile.first);
    const std::int32_t elements = rows * args_.num_classes;
    const auto* const logits = static_cast<const T*>(level.logits.data);
    auto* const gradient = static_cast<T*>(level.gradient.data);
    return {logits + tile.image * level.logits.stride_batch + offset,
            kGradient ? gradient + tile.image * level.gradient.stride_batch + offset : nullptr,
            tile.row,
            rows,
            elements,
            elements / kCount,
            factors_of(tile.image)};
  }

  __device__ __forceinline__ StoredLabel<kLabels> stored_label_of(const RowTile<T>& tile) const {
    return thread_ < tile.rows ? Loss::stored_label(args_, tile.row + thread_)
                               : StoredLabel<kLabels>{};
  }

  __device__ __forceinline__ void clear(std::uint32_t (&special)[kMaxTileVectors / 32 + 1]) const {
    for (std::int32_t i = thread_; i <= kMaxTileVectors / 32; i += kStride) special[i] = 0;
  }

  // Marks the vectors in which an element of the thread's row is positive, ignored or invalid.
  __device__ __forceinline__ void mark(std::int32_t label, std::uint32_t* special) const {
    if (label == math::kBackground) return;
    const std::int32_t start = thread_ * args_.num_classes;
    const std::int32_t first = label >= 0 ? start + label : start;
    const std::int32_t last = label >= 0 ? first : start + args_.num_classes - 1;
    for (std::int32_t vector = first / kCount; vector <= last / kCount; ++vector) {
      atomicOr(&special[vector / 32], 1u << (vector % 32));
    }
  }

  __device__ __forceinline__ Position first_position(const RowTile<T>& tile) const {
    return {tile.logits + thread_ * kCount, tile.vectors - thread_};
  }

  // The thread's next vectors, as many as there are; the others are not set.
  __device__ __forceinline__ Vectors load(const Position& position) const {
    Vectors vectors;
#pragma unroll
    for (std::int32_t i = 0; i < kRowVectors; ++i) {
      if (i * kStride < position.left) {
        vectors.of[i] = load_read_only(position.logits + i * kStride * kCount);
      }
    }
    return vectors;
  }

  // Writes the gradients of the thread's vectors of a tile as if all were negative; returns twice
  // the sum of their losses. `next` has its first vectors, and at the end those of the next tile.
  __device__ __forceinline__ float negatives(unsigned slot, unsigned next_slot, Position* position,
                                             Vectors* next) const {
    const auto& marks = block_shared<RowMarks<T>>();
    const FocalFactors<float>& factors = marks.tile[slot].factors;
    const float grad_factor = factors.negative * factors.gradient;
    const std::uint32_t* special = marks.special[slot] + thread_ / 32;
    T* gradient = marks.tile[slot].gradient + thread_ * kCount;
    float twice_sum = 0;
    bool ends;
    do {
      Vectors vectors = *next;
      const std::int32_t left = position->left;
      ends = left <= kStep;
      *position = ends ? first_position(marks.tile[next_slot])
                       : Position{position->logits + kStep * kCount, left - kStep};
      *next = load(*position);
      twice_sum += left > kStep - kStride
                       ? process<true>(slot, left, special, grad_factor, gradient, &vectors)
                       : process<false>(slot, left, special, grad_factor, gradient, &vectors);
      special += kStep / 32;
      gradient += kStep * kCount;
    } while (!ends);
    return twice_sum;
  }

  // Some vectors of it, from the one on that is `left` before the end. kFull: the tile has as many.
  template <bool kFull>
  __device__ __forceinline__ float process(unsigned slot, std::int32_t left,
                                           const std::uint32_t* special, float grad_factor, T* to,
                                           Vectors* vectors) const {
    std::uint32_t any = 0;
#pragma unroll
    for (std::int32_t i = 0; i < kRowVectors; ++i) {
      if (kFull || i * kStride < left) any |= special[i * (kStride / 32)];
    }
    if ((any >> (threadIdx.x % 32) & 1u) != 0) exclude(slot, left, special, vectors);
    float twice_sum = 0;
#pragma unroll
    for (std::int32_t i = 0; i < kRowVectors; ++i) {
      if (!kFull && i * kStride >= left) continue;
      const Vector<T> gradient = add_negatives<kGradient>(vectors->of[i], grad_factor, &twice_sum);
      if constexpr (kGradient) store_global(gradient, to + i * kStride * kCount);
    }
    return twice_sum;
  }

  // Makes the elements that are not negative inert.
  __device__ __forceinline__ void exclude(unsigned slot, std::int32_t left,
                                          const std::uint32_t* special, Vectors* vectors) const {
    const auto& marks = block_shared<RowMarks<T>>();
#pragma unroll
    for (std::int32_t i = 0; i < kRowVectors; ++i) {
      if (i * kStride >= left) continue;
      if ((special[i * (kStride / 32)] >> (threadIdx.x % 32) & 1u) == 0) continue;
      const std::int32_t first = (marks.tile[slot].vectors - left + i * kStride) * kCount;
      std::uint32_t excluded = 0;
#pragma unroll 1
      for (std::int32_t k = 0; k < kCount; ++k) {
        const auto element = static_cast<std::uint32_t>(first + k);
        const std::uint32_t row = args_.class_divisor.quotient(element);
        const std::int32_t label = marks.label[slot][row];
        const auto channel =
            static_cast<std::int32_t>(element - row * args_.class_divisor.divisor());
        if (label < math::kBackground || label == channel) excluded |= 1u << k;
      }
      vectors->of[i] = with_inert(vectors->of[i], excluded);
    }
  }

  // The positive of the thread's row, and the thread's element behind the last whole vector.
  __device__ __forceinline__ float patch(const RowTile<T>& tile, const std::int32_t* labels) const {
    const Loss loss(args_, tile.factors);
    float sum = 0;
    if (thread_ < tile.rows && labels[thread_] >= 0) {
      sum += element(tile, loss, thread_ * args_.num_classes + labels[thread_], true,
                     math::kBackground);
    }
    const std::int32_t behind = tile.vectors * kCount + thread_;
    if (behind < tile.elements) {
      const std::uint32_t row = args_.class_divisor.quotient(static_cast<std::uint32_t>(behind));
      const std::int32_t channel = behind - static_cast<std::int32_t>(row) * args_.num_classes;
      if (labels[row] != channel) sum += element(tile, loss, behind, false, labels[row]);
    }
    return sum;
  }

  // Writes the gradient of an element; returns its loss.
  __device__ __forceinline__ float element(const RowTile<T>& tile, const Loss& loss,
                                           std::int32_t offset, bool is_positive,
                                           std::int32_t label) const {
    const auto loss_and_grad = loss.entry(read(tile.logits[offset]), 0, is_positive, {label, 1});
    if constexpr (kGradient) write(loss_and_grad.gradient, tile.gradient[offset]);
    return loss_and_grad.loss;
  }

  // The same once more, one element after the other, where a logit is infinite or a label invalid.
  template <class FactorsOf>
  __device__ __forceinline__ double exact_sum(const FactorsOf& factors_of) const {
    double total = 0;
    for (std::int64_t index = blockIdx.x; index < tiling_.tiles.count(); index += gridDim.x) {
      const RowTile<T> tile = tile_at(index, factors_of);
      const Loss loss(args_, tile.factors);
#pragma unroll 1
      for (std::int32_t i = thread_; i < tile.elements; i += kStride) {
        const std::uint32_t rows = args_.class_divisor.quotient(static_cast<std::uint32_t>(i));
        const std::int32_t channel = i - static_cast<std::int32_t>(rows) * args_.num_classes;
        const FocalRow<float> row = loss.row(tile.row + rows);
        const auto loss_and_grad =
            loss.entry_anywhere(read(tile.logits[i]), 0, channel == row.label, row);
        total += static_cast<double>(loss_and_grad.loss);
        if constexpr (kGradient) write(loss_and_grad.gradient, tile.gradient[i]);
      }
    }
    return total;
  }

  const RowTiling& tiling_;
  const FocalArguments<float>& args_;
  const std::int32_t thread_;
};

}  // namespace fcos_ops::cuda::focal
