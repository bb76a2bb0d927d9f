// Sigmoid focal loss on a CPU. See include/fcos_ops/focal_loss.h for what it computes.
//
// Threads take runs of up to 256 neighbouring locations. Inside a run, chunks of up to 1024 logits
// that lie along the class axis (or, where locations are the contiguous axis as in NCHW, along x)
// go through a loop that the compiler vectorises. float32 data is read and written in place; other
// types and strides pass through a buffer in the first-level cache.
#include "fcos_ops/focal_loss.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "common/dtypes.h"
#include "cpu/common/huge_pages.h"
#include "cpu/common/levels.h"
#include "cpu/common/lines.h"
#include "cpu/common/parallel.h"
#include "cpu/drivers.h"
#include "cpu/focal_loss/focal_loops.h"
#include "math/focal.h"
#include "math/labels.h"

namespace fcos_ops::cpu::focal {
namespace {

constexpr std::int64_t kRunLength = 256;
constexpr std::int64_t kChunk = 1024;

using Runs = LocationRuns<kRunLength>;

// Chunk-sized scratch memory, and where a chunk's results go.
template <class Real>
struct Buffers {
  alignas(64) Real logits[kChunk], targets[kChunk], losses[kChunk], gradient[kChunk];
  alignas(64) Real weights[kChunk];
  std::int32_t labels[kRunLength], classes[kRunLength];
};

// The logits' type T, the gradient's type G.
template <class T, class G>
class FocalRun {
  using Real = math::Real<T>;

 public:
  FocalRun(const FocalLossArgs& args, const LocationRun& run, std::int64_t rows_per_image)
      : args_(args), run_(run), row_(run.batch * rows_per_image + run.first_row) {
    const double scale = math::normalized_scale<Real>(args.scale, args.normalizer);
    const math::AlphaWeights alpha = math::alpha_weights(args.alpha);
    factors_.positive = static_cast<Real>(scale * alpha.positive);
    factors_.negative = static_cast<Real>(scale * alpha.negative);
    factors_.gamma = static_cast<Real>(args.gamma);
    factors_.gradient =
        args.gradient_scale ? *static_cast<const Real*>(args.gradient_scale) : Real(1);
  }

  double sum() {
    const LevelView& view = args_.logits[run_.level];
    const bool rows =
        args_.num_classes >= 8 && std::abs(view.stride_channel) <= std::abs(view.stride_x);
    if (args_.labels == nullptr) return rows ? dense_rows() : dense_columns();
    return rows ? sparse_rows() : sparse_columns();
  }

 private:
  double sparse_rows() {
    double total = 0;
    for (std::int64_t i = 0; i < run_.length;) {
      const std::int32_t label = label_at(i);
      const std::int64_t merged = label == math::kBackground ? background_rows_from(i) : 1;
      total += sparse_row(i, label, merged * args_.num_classes);
      i += merged;
    }
    return total;
  }

  // The number of background rows from `first` on that form one contiguous, equally weighted line.
  std::int64_t background_rows_from(std::int64_t first) const {
    const std::int64_t limit = std::min(run_.length - first, kChunk / args_.num_classes);
    std::int64_t rows = 1;
    if (!rows_are_contiguous()) return rows;
    while (rows < limit && label_at(first + rows) == math::kBackground &&
           weight_at(first + rows) == weight_at(first)) {
      ++rows;
    }
    return rows;
  }

  double sparse_row(std::int64_t i, std::int32_t label, std::int64_t count) {
    const Real weight = weight_of(i, label);
    const FocalFactors<Real> factors = {factors_.positive * weight, factors_.negative * weight,
                                        factors_.gamma, factors_.gradient};
    double total = 0;
    for (std::int64_t first = 0; first < count; first += kChunk) {
      const auto length = static_cast<std::int32_t>(std::min(kChunk, count - first));
      total += chunk(logits_along_row(i).from(first), losses_along_row(i).from(first),
                     gradient_along_row(i).from(first), length,
                     [&](const Real* x, Real* losses, Real* gradient) {
                       if (label == math::kIgnored) return fill_zero(length, losses, gradient);
                       if (label < first || label >= first + length) {
                         return focal_negatives(factors, x, length, losses, gradient);
                       }
                       const auto positive = static_cast<std::int32_t>(label - first);
                       return focal_row(factors, x, length, positive, losses, gradient);
                     });
    }
    return total;
  }

