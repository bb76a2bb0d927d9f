// Focal loss of plain logits (see plain_rows.cuh) whose locations form one line a class
// (class-major: NCHW).
//
// A thread takes 16 bytes of neighbouring locations of one image for a chunk of channels, four
// channels at a time: it reads the labels of its locations once, and the loop over channels knows
// but a bit for each that has a positive among them. Where 16 bytes are not aligned in every plane
// of a level, as in the small ones, it moves elements and computes as else. Blocks span images, as
// small levels have fewer locations than a block has room for.
//
// Not measured in this form; its shape comes from a prototype on the H200 and problem that
// plain_rows.cuh names, which took 82 us in float32 and 66 in bfloat16, pipelined or with more
// threads no less. That had 22 instructions a logit, with a less accurate exp; here they are 26.
#pragma once

#include "cuda/focal_loss/elements.cuh"
#include "cuda/focal_loss/negatives.cuh"
#include "cuda/focal_loss/plain_tiling.cuh"

namespace fcos_ops::cuda::focal {

// A thread's vectors: one in each of `channels` planes, of `count` neighbouring locations.
// Addresses are of the first element of the first plane.
template <class T>
struct PlaneVectors {
  const T* logits;
  T* gradient;
  std::int64_t image, row;                      // of the first location, among those of all images
  std::int32_t logits_stride, gradient_stride;  // from plane to plane
  std::int32_t count, first_channel, channels;
  bool has_vectors;  // each of its vectors is whole and aligned
};

template <class T, bool kGradient, Labels kLabels>
class PlainPlanes {
  static constexpr std::int32_t kCount = kVector<T>;
  static_assert(kPlaneChannels <= 32, "special_channels() has a bit for each");
  using Loss = ElementLoss<T, Gamma::kTwo, kLabels>;
  // Vectors that a thread loads at once.
  template <bool kVectors>
  static constexpr std::int32_t kAtOnce = kVectors ? kPlaneVectors : 1;
  template <bool kVectors>
  struct Vectors {
    Vector<T> of[kAtOnce<kVectors>];
  };

 public:
  using Tiling = PlaneTiling;
  static constexpr unsigned kThreads = kFocalThreads, kBlocks = kPlaneBlocks;

  __device__ PlainPlanes(const PlaneTiling& tiling, const FocalArguments<float>& args)
      : tiling_(tiling), args_(args) {}

  // The thread's part of the sum. `factors_of(image)` gives factors.
  template <class FactorsOf>
  __device__ __forceinline__ double sum(const FactorsOf& factors_of) const {
    double total = 0;
    for (std::uint32_t index = blockIdx.x; index < tiling_.count; index += gridDim.x) {
      const PlaneVectors<T> mine = vectors_at(index);
      if (mine.count == 0) continue;
      const Loss loss(args_, factors_of(mine.image));
      total += mine.has_vectors ? sum_of<true>(mine, loss) : sum_of<false>(mine, loss);
    }
    return has_infinite(total) ? exact_sum(factors_of) : total;
  }

 private:
  __device__ __forceinline__ PlaneVectors<T> vectors_at(std::uint32_t index) const {
    const std::uint32_t piece = tiling_.chunk_divisor.quotient(index);
    const auto chunk = static_cast<std::int32_t>(index - piece * tiling_.chunk_divisor.divisor());
    std::int32_t number = tiling_.num_levels - 1;
    while (piece < tiling_.level[number].first_piece) --number;
    const PlaneLevel& plane = tiling_.level[number];
    const std::uint32_t item = (piece - plane.first_piece) * kFocalThreads + threadIdx.x;
    if (item >= plane.items) return {};
    const std::uint32_t image = plane.image_divisor.quotient(item);
    const auto vector = static_cast<std::int32_t>(item - image * plane.image_divisor.divisor());
    const std::int32_t location = vector * kCount, left = plane.size - location;
    PlaneVectors<T> mine;
    mine.count = left < kCount ? left : kCount;
    mine.has_vectors = plane.has_vectors;
    mine.first_channel = chunk * tiling_.channels;
    const std::int32_t channels = args_.num_classes - mine.first_channel;
    mine.channels = channels < tiling_.channels ? channels : tiling_.channels;
    mine.image = image;
    mine.row = mine.image * tiling_.rows + plane.first_row + location;
    const FocalLevel& level = args_.level[number];
    const auto offset = [&](const auto& array) {
      return mine.image * array.stride_batch + mine.first_channel * array.stride_channel + location;
    };
    mine.logits_stride = static_cast<std::int32_t>(level.logits.stride_channel);
    mine.gradient_stride = static_cast<std::int32_t>(level.gradient.stride_channel);
    mine.logits = static_cast<const T*>(level.logits.data) + offset(level.logits);
    mine.gradient =
        kGradient ? static_cast<T*>(level.gradient.data) + offset(level.gradient) : nullptr;
    return mine;
  }

  // kVectors: as has_vectors says.
  template <bool kVectors>
  __device__ __forceinline__ double sum_of(const PlaneVectors<T>& mine, const Loss& loss) const {
    const std::uint32_t special = special_channels(mine);
    const float grad_factor = loss.factors().negative * loss.factors().gradient;
    float twice_sum = 0;
    for (std::int32_t channel = 0; channel < mine.channels; channel += kAtOnce<kVectors>) {
      Vectors<kVectors> vectors = load<kVectors>(mine, channel);
      if ((special >> channel & ((1u << kAtOnce<kVectors>)-1u)) != 0) {
        exclude<kVectors>(mine, channel, &vectors);
      }
      twice_sum += channel + kAtOnce<kVectors> <= mine.channels
                       ? process<kVectors, true>(mine, channel, grad_factor, vectors)
                       : process<kVectors, false>(mine, channel, grad_factor, vectors);
    }
    const double sum = static_cast<double>(0.5f * loss.factors().negative * twice_sum);
    return special == 0 ? sum : sum + patch(mine, loss);
  }

