// Chunks of logits that lie along the class axis (or, where locations are the contiguous axis as in
// NCHW, along x) go through a loop that the compiler vectorises. Most have no positive, or one.
// float32 data is read and written in place; other types and strides pass through a buffer in the
// first-level cache.
#include "cpu/focal_loss/class_loss.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "common/dtypes.h"
#include "cpu/common/lines.h"
#include "math/elementary.h"
#include "math/labels.h"

namespace fcos_ops::cpu::focal {
namespace {

constexpr std::int64_t kChunk = 1024;  // logits that a loop takes at a time
constexpr std::int64_t kMinRow = 8;    // shorter rows are not worth a loop each
static_assert(kClassRun <= kChunk);

// Channel 0 of the first location of a run, and the ways from there. Null where `view` is.
template <class T, class View>
class Origin {
 public:
  Origin(const View& view, const LocationRun& run)
      : data_(view.data ? element<std::remove_const_t<T>>(view, run.batch, run.y, run.x) : nullptr),
        stride_x_(view.stride_x),
        stride_channel_(view.stride_channel) {}

  // From channel c of location i on: along the classes, or along x.
  Line<T> along_row(std::int64_t i, std::int64_t c) const { return {at(i, c), stride_channel_}; }
  Line<T> along_x(std::int64_t c) const { return {at(0, c), stride_x_}; }

  // True if the rows follow one another without holes.
  bool is_dense(std::int64_t num_classes) const {
    return data_ == nullptr || (stride_channel_ == 1 && stride_x_ == num_classes);
  }

 private:
  T* at(std::int64_t i, std::int64_t c) const {
    return data_ ? data_ + i * stride_x_ + c * stride_channel_ : nullptr;
  }

  T* const data_;
  const std::int64_t stride_x_, stride_channel_;
};

// The logits' type T, the gradient's type G.
template <class T, class G>
class ClassLoss {
  using Real = math::Real<T>;
  using Loops = FocalLoops<Real>;

 public:
  ClassLoss(const ClassRun& run, const FocalFactors<Real>& factors, const Real* weights)
      : num_classes_(run.num_classes),
        length_(static_cast<std::int32_t>(run.run.length)),
        has_rows_(num_classes_ >= kMinRow &&
                  std::abs(run.logits.stride_channel) <= std::abs(run.logits.stride_x)),
        factors_(factors),
        weights_(weights),
        logits_(run.logits, run.run),
        losses_(run.losses, run.run),
        gradient_(run.gradient, run.run) {}

  double sparse(const std::int32_t* labels) {
    labels_ = labels;
    return has_rows_ ? sparse_rows() : sparse_columns();
  }

  double dense(const Origin<const Real, LevelView>& targets) {
    return has_rows_ ? dense_rows(targets) : dense_columns(targets);
  }

 private:
  struct Lines {
    Line<const T> logits;
    Line<Real> losses;
    Line<G> gradient;
  };

  double sparse_rows() {
    const bool is_dense = logits_.is_dense(num_classes_) && losses_.is_dense(num_classes_) &&
                          gradient_.is_dense(num_classes_);
    double total = 0;
    for (std::int32_t i = 0; i < length_;) {
      const bool merges = is_dense && labels_[i] == math::kBackground;
      const std::int32_t rows = merges ? background_rows_from(i) : 1;
      total += sparse_row(i, rows * num_classes_);
      i += rows;
    }
    return total;
  }

  // The number of equally weighted background rows from `first` on, up to a chunk.
  std::int32_t background_rows_from(std::int32_t first) const {
    const std::int64_t limit = std::min<std::int64_t>(length_ - first, kChunk / num_classes_);
    std::int32_t rows = 1;
    while (rows < limit && labels_[first + rows] == math::kBackground &&
           weight_at(first + rows) == weight_at(first)) {
      ++rows;
    }
    return rows;
  }