  double sparse_columns() {
    const auto length = static_cast<std::int32_t>(run_.length);
    const bool uniform = load_labels();
    const FocalFactors<Real> factors = {factors_.positive * buffers_.weights[0],
                                        factors_.negative * buffers_.weights[0], factors_.gamma,
                                        factors_.gradient};
    double total = 0;
    for (std::int64_t c = 0; c < args_.num_classes; ++c) {
      prefetch_channel(c + 1);
      const bool negative = uniform && !is_labelled(c);
      total +=
          chunk(logits_along_x(c), losses_along_x(c), gradient_along_x(c), length,
                [&](const Real* x, Real* losses, Real* gradient) {
                  if (negative) {
                    return focal_negatives(factors, x, length, losses, gradient);
                  }
                  return focal_column<Real>(factors_, x, length, buffers_.labels, buffers_.weights,
                                            static_cast<std::int32_t>(c), losses, gradient);
                });
    }
    return total;
  }

  // Fills the labels, weights and classes of the run. True if all locations weigh the same and none
  // is ignored.
  bool load_labels() {
    bool uniform = true;
    num_labelled_ = 0;
    for (std::int64_t i = 0; i < run_.length; ++i) {
      const std::int32_t label = label_at(i);
      buffers_.labels[i] = label;
      buffers_.weights[i] = weight_of(i, label);
      uniform = uniform && label != math::kIgnored && buffers_.weights[i] == buffers_.weights[0];
      if (label >= 0) buffers_.classes[num_labelled_++] = label;
    }
    return uniform;
  }

  FCOS_HD void prefetch_channel(std::int64_t c) const {
    if (c >= args_.num_classes) return;
    const auto length = static_cast<std::int32_t>(run_.length);
    prefetch(logits_along_x(c), length);
    prefetch(gradient_along_x(c), length);
  }

  bool is_labelled(std::int64_t channel) const {
    const std::int32_t* end = buffers_.classes + num_labelled_;
    return std::find(buffers_.classes, end, channel) != end;
  }

  double dense_rows() {
    double total = 0;
    for (std::int64_t i = 0; i < run_.length; ++i) {
      std::fill(buffers_.weights, buffers_.weights + kChunk, weight_at(i));
      for (std::int64_t first = 0; first < args_.num_classes; first += kChunk) {
        total += dense_chunk(logits_along_row(i).from(first), targets_along_row(i).from(first),
                             losses_along_row(i).from(first), gradient_along_row(i).from(first),
                             std::min(kChunk, args_.num_classes - first));
      }
    }
    return total;
  }

  double dense_columns() {
    for (std::int64_t i = 0; i < run_.length; ++i) buffers_.weights[i] = weight_at(i);
    double total = 0;
    for (std::int64_t c = 0; c < args_.num_classes; ++c) {
      prefetch_channel(c + 1);
      total += dense_chunk(logits_along_x(c), targets_along_x(c), losses_along_x(c),
                           gradient_along_x(c), run_.length);
    }
    return total;
  }

  double dense_chunk(Line<const T> logits, Line<const Real> targets, Line<Real> losses,
                     Line<G> gradient, std::int64_t count) {
    const auto length = static_cast<std::int32_t>(count);
    const Real* t = load(targets, length, buffers_.targets);
    return chunk(logits, losses, gradient, length, [&](const Real* x, Real* loss, Real* grad) {
      return focal_dense<Real>(factors_, x, length, t, buffers_.weights, loss, grad);
    });
  }

  template <class Loop>
  double chunk(Line<const T> logits, Line<Real> losses, Line<G> gradient, std::int32_t count,
               const Loop& loop) {
    const Real* x = load(logits, count, buffers_.logits);
    Real* loss_values = losses.data ? writable(losses, buffers_.losses) : nullptr;
    Real* gradient_values = writable(gradient, buffers_.gradient);
    const double sum = loop(x, loss_values, gradient_values);
    store(loss_values, count, losses);
    store(gradient_values, count, gradient);
    return sum;
  }

  static double fill_zero(std::int32_t count, Real* losses, Real* gradient) {
    if (losses) std::fill(losses, losses + count, Real(0));
    std::fill(gradient, gradient + count, Real(0));
    return 0;
  }

