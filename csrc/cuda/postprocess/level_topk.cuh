// The best candidates of a level of an image, sorted and decoded, by one block.
#pragma once

#include "cuda/postprocess/block_merge_sort.cuh"
#include "cuda/postprocess/block_radix_select.cuh"
#include "cuda/postprocess/scan.cuh"
#include "math/decode.h"

namespace fcos_ops::cuda::detection {

struct KeyCount {
  std::uint32_t value;
};

// T: the type of the class logits.
template <class T>
class LevelTopK {
  using Real = math::Real<T>;
  using Key = TopKKey<Real>;

 public:
  __device__ __forceinline__ LevelTopK(const PostprocessPlan<Real>& plan, std::int64_t image,
                                       std::int32_t level)
      : plan_(plan),
        level_(plan.level[level]),
        image_(image),
        pair_(image * plan.args.num_levels + level),
        candidates_(plan.candidates + image * plan.capacity + level_.first_candidate),
        first_selected_(image * plan.max_selected + plan.first_selected[level]),
        count_(block_shared<KeyCount>().value) {}

  __device__ __forceinline__ void run() {
    std::uint32_t num_candidates = plan_.num_candidates[pair_];
    if (num_candidates > level_.capacity) num_candidates = rescan();
    const std::uint32_t num_selected = num_candidates < level_.k ? num_candidates : level_.k;
    Key* keys = candidates_;
    Key* spare = plan_.sorted[0] + first_selected_;
    if (num_candidates > num_selected) {
      gather_best(num_candidates, num_selected, spare);
      keys = spare;
      spare = candidates_;
    }
    const Key* const sorted = block_merge_sort<kSelectThreads>(keys, spare, num_selected);
    if (sorted == keys) keys = spare;  // the array that is free
    decode_all(sorted, num_selected, keys);
    if (threadIdx.x == 0) plan_.num_selected[pair_] = num_selected;
  }

 private:
  // Scans the level again where it has more candidates than there is room for: the best k of those
  // that fitted in set a threshold, which the best k of all reach. Which ones fitted in is a matter
  // of chance, the result is not; and since each threshold is better than the one before, this
  // ends.
  __device__ __forceinline__ std::uint32_t rescan() {
    const std::int64_t locations = level_.class_logits.height * level_.class_logits.width;
    std::uint32_t num_candidates;
    do {
      const auto last = topk_threshold(candidates_, level_.capacity, level_.k);
      const auto least = static_cast<double>(score_of<Real>(last));
      const auto min_score = math::min_for_rank<Real>(plan_.args.rule, least);
      if (threadIdx.x == 0) count_ = 0;
      TileScan<T, kSelectThreads> scan(plan_, level_, image_,
                                       {last, math::higher(plan_.min_score, min_score)},
                                       {candidates_, level_.capacity, &count_});
      for (std::int64_t i = 0; i < locations; i += level_.tile) {
        for (std::int64_t c = 0; c < plan_.args.num_classes; c += level_.channels) {
          __syncthreads();
          scan.run(i, c);
        }
      }
      __syncthreads();
      num_candidates = count_;
    } while (num_candidates > level_.capacity);
    return num_candidates;
  }

  // Copies the best `num_selected` of the candidates.
  __device__ __forceinline__ void gather_best(std::uint32_t num_candidates,
                                              std::uint32_t num_selected, Key* best) {
    const Key last = topk_threshold(candidates_, num_candidates, num_selected);
    if (threadIdx.x == 0) count_ = 0;
    __syncthreads();
    for (std::uint32_t first = 0; first < num_candidates; first += kSelectThreads) {
      const std::uint32_t i = first + threadIdx.x;
      const Key key = i < num_candidates ? candidates_[i] : last;
      append<Key>({best, num_selected, &count_}, i < num_candidates && key <= last, key);
    }
    __syncthreads();
  }

  // Writes scores, boxes and labels by falling score. `spare` has room for `num_selected` keys.
  __device__ __forceinline__ void decode_all(const Key* sorted, std::uint32_t num_selected,
                                             Key* spare) {
    const Key* ranked = sorted;
    if (plan_.args.rule.rank_by == RankBy::kClass) {
      for (std::uint32_t i = threadIdx.x; i < num_selected; i += kSelectThreads) {
        spare[i] = make_topk_key(final_score(sorted[i]), i);
      }
      ranked =
          block_merge_sort<kSelectThreads>(spare, plan_.sorted[1] + first_selected_, num_selected);
    }
    for (std::uint32_t i = threadIdx.x; i < num_selected; i += kSelectThreads) {
      const Key key = ranked[i];
      const std::uint32_t index =
          index_of(plan_.args.rule.rank_by == RankBy::kScore ? key : sorted[index_of(key)]);
      const auto [location, label] = math::divide(index, plan_.args.num_classes);
      const std::int64_t position = first_selected_ + i;
      plan_.ranked_in_level.scores[position] = score_of<Real>(key);
      plan_.ranked_in_level.boxes[position] = {decode(location)};
      plan_.ranked_in_level.labels[position] = label;
    }
  }

  // The score of a candidate whose key holds its class score.
  __device__ __forceinline__ Real final_score(Key key) const {
    const std::int64_t location = math::divide(index_of(key), plan_.args.num_classes).quotient;
    const LevelView& view = level_.centerness;
    const Real center_score = math::sigmoid_of_score(math::read_real<Real>(
        view.data, plan_.args.centerness_dtype, element_offset(view, image_, location)));
    return math::combined_score(plan_.args.rule.score, score_of<Real>(key), center_score);
  }

  // The box of a location; NaN where it shall be dropped.
  __device__ __forceinline__ math::Box<Real> decode(std::int64_t location) const {
    const LevelView& view = level_.ltrb;
    const std::int64_t left = element_offset(view, image_, location), step = view.stride_channel;
    const auto side = [&](std::int64_t i) {
      return math::read_real<Real>(view.data, plan_.args.ltrb_dtype, left + i * step);
    };
    const auto [y, x] = math::divide(location, view.width);
    const auto offset = static_cast<Real>(plan_.args.location_offset);
    math::Box<Real> box = math::decode_box<Real>(
        math::location(x, offset, static_cast<Real>(level_.geometry.stride_x)),
        math::location(y, offset, static_cast<Real>(level_.geometry.stride_y)),
        {side(0), side(1), side(2), side(3)},
        static_cast<Real>(plan_.args.normalized ? level_.geometry.scale : 1.0));
    if (plan_.args.rule.clip == ClipTime::kAfterNms) return box;
    box = math::clip_box(box, math::read_image_size<Real>(plan_.args.image_sizes,
                                                          plan_.args.image_size_dtype, image_));
    if (plan_.args.rule.drop_empty && !math::has_area(box)) box.x1 = math::kNaN<Real>;
    return box;
  }

  const PostprocessPlan<Real>& plan_;
  const LevelPlan& level_;
  const std::int64_t image_, pair_;
  Key* const candidates_;
  const std::int64_t first_selected_;
  std::uint32_t& count_;
};

}  // namespace fcos_ops::cuda::detection
