// The focal loss of the classes in the FCOS loss.
//
// Where locations are the contiguous axis, as in NCHW, the run of a class is one line; it has
// mostly no positive at all, or one. Where classes are, neighbouring background locations are.
#include "cpu/fcos_loss/fcos_classes.h"

#include <algorithm>
#include <cmath>

#include "common/dtypes.h"
#include "cpu/common/lines.h"
#include "cpu/focal_loss/focal_loops.h"
#include "math/focal.h"
#include "math/labels.h"

namespace fcos_ops::cpu::fcos {
namespace {

constexpr std::int64_t kChunk = 512;  // logits that a loop takes at a time
constexpr std::int64_t kMinRow = 8;   // shorter rows are not worth a loop each
static_assert(kFcosRun <= kChunk);

template <class T>
class ClassLoss {
  using Real = math::Real<T>;

 public:
  explicit ClassLoss(const ClassRun& run)
      : run_(run),
        logits_(element<T>(run.logits, run.run.batch, run.run.y, run.run.x)),
        gradient_(run.gradient.data ? element<T>(run.gradient, run.run.batch, run.run.y, run.run.x)
                                    : nullptr),
        length_(static_cast<std::int32_t>(run.run.length)) {
    const math::AlphaWeights alpha = math::alpha_weights(run.alpha);
    factors_.positive = static_cast<Real>(run.scale * alpha.positive);
    factors_.negative = static_cast<Real>(run.scale * alpha.negative);
    factors_.gamma = static_cast<Real>(run.gamma);
    factors_.gradient = static_cast<Real>(run.gradient_scale);
  }

  double sum() {
    const LevelView& view = run_.logits;
    if (run_.num_classes >= kMinRow && std::abs(view.stride_channel) <= std::abs(view.stride_x)) {
      return rows();
    }
    const bool ordinary = std::all_of(run_.labels, run_.labels + length_, [](std::int32_t label) {
      return label >= math::kBackground;
    });
    return ordinary ? columns() : weighted_columns();
  }

 private:
  double rows() {
    double total = 0;
    for (std::int32_t i = 0; i < length_;) {
      const std::int64_t merged = run_.labels[i] == math::kBackground ? background_rows_from(i) : 1;
      total += row(i, merged * run_.num_classes);
      i += static_cast<std::int32_t>(merged);
    }
    return total;
  }

  // The number of background rows from `first` on that form one contiguous line of up to a chunk.
  std::int64_t background_rows_from(std::int32_t first) const {
    const std::int64_t limit = std::min<std::int64_t>(length_ - first, kChunk / run_.num_classes);
    std::int64_t count = 1;
    if (!is_contiguous(run_.logits) || (gradient_ && !is_contiguous(run_.gradient))) return count;
    while (count < limit && run_.labels[first + count] == math::kBackground) ++count;
    return count;
  }
  template <class View>
  bool is_contiguous(const View& view) const {
    return view.stride_channel == 1 && view.stride_x == run_.num_classes;
  }

  // `count` logits from location i on.
  double row(std::int32_t i, std::int64_t count) {
    const std::int32_t label = run_.labels[i];
    focal::FocalFactors<Real> factors = factors_;
    if (label == math::kInvalidLabel) {
      factors.positive = factors.negative = math::kNaN<Real>;
    }
    double total = 0;
    for (std::int64_t c = 0; c < count; c += kChunk) {
      const auto length = static_cast<std::int32_t>(std::min(kChunk, count - c));
      const bool has_label = label >= c && label < c + length;
      const std::int32_t positive = has_label ? static_cast<std::int32_t>(label - c) : -1;
      const Line<const T> logits = {
          logits_ + i * run_.logits.stride_x + c * run_.logits.stride_channel,
          run_.logits.stride_channel};
      const Line<T> gradient = gradient_line(i, c, run_.gradient.stride_channel);
      if (label == math::kIgnored) {
        std::fill(grads_, grads_ + length, Real(0));
        store<Real>(grads_, length, gradient);
      } else {
        total += line(logits, gradient, length, positive, factors);
      }
    }
    return total;
  }

