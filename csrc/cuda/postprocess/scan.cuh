// Finds the candidates of a tile: up to 512 neighbouring locations of a level, up to 128 channels.
//
// The centerness of a location bounds its class logits: sqrt(p q) > t needs p > t^2 / q. So there
// is a sigmoid and a bound for each location, and a comparison for each logit; logits are read once
// and nothing is written, which leaves the speed to the memory. The few that reach their bound are
// queued by each warp, and scored by all lanes at once when 32 of them have come together; else a
// warp would step through a sigmoid for one lane at a time.
//
// Threads that are neighbours read neighbouring memory, 16 bytes each where strides allow: along
// locations (NCHW), where each thread keeps the bounds of its few locations in registers, or along
// channels (channels_last), where a location that nothing can reach is not read at all.
#pragma once

#include <type_traits>

#include "common/dtypes.h"
#include "cuda/common/tiles.h"
#include "cuda/postprocess/logit_threshold.cuh"
#include "cuda/postprocess/plan.cuh"

namespace fcos_ops::cuda::detection {

template <class T>
struct TileLocations {
  LogitThreshold<T> threshold[kTile];
  math::Real<T> center[kTile];  // sigmoid of the centerness
  std::int64_t offset[kTile];   // of channel 0 of the class logits
};

// A warp queues at most 63 hits before it scores the oldest 32, behind a barrier. A ring has room
// for these and for the 32 that were scored before them, so that no slot is written again until
// that barrier: the votes in between order no accesses to memory.
constexpr unsigned kQueueSlots = 4 * kWarp;

template <unsigned kThreads>
struct HitQueues {
  std::uint32_t hit[kThreads / kWarp][kQueueSlots];  // rings of location + channel * 2^16
};

// The limits that a candidate must reach.
template <class Real>
struct CandidateLimit {
  TopKKey<Real> worst;             // the worst key that is wanted
  math::MinScore<Real> min_score;  // follows from it, and from the threshold
};

// T: the type of the class logits. kThreads: of the block.
template <class T, unsigned kThreads>
class TileScan {
  using Real = math::Real<T>;
  static constexpr unsigned kCount = kVector<T>;
  static constexpr unsigned kColumns = kTile / kCount;  // vectors that make a tile of locations
  static constexpr unsigned kGroups = kThreads / kColumns;
  static constexpr unsigned kUnroll = 4;   // vectors that a thread has in flight
  static constexpr unsigned kSingles = 8;  // logits, where they come one by one
  static_assert(kThreads % kColumns == 0 && kColumns % kWarp == 0 && kUnroll * kCount <= 32);

 public:
  __device__ __forceinline__ TileScan(const PostprocessPlan<Real>& plan, const LevelPlan& level,
                                      std::int64_t image, const CandidateLimit<Real>& limit,
                                      const KeyList<TopKKey<Real>>& list)
      : plan_(plan),
        level_(level),
        image_(image),
        limit_(limit),
        list_(list),
        locations_(block_shared<TileLocations<T>>()),
        queue_(block_shared<HitQueues<kThreads>>().hit[threadIdx.x / kWarp]) {}

  // Appends the candidates of a tile that begins at a location and a channel to the list. Between
  // two calls the block must meet at a barrier.
  __device__ __forceinline__ void run(std::int64_t location, std::int64_t channel) {
    const LevelView& view = level_.class_logits;
    first_location_ = location;
    first_channel_ = channel;
    num_locations_ = minimum(view.height * view.width - location, level_.tile);
    num_channels_ = minimum(plan_.args.num_classes - channel, level_.channels);
    logits_ = static_cast<const T*>(view.data) + channel * view.stride_channel;
    set_bounds();
    __syncthreads();
    if (!level_.has_vectors) {
      scan_items<false>();
    } else if (level_.channels_contiguous) {
      scan_items<true>();
    } else {
      scan_columns();
    }
    if (queued_ > 0) score_queued(queued_);
  }

