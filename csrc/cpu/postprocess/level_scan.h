// Finds the candidates of one level of one image.
#pragma once

#include <algorithm>
#include <array>

#include "common/dtypes.h"
#include "cpu/common/levels.h"
#include "cpu/common/lines.h"
#include "cpu/postprocess/score_scan.h"
#include "cpu/postprocess/top_candidates.h"
#include "fcos_ops/postprocess.h"

namespace fcos_ops::cpu::detection {

// T: the type of the class logits.
//
// A chunk of neighbouring locations is taken at a time: their centerness gives each a bound for its
// class logits (sqrt(p q) > t needs p > t^2 / q), and only what reaches the bound is scored. Once
// there are enough candidates the worst of them raises the bounds.
template <class T>
class LevelScan {
  using Real = math::Real<T>;

 public:
  LevelScan(const PostprocessArgs& args, std::int32_t level, std::int64_t image,
            TopCandidates<Real>& best)
      : args_(args),
        class_view_(args.class_logits[level]),
        center_view_(args.centerness[level]),
        image_(image),
        rows_contiguous_(args.num_classes >= kMinRow && class_view_.stride_channel == 1),
        line_(is_one_line(class_view_) && is_one_line(center_view_)
                  ? class_view_.height * class_view_.width
                  : class_view_.width),
        threshold_(static_cast<Real>(args.rule.score_threshold)),
        least_(math::min_for_threshold<Real>(args.rule)),
        best_(best) {}

  // Scans the locations first <= y * width + x < last.
  void run(std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; i += count_) {
      first_ = i;
      count_ =
          static_cast<std::int32_t>(std::min({std::int64_t{kChunk}, line_ - i % line_, last - i}));
      class_logits_ = first_location<T>(class_view_);
      score_centers();
      set_bounds();
      if (rows_contiguous_) {
        scan_rows();
      } else {
        scan_channels();
      }
      score_collected();
    }
  }

 private:
  static constexpr std::int32_t kChunk = 1024;  // locations, or channels of one location
  static constexpr std::int64_t kMinRow = 8;    // shorter rows are not worth a loop each

  // Channel 0 of the first location of the chunk; the others follow stride_x apart.
  template <class E>
  const E* first_location(const LevelView& view) const {
    return element<E>(view, image_, first_ / line_, first_ % line_);
  }

  void score_centers() {
    math::dispatch(math::ComputedAs<Real>{}, args_.centerness_dtype, [&](auto type) {
      using E = typename decltype(type)::type;
      const Line<const E> line = {first_location<E>(center_view_), center_view_.stride_x};
      const Real* const logits = load(line, count_, buffer_.data());
      run_best<SigmoidLoop>(logits, count_, centers_.data());
    });
  }

  void set_bounds() {
    math::MinScore<Real> min_score = least_;
    if (best_.full()) {
      const auto key = static_cast<double>(best_.worst().key);
      min_score = math::higher(min_score, math::min_for_rank<Real>(args_.rule, key));
    }
    run_best<BoundLoop<T>>(centers_.data(), count_, min_score, bounds_.data());
  }

  void scan_channels() {
    for (std::int64_t c = 0; c < args_.num_classes; ++c) {
      if (!is_wanted(c)) continue;
      if (c + 1 < args_.num_classes) prefetch(channel(c + 1), count_);
      const T* const line = contiguous(channel(c));
      collect(run_best<ScanChannel>(line, bounds_.data(), count_, hits_.data()), 0, c, 1);
    }
  }

  bool is_wanted(std::int64_t c) const { return args_.classes == nullptr || args_.classes[c] != 0; }

  Line<const T> channel(std::int64_t c) const {
    return {class_logits_ + c * class_view_.stride_channel, class_view_.stride_x};
  }

  const T* contiguous(Line<const T> line) {
    if (line.stride == 1) return line.data;
    for (std::int64_t i = 0; i < count_; ++i) line_buffer_[i] = line.data[i * line.stride];
    return line_buffer_.data();
  }

  void scan_rows() {
    const std::int64_t width = std::min<std::int64_t>(args_.num_classes, kChunk);
    const std::int64_t rows = kChunk / width;
    for (std::int64_t i = 0; i < count_; i += rows) {
      const auto count = static_cast<std::int32_t>(std::min(rows, count_ - i));
      for (std::int64_t c = 0; c < args_.num_classes; c += width) {
        const auto part = static_cast<std::int32_t>(std::min(width, args_.num_classes - c));
        const T* const logits = class_logits_ + i * class_view_.stride_x + c;
        collect(run_best<ScanRows>(logits, class_view_.stride_x, bounds_.data() + i, count, part,
                                   hits_.data()),
                i, c, part);
      }
    }
  }

  // Collects the hits of wanted classes, to be scored together with more. A hit h is location first
  // + h / width of the chunk, channel c + h % width.
  void collect(std::int32_t found, std::int64_t first, std::int64_t c, std::int32_t width) {
    if (collected_ + found > kChunk) score_collected();
    for (std::int32_t h = 0; h < found; ++h) {
      const std::int64_t i = first + hits_[h] / width, channel = c + hits_[h] % width;
      if (!is_wanted(channel)) continue;
      buffer_[collected_] = math::to_real(
          class_logits_[i * class_view_.stride_x + channel * class_view_.stride_channel]);
      hit_centers_[collected_] = centers_[i];
      indices_[collected_++] = (first_ + i) * args_.num_classes + channel;
    }
  }

  // Scores the collected hits and hands those that pass the threshold to the candidates.
  void score_collected() {
    const std::int32_t count = collected_;
    collected_ = 0;
    run_best<SigmoidLoop>(buffer_.data(), count, class_scores_.data());
    run_best<CombineLoop>(class_scores_.data(), hit_centers_.data(), count, args_.rule.score,
                          scores_.data());
    const bool tests_score = args_.rule.threshold_on == ThresholdOn::kScore;
    const bool ranks_score = args_.rule.rank_by == RankBy::kScore;
    bool risen = false;
    for (std::int32_t h = 0; h < count; ++h) {
      const Real tested = tests_score ? scores_[h] : class_scores_[h];
      if (!(tested > threshold_) || scores_[h] != scores_[h]) continue;
      risen |= best_.push({ranks_score ? scores_[h] : class_scores_[h], indices_[h]});
    }
    if (risen) set_bounds();
  }

  const PostprocessArgs& args_;
  const LevelView &class_view_, &center_view_;
  const std::int64_t image_;
  const bool rows_contiguous_;
  const std::int64_t line_;  // locations that are neighbours in memory
  const Real threshold_;
  const math::MinScore<Real> least_;
  TopCandidates<Real>& best_;
  std::int64_t first_ = 0;           // location of the chunk
  std::int32_t count_ = 0;           // locations in the chunk
  std::int32_t collected_ = 0;       // hits in buffer_, hit_centers_ and indices_
  const T* class_logits_ = nullptr;  // of its first location

  template <class E>
  using Chunk = std::array<E, kChunk>;
  alignas(64) Chunk<Real> centers_, buffer_, hit_centers_, class_scores_, scores_;
  alignas(64) Chunk<math::Comparable<T>> bounds_;
  alignas(64) Chunk<T> line_buffer_;
  Chunk<std::int64_t> indices_;
  std::array<std::int32_t, kChunk + 1> hits_;  // the loops write one past the last
};

}  // namespace fcos_ops::cpu::detection