  std::int32_t label_at(std::int64_t i) const {
    return math::checked_label(math::read_integer(args_.labels, args_.label_dtype, row_ + i),
                               args_.num_classes);
  }
  Real weight_at(std::int64_t i) const {
    return args_.weight ? static_cast<const Real*>(args_.weight)[row_ + i] : Real(1);
  }
  Real weight_of(std::int64_t i, std::int32_t label) const {
    return label == math::kInvalidLabel ? math::kNaN<Real> : weight_at(i);
  }

  bool rows_are_contiguous() const {
    const auto contiguous = [&](const auto* views) {
      return views == nullptr || (views[run_.level].stride_channel == 1 &&
                                  views[run_.level].stride_x == args_.num_classes);
    };
    return contiguous(args_.logits) && contiguous(args_.losses) && contiguous(args_.gradient);
  }

  // The entries of location i along the class axis, and those of channel c along x.
  template <class E, class Views>
  Line<E> along_row(const Views* views, std::int64_t i) const {
    if (views == nullptr) return {nullptr, 1};
    const auto& view = views[run_.level];
    return {element<std::remove_const_t<E>>(view, run_.batch, run_.y, run_.x + i),
            view.stride_channel};
  }
  template <class E, class Views>
  Line<E> along_x(const Views* views, std::int64_t c) const {
    if (views == nullptr) return {nullptr, 1};
    const auto& view = views[run_.level];
    return {
        element<std::remove_const_t<E>>(view, run_.batch, run_.y, run_.x) + c * view.stride_channel,
        view.stride_x};
  }
  Line<const T> logits_along_row(std::int64_t i) const {
    return along_row<const T>(args_.logits, i);
  }
  Line<const T> logits_along_x(std::int64_t c) const { return along_x<const T>(args_.logits, c); }
  Line<const Real> targets_along_row(std::int64_t i) const {
    return along_row<const Real>(args_.targets, i);
  }
  Line<const Real> targets_along_x(std::int64_t c) const {
    return along_x<const Real>(args_.targets, c);
  }
  Line<Real> losses_along_row(std::int64_t i) const { return along_row<Real>(args_.losses, i); }
  Line<Real> losses_along_x(std::int64_t c) const { return along_x<Real>(args_.losses, c); }
  Line<G> gradient_along_row(std::int64_t i) const { return along_row<G>(args_.gradient, i); }
  Line<G> gradient_along_x(std::int64_t c) const { return along_x<G>(args_.gradient, c); }

  const FocalLossArgs& args_;
  const LocationRun run_;
  const std::int64_t row_;  // of the run among the rows of all images
  FocalFactors<Real> factors_;
  Buffers<Real> buffers_;
  std::int64_t num_labelled_ = 0;  // of buffers_.classes
};

template <class T, class G>
Status run_focal_loss(const FocalLossArgs& args, Workspace workspace, const Context& context) {
  const Runs runs(args.logits, args.num_levels, args.batch);
  auto* partials = static_cast<double*>(workspace.data);
  parallel_for(runs.count(), context.num_threads, [&](std::int64_t i) {
    partials[i] = FocalRun<T, G>(args, runs[i], runs.rows()).sum();
  });
  if (args.loss_sum) {
    double total = 0;
    for (std::int64_t i = 0; i < runs.count(); ++i) total += partials[i];
    *static_cast<math::Real<T>*>(args.loss_sum) = static_cast<math::Real<T>>(total);
  }
  return {};
}

}  // namespace
}  // namespace fcos_ops::cpu::focal

namespace fcos_ops::cpu {

std::size_t sigmoid_focal_loss_workspace_size(const FocalLossArgs& args, const Context&) {
  return static_cast<std::size_t>(focal::Runs(args.logits, args.num_levels, args.batch).count()) *
         sizeof(double);
}

Status sigmoid_focal_loss(const FocalLossArgs& args, Workspace workspace, const Context& context) {
  const auto advise = [&](const MutableLevelView* views, DType dtype) {
    advise_huge_pages(views, args.num_levels, args.batch, args.num_classes, dtype);
  };
  advise(args.losses, maths_of(args.dtype));
  advise(args.gradient, args.gradient_dtype);
  return math::dispatch(math::Floating{}, args.dtype, [&](auto t) {
    using T = typename decltype(t)::type;
    if (args.gradient_dtype == args.dtype) {
      return focal::run_focal_loss<T, T>(args, workspace, context);
    }
    return focal::run_focal_loss<T, math::Real<T>>(args, workspace, context);
  });
}

}  // namespace fcos_ops::cpu