  // `count` logits from location i on.
  double sparse_row(std::int32_t i, std::int64_t count) {
    const std::int32_t label = labels_[i];
    const FocalFactors<Real> factors = weighted_factors(weight_of(i));
    double total = 0;
    for (std::int64_t c = 0; c < count; c += kChunk) {
      const auto length = static_cast<std::int32_t>(std::min(kChunk, count - c));
      total += chunk(along_row(i, c), length, [&](const Real* x, Real* losses, Real* gradient) {
        if (label == math::kIgnored) return fill_zero(length, losses, gradient);
        if (label < c || label >= c + length) {
          return Loops::negatives(factors, x, length, losses, gradient);
        }
        const auto positive = static_cast<std::int32_t>(label - c);
        return Loops::row(factors, x, length, positive, losses, gradient);
      });
    }
    return total;
  }

  double sparse_columns() {
    const bool is_uniform = load_weights();
    const std::int32_t num_positives = is_uniform ? sort_positives() : 0;
    const FocalFactors<Real> factors = weighted_factors(weight_buffer_[0]);
    double total = 0;
    for (std::int32_t c = 0, next = 0; c < num_classes_; ++c) {
      prefetch_channel(c + 1);
      const std::int32_t first = next;
      while (next < num_positives && positives_[next] >> 32 == c) ++next;
      total += chunk(along_x(c), length_, [&](const Real* x, Real* losses, Real* gradient) {
        if (!is_uniform || next - first > 1) {
          return Loops::column(factors_, x, length_, labels_, weight_buffer_, c, losses, gradient);
        }
        if (next == first) return Loops::negatives(factors, x, length_, losses, gradient);
        const auto positive = static_cast<std::int32_t>(positives_[first]);
        return Loops::row(factors, x, length_, positive, losses, gradient);
      });
    }
    return total;
  }

  // True if all locations weigh the same and none is ignored.
  bool load_weights() {
    const auto is_ordinary = [](std::int32_t label) { return label >= math::kBackground; };
    const auto is_first = [&](Real weight) { return weight == weights_[0]; };
    if (std::all_of(labels_, labels_ + length_, is_ordinary)) {
      if (weights_) {
        std::copy(weights_, weights_ + length_, weight_buffer_);
        return std::all_of(weights_, weights_ + length_, is_first);
      }
      std::fill(weight_buffer_, weight_buffer_ + length_, Real(1));
      return true;
    }
    for (std::int32_t i = 0; i < length_; ++i) weight_buffer_[i] = weight_of(i);
    return false;
  }

  // Locations sorted by class give each class its positives. Returns their number.
  std::int32_t sort_positives() {
    std::int32_t count = 0;
    for (std::int32_t i = 0; i < length_; ++i) {
      if (labels_[i] >= 0) positives_[count++] = (std::int64_t{labels_[i]} << 32) + i;
    }
    std::sort(positives_, positives_ + count);
    return count;
  }

  double dense_rows(const Origin<const Real, LevelView>& targets) {
    double total = 0;
    const std::int64_t longest = std::min(kChunk, num_classes_);
    for (std::int32_t i = 0; i < length_; ++i) {
      std::fill(weight_buffer_, weight_buffer_ + longest, weight_at(i));
      for (std::int64_t c = 0; c < num_classes_; c += kChunk) {
        const auto length = static_cast<std::int32_t>(std::min(kChunk, num_classes_ - c));
        total += dense_chunk(along_row(i, c), targets.along_row(i, c), length);
      }
    }
    return total;
  }

  double dense_columns(const Origin<const Real, LevelView>& targets) {
    for (std::int32_t i = 0; i < length_; ++i) weight_buffer_[i] = weight_at(i);
    double total = 0;
    for (std::int64_t c = 0; c < num_classes_; ++c) {
      prefetch_channel(c + 1);
      total += dense_chunk(along_x(c), targets.along_x(c), length_);
    }
    return total;
  }

  double dense_chunk(const Lines& lines, Line<const Real> targets, std::int32_t count) {
    const Real* const t = load(targets, count, target_buffer_);
    return chunk(lines, count, [&](const Real* x, Real* losses, Real* gradient) {
      return Loops::dense(factors_, x, count, t, weight_buffer_, losses, gradient);
    });
  }