  // Locations sorted by class give each class its positives.
  double columns() {
    std::int64_t keys[kFcosRun];  // class * 2^32 + location
    std::int32_t count = 0;
    for (std::int32_t i = 0; i < length_; ++i) {
      if (run_.labels[i] >= 0) keys[count++] = (std::int64_t{run_.labels[i]} << 32) + i;
    }
    std::sort(keys, keys + count);
    std::fill(weights_, weights_ + length_, Real(1));
    double total = 0;
    std::int32_t next = 0;
    for (std::int64_t c = 0; c < run_.num_classes; ++c) {
      prefetch_class(c + 1);
      const std::int32_t first = next;
      while (next < count && keys[next] >> 32 == c) ++next;
      if (next - first > 1) {
        total += column(c);
      } else {
        const auto positive = static_cast<std::int32_t>(next > first ? keys[first] : -1);
        total += line(logits_of_class(c), gradient_line(0, c, run_.gradient.stride_x), length_,
                      positive, factors_);
      }
    }
    return total;
  }

  double weighted_columns() {
    for (std::int32_t i = 0; i < length_; ++i) {
      weights_[i] = run_.labels[i] == math::kInvalidLabel ? math::kNaN<Real> : 1;
    }
    double total = 0;
    for (std::int64_t c = 0; c < run_.num_classes; ++c) {
      prefetch_class(c + 1);
      total += column(c);
    }
    return total;
  }

  // One class of all locations, by their labels and weights.
  double column(std::int64_t c) {
    return loop(logits_of_class(c), gradient_line(0, c, run_.gradient.stride_x), length_,
                [&](const Real* x, Real* grads) {
                  return focal::focal_column<Real>(factors_, x, length_, run_.labels, weights_,
                                                   static_cast<std::int32_t>(c), kNoLosses, grads);
                });
  }

  FCOS_HD void prefetch_class(std::int64_t c) const {
    if (c >= run_.num_classes) return;
    prefetch(logits_of_class(c), length_);
    prefetch(gradient_line(0, c, run_.gradient.stride_x), length_);
  }

  // Negatives, but for the one at `positive` if that is not -1.
  double line(Line<const T> logits, Line<T> gradient, std::int32_t count, std::int32_t positive,
              const focal::FocalFactors<Real>& factors) {
    return loop(logits, gradient, count, [&](const Real* x, Real* grads) {
      if (positive >= 0) {
        return focal::focal_row(factors, x, count, positive, kNoLosses, grads);
      }
      return focal::focal_negatives(factors, x, count, kNoLosses, grads);
    });
  }

  // body(logits, where the gradient goes), on arrays of the type of the maths.
  template <class Body>
  double loop(Line<const T> logits, Line<T> gradient, std::int32_t count, const Body& body) {
    const Real* const x = load(logits, count, buffer_);
    Real* const grads = writable(gradient, grads_);
    const double sum = body(x, grads);
    store(grads, count, gradient);
    return sum;
  }

  Line<const T> logits_of_class(std::int64_t c) const {
    return {logits_ + c * run_.logits.stride_channel, run_.logits.stride_x};
  }
  Line<T> gradient_line(std::int32_t i, std::int64_t c, std::int64_t stride) const {
    if (gradient_ == nullptr) return {nullptr, 1};
    return {gradient_ + i * run_.gradient.stride_x + c * run_.gradient.stride_channel, stride};
  }

  static constexpr Real* kNoLosses = nullptr;

  const ClassRun& run_;
  const T* const logits_;  // channel 0 of the first location
  T* const gradient_;
  const std::int32_t length_;
  focal::FocalFactors<Real> factors_;
  alignas(64) Real buffer_[kChunk], grads_[kChunk], weights_[kChunk];
};

}  // namespace

double class_loss(DType dtype, const ClassRun& run) {
  return math::dispatch(math::Floating{}, dtype, [&](auto type) {
    return ClassLoss<typename decltype(type)::type>(run).sum();
  });
}

}  // namespace fcos_ops::cpu::fcos