 private:
  static __device__ __forceinline__ unsigned minimum(std::int64_t a, unsigned b) {
    return a < b ? static_cast<unsigned>(a) : b;
  }

  __device__ __forceinline__ void set_bounds() {
    for (unsigned i = threadIdx.x; i < num_locations_; i += kThreads) {
      const std::int64_t location = first_location_ + i;
      const std::int64_t center = element_offset(level_.centerness, image_, location);
      const Real score = math::sigmoid_of_score(
          math::read_real<Real>(level_.centerness.data, plan_.args.centerness_dtype, center));
      locations_.threshold[i] =
          LogitThreshold<T>::of(math::class_logit_bound(limit_.min_score, score));
      locations_.center[i] = score;
      locations_.offset[i] = element_offset(level_.class_logits, image_, location);
    }
  }

  // Each thread takes the same kCount locations in every kGroups-th channel.
  __device__ __forceinline__ void scan_columns() {
    const unsigned location = threadIdx.x % kColumns * kCount, group = threadIdx.x / kColumns;
    const bool inside = location < num_locations_;
    LogitThreshold<T> threshold[kCount];
    for (unsigned j = 0; j < kCount; ++j) {
      threshold[j] = inside ? locations_.threshold[location + j] : LogitThreshold<T>::unreachable();
    }
    const T* const column = logits_ + (inside ? locations_.offset[location] : 0);
    const std::int64_t stride = level_.class_logits.stride_channel;
    for (unsigned first = 0; first < num_channels_; first += kGroups * kUnroll) {
      Vector<T> vector[kUnroll];
      bool here[kUnroll];
      for (unsigned u = 0; u < kUnroll; ++u) {
        const unsigned channel = first + u * kGroups + group;
        here[u] = inside && channel < num_channels_;
        vector[u] = {};
        if (here[u]) load(column + channel * stride, vector[u]);
      }
      queue_hits<kUnroll, kCount>(
          [&](unsigned u, unsigned j) { return here[u] && threshold[j].test(vector[u], j); },
          [&](unsigned u, unsigned j) {
            return (location + j) | ((first + u * kGroups + group) << 16);
          });
    }
  }

  // An item is a logit, or a vector of logits of a location. They are numbered as they lie in
  // memory, and each thread takes every kThreads-th.
  template <bool kVectors>
  __device__ __forceinline__ void scan_items() {
    constexpr unsigned kWidth = kVectors ? kCount : 1, kItems = kVectors ? kUnroll : kSingles;
    const bool channels_contiguous = kVectors || level_.channels_contiguous;
    const unsigned inner_count = channels_contiguous ? num_channels_ / kWidth : num_locations_;
    const unsigned outer_count = channels_contiguous ? num_locations_ : num_channels_;
    const unsigned inner_step = kThreads % inner_count, outer_step = kThreads / inner_count;
    const std::int64_t stride = level_.class_logits.stride_channel;
    unsigned inner = threadIdx.x % inner_count, outer = threadIdx.x / inner_count;
    for (unsigned first = 0; first < inner_count * outer_count; first += kThreads * kItems) {
      std::conditional_t<kVectors, Vector<T>, T> item[kItems];
      LogitThreshold<T> threshold[kItems];
      for (unsigned u = 0; u < kItems; ++u) {
        const unsigned location = channels_contiguous ? outer : inner;
        const unsigned channel = channels_contiguous ? inner * kWidth : outer;
        threshold[u] =
            outer < outer_count ? locations_.threshold[location] : LogitThreshold<T>::unreachable();
        item[u] = {};
        if (!threshold[u].is_unreachable()) {
          load(logits_ + locations_.offset[location] + channel * stride, item[u]);
        }
        inner += inner_step;
        outer += outer_step;
        if (inner >= inner_count) {
          inner -= inner_count;
          ++outer;
        }
      }
      queue_hits<kItems, kWidth>(
          [&](unsigned u, unsigned j) { return threshold[u].test(item[u], j); },
          [&](unsigned u, unsigned j) {
            const unsigned number = first + u * kThreads + threadIdx.x;
            const unsigned x = number % inner_count * kWidth + j, y = number / inner_count;
            return channels_contiguous ? y | (x << 16) : x | (y << 16);
          });
    }
  }