  // Bit i: the vector of channel i is not all negative. An invalid label makes all of them special;
  // so does a vector that is not whole.
  __device__ __forceinline__ std::uint32_t special_channels(const PlaneVectors<T>& mine) const {
    std::uint32_t special = mine.count < kCount ? ~0u : 0u;
#pragma unroll
    for (std::int32_t i = 0; i < kCount; ++i) {
      if (i >= mine.count) continue;
      const std::int32_t label = Loss::label(args_, mine.row + i);
      if (label < math::kBackground) special = ~0u;
      const std::int32_t channel = label - mine.first_channel;
      if (channel >= 0 && channel < mine.channels) special |= 1u << channel;
    }
    return special;
  }

  template <bool kVectors>
  __device__ __forceinline__ Vectors<kVectors> load(const PlaneVectors<T>& mine,
                                                    std::int32_t channel) const {
    Vectors<kVectors> vectors;
#pragma unroll
    for (std::int32_t i = 0; i < kAtOnce<kVectors>; ++i) {
      if (channel + i >= mine.channels) continue;
      const T* const from = mine.logits + std::int64_t{channel + i} * mine.logits_stride;
      vectors.of[i] = kVectors ? load_read_only(from) : load_up_to(from, mine.count);
    }
    return vectors;
  }

  // Makes the elements inert that are not negative, and those beyond `count`.
  template <bool kVectors>
  __device__ __forceinline__ void exclude(const PlaneVectors<T>& mine, std::int32_t channel,
                                          Vectors<kVectors>* vectors) const {
    std::uint32_t excluded[kAtOnce<kVectors>];
    for (std::uint32_t& elements : excluded) elements = ~0u << mine.count;
#pragma unroll 1
    for (std::int32_t k = 0; k < mine.count; ++k) {
      const std::int32_t label = Loss::label(args_, mine.row + k);
      const std::int32_t at = label - mine.first_channel - channel;
#pragma unroll
      for (std::int32_t i = 0; i < kAtOnce<kVectors>; ++i) {
        if (label < math::kBackground || at == i) excluded[i] |= 1u << k;
      }
    }
#pragma unroll
    for (std::int32_t i = 0; i < kAtOnce<kVectors>; ++i) {
      vectors->of[i] = with_inert(vectors->of[i], excluded[i]);
    }
  }

  // Writes the gradients of vectors as negatives; returns twice the sum of their losses. kFull:
  // none of them is beyond the last plane.
  template <bool kVectors, bool kFull>
  __device__ __forceinline__ float process(const PlaneVectors<T>& mine, std::int32_t channel,
                                           float grad_factor,
                                           const Vectors<kVectors>& vectors) const {
    float twice_sum = 0;
#pragma unroll
    for (std::int32_t i = 0; i < kAtOnce<kVectors>; ++i) {
      if (!kFull && channel + i >= mine.channels) continue;
      const Vector<T> gradient = add_negatives<kGradient>(vectors.of[i], grad_factor, &twice_sum);
      if constexpr (kGradient) {
        T* const to = mine.gradient + std::int64_t{channel + i} * mine.gradient_stride;
        if constexpr (kVectors) {
          store_global(gradient, to);
        } else {
          store_up_to(gradient, mine.count, to);
        }
      }
    }
    return twice_sum;
  }

  // The positives among the thread's elements.
  __device__ __forceinline__ float patch(const PlaneVectors<T>& mine, const Loss& loss) const {
    float sum = 0;
#pragma unroll 1
    for (std::int32_t i = 0; i < mine.count; ++i) {
      const std::int32_t label = Loss::label(args_, mine.row + i);
      if (label == math::kInvalidLabel) sum = math::kNaN<float>;  // exact_sum() sees to it
      const std::int32_t channel = label - mine.first_channel;
      if (channel < 0 || channel >= mine.channels) continue;
      const float logit = read(mine.logits[std::int64_t{channel} * mine.logits_stride + i]);
      const auto loss_and_grad = loss.entry(logit, 0, true, {math::kBackground, 1});
      if constexpr (kGradient) {
        write(loss_and_grad.gradient,
              mine.gradient[std::int64_t{channel} * mine.gradient_stride + i]);
      }
      sum += loss_and_grad.loss;
    }
    return sum;
  }

  // The same once more, one element after the other, where a logit is infinite or a label invalid.
  template <class FactorsOf>
  __device__ __forceinline__ double exact_sum(const FactorsOf& factors_of) const {
    double total = 0;
    for (std::uint32_t index = blockIdx.x; index < tiling_.count; index += gridDim.x) {
      const PlaneVectors<T> mine = vectors_at(index);
      if (mine.count == 0) continue;
      const Loss loss(args_, factors_of(mine.image));
#pragma unroll 1
      for (std::int32_t i = 0; i < mine.count; ++i) {
        const FocalRow<float> row = loss.row(mine.row + i);
#pragma unroll 1
        for (std::int32_t channel = 0; channel < mine.channels; ++channel) {
          const float logit = read(mine.logits[std::int64_t{channel} * mine.logits_stride + i]);
          const auto loss_and_grad =
              loss.entry_anywhere(logit, 0, mine.first_channel + channel == row.label, row);
          total += static_cast<double>(loss_and_grad.loss);
          if constexpr (kGradient) {
            write(loss_and_grad.gradient,
                  mine.gradient[std::int64_t{channel} * mine.gradient_stride + i]);
          }
        }
      }
    }
    return total;
  }

  const PlaneTiling& tiling_;
  const FocalArguments<float>& args_;
};

}  // namespace fcos_ops::cuda::focal