  // loop(logits, where losses go or null, where the gradient goes), on arrays of the type of the
  // maths.
  template <class Loop>
  double chunk(const Lines& lines, std::int32_t count, const Loop& loop) {
    const Real* const x = load(lines.logits, count, logit_buffer_);
    Real* const losses = lines.losses.data ? writable(lines.losses, loss_buffer_) : nullptr;
    Real* const gradient = writable(lines.gradient, gradient_buffer_);
    const double sum = loop(x, losses, gradient);
    store(losses, count, lines.losses);
    store(gradient, count, lines.gradient);
    return sum;
  }

  static double fill_zero(std::int32_t count, Real* losses, Real* gradient) {
    if (losses) std::fill(losses, losses + count, Real(0));
    std::fill(gradient, gradient + count, Real(0));
    return 0;
  }

  FCOS_HD void prefetch_channel(std::int64_t c) const {
    if (c >= num_classes_) return;
    prefetch(logits_.along_x(c), length_);
    prefetch(gradient_.along_x(c), length_);
  }

  Real weight_at(std::int32_t i) const { return weights_ ? weights_[i] : Real(1); }
  Real weight_of(std::int32_t i) const {
    return labels_[i] == math::kInvalidLabel ? math::kNaN<Real> : weight_at(i);
  }
  FocalFactors<Real> weighted_factors(Real weight) const {
    return {factors_.positive * weight, factors_.negative * weight, factors_.gamma,
            factors_.gradient};
  }

  Lines along_row(std::int64_t i, std::int64_t c) const {
    return {logits_.along_row(i, c), losses_.along_row(i, c), gradient_.along_row(i, c)};
  }
  Lines along_x(std::int64_t c) const {
    return {logits_.along_x(c), losses_.along_x(c), gradient_.along_x(c)};
  }

  const std::int64_t num_classes_;
  const std::int32_t length_;
  const bool has_rows_;
  const FocalFactors<Real> factors_;
  const Real* const weights_;
  const std::int32_t* labels_ = nullptr;
  const Origin<const T, LevelView> logits_;
  const Origin<Real, MutableLevelView> losses_;
  const Origin<G, MutableLevelView> gradient_;
  std::int64_t positives_[kClassRun];  // class * 2^32 + location
  alignas(64) Real logit_buffer_[kChunk], target_buffer_[kChunk], weight_buffer_[kChunk];
  alignas(64) Real loss_buffer_[kChunk], gradient_buffer_[kChunk];
};

// body(ClassLoss of the run's types).
template <class Real, class Body>
double with_types(const ClassRun& run, const FocalFactors<Real>& factors, const Real* weights,
                  const Body& body) {
  return math::dispatch(math::ComputedAs<Real>{}, run.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    if (run.gradient_dtype != run.dtype) {
      return body(ClassLoss<T, Real>(run, factors, weights));
    }
    return body(ClassLoss<T, T>(run, factors, weights));
  });
}

}  // namespace

template <class Real>
double class_loss(const ClassRun& run, const FocalFactors<Real>& factors,
                  const std::int32_t* labels, const Real* weights) {
  return with_types(run, factors, weights, [&](auto&& loss) { return loss.sparse(labels); });
}

template <class Real>
double dense_class_loss(const ClassRun& run, const FocalFactors<Real>& factors,
                        const LevelView& targets, const Real* weights) {
  return with_types(run, factors, weights,
                    [&](auto&& loss) { return loss.dense({targets, run.run}); });
}

template double class_loss(const ClassRun&, const FocalFactors<float>&, const std::int32_t*,
                           const float*);
template double class_loss(const ClassRun&, const FocalFactors<double>&, const std::int32_t*,
                           const double*);
template double dense_class_loss(const ClassRun&, const FocalFactors<float>&, const LevelView&,
                                 const float*);
template double dense_class_loss(const ClassRun&, const FocalFactors<double>&, const LevelView&,
                                 const double*);

}  // namespace fcos_ops::cpu::focal