  static __device__ __forceinline__ void load(const T* address, T& item) { item = *address; }
  static __device__ __forceinline__ void load(const T* address, Vector<T>& item) {
    item = *reinterpret_cast<const Vector<T>*>(address);
  }

  // Queues code(u, j) of those logits j of items u that is_hit(u, j) says. All lanes call it.
  template <unsigned kItems, unsigned kWidth, class IsHit, class Code>
  __device__ __forceinline__ void queue_hits(const IsHit& is_hit, const Code& code) {
    bool any = false;
    for (unsigned i = 0; i < kItems * kWidth; ++i) any |= is_hit(i / kWidth, i % kWidth);
    if (!__any_sync(kFullMask, any)) return;
    unsigned hits = 0;
    for (unsigned i = 0; i < kItems * kWidth; ++i) {
      hits |= is_hit(i / kWidth, i % kWidth) ? 1u << i : 0u;
    }
    const unsigned before = (1u << (threadIdx.x % kWarp)) - 1;
    while (const unsigned lanes = __ballot_sync(kFullMask, hits != 0)) {
      if (hits != 0) {
        const auto i = static_cast<unsigned>(__ffs(static_cast<int>(hits)) - 1);
        hits &= hits - 1;
        const auto rank = static_cast<unsigned>(__popc(lanes & before));
        queue_[(head_ + queued_ + rank) % kQueueSlots] = code(i / kWidth, i % kWidth);
      }
      queued_ += static_cast<unsigned>(__popc(lanes));
      if (queued_ >= kWarp) score_queued(kWarp);
    }
  }

  // Scores the `count` <= 32 oldest hits of the queue, and appends what is a candidate.
  __device__ __forceinline__ void score_queued(unsigned count) {
    const unsigned lane = threadIdx.x % kWarp;
    __syncwarp();
    const unsigned hit = lane < count ? queue_[(head_ + lane) % kQueueSlots] : 0;
    head_ += count;
    queued_ -= count;
    const unsigned location = hit & 0xffffu, channel = hit >> 16;
    const Real logit = math::to_real(
        logits_[locations_.offset[location] + channel * level_.class_logits.stride_channel]);
    const Real class_score = math::sigmoid_of_score(logit);
    const Real center_score = locations_.center[location];
    const PostprocessArgs& args = plan_.args;
    const Real score = math::combined_score(args.rule.score, class_score, center_score);
    const Real tested = args.rule.threshold_on == ThresholdOn::kScore ? score : class_score;
    const auto index = static_cast<std::uint32_t>((first_location_ + location) * args.num_classes +
                                                  first_channel_ + channel);
    const auto key =
        make_topk_key(args.rule.rank_by == RankBy::kScore ? score : class_score, index);
    const bool is_wanted = args.classes == nullptr || args.classes[first_channel_ + channel] != 0;
    append(list_,
           lane < count && is_wanted && tested > plan_.score_threshold && score == score &&
               key <= limit_.worst,
           key);
  }

  const PostprocessPlan<Real>& plan_;
  const LevelPlan& level_;
  const std::int64_t image_;
  const CandidateLimit<Real> limit_;
  const KeyList<TopKKey<Real>> list_;
  TileLocations<T>& locations_;
  std::uint32_t* const queue_;
  std::int64_t first_location_ = 0, first_channel_ = 0;
  const T* logits_ = nullptr;  // of the first channel
  unsigned num_locations_ = 0, num_channels_ = 0;
  unsigned head_ = 0, queued_ = 0;  // alike in all lanes of a warp
};

}  // namespace fcos_ops::cuda::detection
