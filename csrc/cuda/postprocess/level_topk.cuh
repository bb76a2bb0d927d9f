// The best candidates of a level of an image, sorted and decoded, by one block.
#pragma once

#include "cuda/postprocess/block_merge_sort.cuh"
#include "cuda/postprocess/block_radix_select.cuh"
#include "cuda/postprocess/scan.cuh"
#include "math/decode.h"

namespace fcos_ops::cuda::detection {

struct EntryCount {
  std::uint32_t value;
};

// T: the type of the class logits.
template <class T>
class LevelWinners {
  using Real = math::Real<T>;
  using AnyEntry = Entry<Real>;

 public:
  __device__ __forceinline__ LevelWinners(const PostprocessPlan<Real>& plan, std::int64_t image,
                                          std::int32_t level)
      : plan_(plan),
        level_(plan.level[level]),
        image_(image),
        pair_(image * plan.num_levels + level),
        collected_(plan.collected + image * plan.candidates + level_.first_candidate),
        first_winner_(image * plan.winners + level_.first_winner),
        count_(block_shared<EntryCount>().value) {}

  __device__ __forceinline__ void run() {
    std::uint32_t found = plan_.found[pair_];
    if (found > level_.capacity) found = collect_again();
    const std::uint32_t won = found < level_.places ? found : level_.places;
    AnyEntry* entries = collected_;
    AnyEntry* spare = plan_.sorted[0] + first_winner_;
    if (found > won) {
      gather_best(found, won, spare);
      entries = spare;
      spare = collected_;
    }
    const AnyEntry* const sorted = sort_entries<kSelectThreads>(entries, spare, won);
    if (sorted == entries) entries = spare;  // what is free
    decode_all(sorted, won, entries);
    if (threadIdx.x == 0) plan_.won[pair_] = won;
  }

 private:
  // More candidates were found than there is room for. The best that fitted in set a limit, which
  // what wins reaches, and with it the level is scanned again. Which ones fitted in is a matter of
  // chance, the result is not; and since each limit is better than the one before, this ends.
  __device__ __forceinline__ std::uint32_t collect_again() {
    const std::int64_t locations = level_.class_logits.height * level_.class_logits.width;
    std::uint32_t found;
    do {
      const auto last = limit_of_best(collected_, level_.capacity, level_.places);
      const auto key = static_cast<double>(score_of<Real>(last));
      const auto floor = plan_.rank_by_score ? math::floor_of_scores<Real>(key, plan_.square_root)
                                             : math::floor_of_class_scores<Real>(key);
      if (threadIdx.x == 0) count_ = 0;
      TileScan<T, kSelectThreads> scan(plan_, level_, image_,
                                       {last, math::higher(plan_.floor, floor)},
                                       {collected_, level_.capacity, &count_});
      for (std::int64_t i = 0; i < locations; i += level_.tile) {
        for (std::int64_t c = 0; c < plan_.num_classes; c += level_.channels) {
          __syncthreads();
          scan.run(i, c);
        }
      }
      __syncthreads();
      found = count_;
    } while (found > level_.capacity);
    return found;
  }

  // Copies the best `won` of the candidates.
  __device__ __forceinline__ void gather_best(std::uint32_t found, std::uint32_t won,
                                              AnyEntry* best) {
    const AnyEntry last = limit_of_best(collected_, found, won);
    if (threadIdx.x == 0) count_ = 0;
    __syncthreads();
    for (std::uint32_t first = 0; first < found; first += kSelectThreads) {
      const std::uint32_t i = first + threadIdx.x;
      const AnyEntry entry = i < found ? collected_[i] : last;
      append<AnyEntry>({best, won, &count_}, i < found && entry <= last, entry);
    }
    __syncthreads();
  }

  // Writes scores, boxes and labels by falling score. `spare` has room for `won` entries.
  __device__ __forceinline__ void decode_all(const AnyEntry* sorted, std::uint32_t won,
                                             AnyEntry* spare) {
    const AnyEntry* by_score = sorted;
    if (!plan_.rank_by_score) {
      for (std::uint32_t i = threadIdx.x; i < won; i += kSelectThreads) {
        spare[i] = make_entry(final_score(sorted[i]), i);
      }
      by_score = sort_entries<kSelectThreads>(spare, plan_.sorted[1] + first_winner_, won);
    }
    for (std::uint32_t i = threadIdx.x; i < won; i += kSelectThreads) {
      const AnyEntry entry = by_score[i];
      const std::uint32_t index = index_of(plan_.rank_by_score ? entry : sorted[index_of(entry)]);
      const auto [location, label] = divide(index, plan_.num_classes);
      const std::int64_t place = first_winner_ + i;
      plan_.of_levels.scores[place] = score_of<Real>(entry);
      plan_.of_levels.boxes[place] = {decode(location)};
      plan_.of_levels.labels[place] = label;
    }
  }

  // Of an entry with a class score.
  __device__ __forceinline__ Real final_score(AnyEntry entry) const {
    const std::int64_t location = divide(index_of(entry), plan_.num_classes).quotient;
    const LevelView& view = level_.centerness;
    const Real center_score = math::sigmoid_of_score(math::read_real<Real>(
        view.data, plan_.centerness_dtype, element_offset(view, image_, location)));
    return plan_.square_root ? math::combined_score<true>(score_of<Real>(entry), center_score)
                             : math::combined_score<false>(score_of<Real>(entry), center_score);
  }

  // The box of a location; NaN where it shall be dropped.
  __device__ __forceinline__ math::Box<Real> decode(std::int64_t location) const {
    const LevelView& view = level_.ltrb;
    const std::int64_t left = element_offset(view, image_, location), step = view.stride_channel;
    const auto side = [&](std::int64_t i) {
      return math::read_real<Real>(view.data, plan_.ltrb_dtype, left + i * step);
    };
    const auto [y, x] = divide(location, view.width);
    const auto offset = static_cast<Real>(plan_.location_offset);
    math::Box<Real> box = math::decode_box<Real>(
        (static_cast<Real>(x) + offset) * static_cast<Real>(level_.geometry.stride_x),
        (static_cast<Real>(y) + offset) * static_cast<Real>(level_.geometry.stride_y),
        {side(0), side(1), side(2), side(3)},
        static_cast<Real>(plan_.normalized ? level_.geometry.scale : 1.0));
    if (!plan_.clip_before_nms) return box;
    box = math::clip_box(
        box, math::read_image_size<Real>(plan_.image_sizes, plan_.image_size_dtype, image_));
    if (plan_.drop_empty && !math::has_area(box)) box.x1 = math::kNaN<Real>;
    return box;
  }

  const PostprocessPlan<Real>& plan_;
  const LevelPlan& level_;
  const std::int64_t image_, pair_;
  AnyEntry* const collected_;
  const std::int64_t first_winner_;
  std::uint32_t& count_;
};

}  // namespace fcos_ops::cuda::detection
