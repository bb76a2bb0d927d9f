// The whole FCOS loss on a CPU. See include/fcos_ops/fcos_loss.h for what it computes.
//
// Threads take runs of up to 512 neighbouring locations: of a whole level, where its rows follow
// one another in memory. One pass over a run's class logits gives their loss and gradient (see
// focal_loss/class_loss.h); its few positives are gathered, with targets recomputed from the
// matched boxes, and go through the loops of the IoU losses and of centerness.
#include "fcos_ops/fcos_loss.h"

#include <algorithm>
#include <iterator>

#include "common/dtypes.h"
#include "cpu/common/huge_pages.h"
#include "cpu/common/isa.h"
#include "cpu/common/levels.h"
#include "cpu/common/parallel.h"
#include "cpu/common/sums.h"
#include "cpu/drivers.h"
#include "cpu/focal_loss/class_loss.h"
#include "cpu/iou_loss/iou_loops.h"
#include "math/cross_entropy.h"
#include "math/expected_scale.h"
#include "math/labels.h"
#include "math/location_target.h"

namespace fcos_ops::cpu::fcos {
namespace {

using Runs = LocationRuns<focal::kClassRun>;

// A head's output and its gradient at one level; data is null where no gradient is wanted.
struct HeadViews {
  LevelView values;
  MutableLevelView gradient;
};

HeadViews head_views(const LevelView* values, const MutableLevelView* gradient,
                     std::int32_t level) {
  return {values[level], gradient ? gradient[level] : MutableLevelView{}};
}

template <class View>
void make_one_line(View& view) {
  view.width *= view.height;
  view.height = 1;
}

struct LevelHeads {
  explicit LevelHeads(const FcosLossArgs& args, std::int32_t level)
      : classes(head_views(args.class_logits, args.class_gradient, level)),
        ltrb(head_views(args.ltrb, args.ltrb_gradient, level)),
        centerness(head_views(args.centerness, args.centerness_gradient, level)) {
    const HeadViews* const heads[] = {&classes, &ltrb, &centerness};
    const bool lines = std::all_of(std::begin(heads), std::end(heads), [](const HeadViews* head) {
      return is_one_line(head->values) && (!head->gradient.data || is_one_line(head->gradient));
    });
    if (!lines) return;
    for (HeadViews* head : {&classes, &ltrb, &centerness}) {
      make_one_line(head->values);
      make_one_line(head->gradient);
    }
  }
  HeadViews classes, ltrb, centerness;
};

// The levels as runs are cut from them.
struct RunLevels {
  explicit RunLevels(const FcosLossArgs& args) : num_levels(args.num_levels) {
    for (std::int32_t i = 0; i < num_levels; ++i) views[i] = LevelHeads(args, i).classes.values;
  }
  std::int32_t num_levels;
  LevelView views[kMaxLevels];
};

struct Sums {
  double classes = 0, ltrb = 0, centerness = 0;
};

// The factors of losses and gradients, by the normalizers of an image.
template <class Real>
struct Scales {
  Scales(const FcosLossArgs& args, std::int64_t image) {
    const bool per_image = args.loss.normalizer == LossNormalizer::kPerImage;
    const auto* const numbers =
        static_cast<const Real*>(args.normalizers) + (per_image ? 2 * image : 0);
    constexpr DType dtype = math::kDTypeOf<Real>;
    const double mean = per_image ? 1.0 / static_cast<double>(args.batch) : 1.0;
    positives = math::normalized_scale<Real>(mean, {numbers, dtype, 1.0});
    ltrb = args.loss.box_weight == BoxWeight::kUniform
               ? positives
               : math::normalized_scale<Real>(mean, {numbers + 1, dtype, 1e-6});
  }
  double positives, ltrb;
};

template <class Real>
Real expected_scale(const FcosLossArgs& args) {
  return math::expected_scale(static_cast<Real>(args.expected_factor),
                              static_cast<const Real*>(args.expected_scale));
}

template <class Real>
Real gradient_scale(const FcosLossArgs& args, const void* scale) {
  return scale ? *static_cast<const Real*>(scale) : expected_scale<Real>(args);
}

// Cross entropy of the positives.
struct CenterLoop {
  template <class Real>
  static FCOS_HD int run(const Real* __restrict__ logits, const Real* __restrict__ targets,
                         std::int32_t count, Real factor, Real upstream, Real* __restrict__ losses,
                         Real* __restrict__ gradient) {
#pragma omp simd
    for (std::int32_t i = 0; i < count; ++i) {
      const auto loss_and_grad = math::binary_cross_entropy(logits[i], targets[i]);
      losses[i] = factor * loss_and_grad.loss;
      gradient[i] = factor * upstream * loss_and_grad.gradient;
    }
    return 0;
  }
};

// Zeros to all channels of the locations of a run.
void fill_zero(const MutableLevelView& view, DType dtype, const LocationRun& run,
               std::int64_t channels) {
  math::dispatch(math::Floating{}, dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    T* const first = element<T>(view, run.batch, run.y, run.x);
    if (view.stride_channel == 1 && view.stride_x == channels) {
      std::fill_n(first, run.length * channels, T{});
      return;
    }
    for (std::int64_t c = 0; c < channels; ++c) {
      T* const line = first + c * view.stride_channel;
      if (view.stride_x == 1) {
        std::fill_n(line, run.length, T{});
      } else {
        for (std::int64_t i = 0; i < run.length; ++i) line[i * view.stride_x] = T{};
      }
    }
  });
}

template <class Real>
class FcosRun {
 public:
  FcosRun(const FcosLossArgs& args, const LocationRun& run, std::int64_t rows)
      : args_(args),
        run_(run),
        heads_(args, run.level),
        scales_(args, run.batch),
        matched_(args.matched + run.batch * rows + run.first_row) {}

  Sums sums() {
    find_positives();
    Sums sums;
    if (args_.class_loss || args_.class_gradient) sums.classes = classes();
    if (args_.ltrb_gradient) fill_zero(heads_.ltrb.gradient, args_.ltrb_dtype, run_, 4);
    if (args_.centerness_gradient) {
      fill_zero(heads_.centerness.gradient, args_.centerness_dtype, run_, 1);
    }
    for (first_ = 0; first_ < num_positives_; first_ += kBoxes) {
      count_ = std::min<std::int32_t>(kBoxes, num_positives_ - first_);
      make_targets();
      if (args_.ltrb_loss || args_.ltrb_gradient) sums.ltrb += boxes();
      if (args_.centerness_loss || args_.centerness_gradient) sums.centerness += centers();
    }
    return sums;
  }

 private:
  void find_positives() {
    for (std::int32_t i = 0; i < run_.length; ++i) {
      labels_[i] = math::kBackground;
      if (matched_[i] < 0 || matched_[i] >= args_.num_boxes) continue;
      const std::int64_t label = math::read_integer(args_.labels, args_.label_dtype, matched_[i]);
      labels_[i] = math::checked_label(label, args_.num_classes);
      // A label beyond the classes makes its row of classes NaN, but has a box all the same.
      if (label >= 0) positives_[num_positives_++] = i;
    }
  }

  double classes() {
    const focal::ClassRun run = {
        run_, args_.num_classes,       heads_.classes.values, args_.class_dtype,
        {},   heads_.classes.gradient, args_.class_dtype};
    const auto factors =
        focal::focal_factors(scales_.positives, args_.loss.alpha, args_.loss.gamma,
                             gradient_scale<Real>(args_, args_.class_gradient_scale));
    return focal::class_loss<Real>(run, factors, labels_, nullptr);
  }

  // The targets of a block of positives, rounded as assign_targets rounds them.
  void make_targets() {
    for (std::int32_t i = 0; i < count_; ++i) {
      const std::int32_t at = positives_[first_ + i];
      if (args_.box_dtype == DType::kFloat64) {
        make_target<double>(i, at);
      } else {
        make_target<float>(i, at);
      }
    }
  }

  template <class BoxReal>
  void make_target(std::int32_t i, std::int32_t at) {
    const AssignmentLevel& level = args_.levels[run_.level];
    const std::int64_t cell = run_.y * heads_.classes.values.width + run_.x + at;
    const std::int64_t box = 4 * std::int64_t{matched_[at]};
    const auto corner = [&](std::int64_t c) {
      return math::read_real<BoxReal>(args_.boxes, args_.box_dtype, box + c);
    };
    const auto [s, centerness] = math::location_target<BoxReal>(
        cell % level.width, cell / level.width, args_.location_offset, level,
        {corner(0), corner(1), corner(2), corner(3)}, args_.normalize_ltrb);
    target_.storage[0][i] = static_cast<Real>(s.left);
    target_.storage[1][i] = static_cast<Real>(s.top);
    target_.storage[2][i] = static_cast<Real>(s.right);
    target_.storage[3][i] = static_cast<Real>(s.bottom);
    center_target_[i] = static_cast<Real>(centerness);
  }

  double boxes() {
    const LevelView& view = heads_.ltrb.values;
    for (std::int32_t i = 0; i < count_; ++i) {
      for (std::int32_t c = 0; c < 4; ++c) {
        pred_.storage[c][i] =
            math::read_real<Real>(view.data, args_.ltrb_dtype, offset(view, i, c));
      }
    }
    if (args_.loss.box_weight == BoxWeight::kUniform) std::fill(ones_, ones_ + count_, Real(1));
    const Real* const weights =
        args_.loss.box_weight == BoxWeight::kUniform ? ones_ : center_target_;
    const iou::IouFactors<Real> factors = {static_cast<Real>(scales_.ltrb),
                                           gradient_scale<Real>(args_, args_.ltrb_gradient_scale),
                                           static_cast<Real>(args_.loss.eps)};
    const double sum = iou::iou_pairs<Real>(args_.loss.box_loss, BoxFormat::kLtrb,
                                            {pred_.block().constant(), target_.block().constant(),
                                             weights, count_, factors, losses_, grads_.block()});
    if (args_.ltrb_gradient) {
      for (std::int32_t c = 0; c < 4; ++c) {
        write(heads_.ltrb.gradient, args_.ltrb_dtype, c, grads_.storage[c]);
      }
    }
    return sum;
  }

  double centers() {
    const LevelView& view = heads_.centerness.values;
    Real* const logits = pred_.storage[0];
    Real* const grads = grads_.storage[0];
    for (std::int32_t i = 0; i < count_; ++i) {
      logits[i] = math::read_real<Real>(view.data, args_.centerness_dtype, offset(view, i, 0));
    }
    Real* const losses = losses_;
    run_best<CenterLoop>(static_cast<const Real*>(logits), static_cast<const Real*>(center_target_),
                         count_, static_cast<Real>(scales_.positives),
                         gradient_scale<Real>(args_, args_.centerness_gradient_scale), losses,
                         grads);
    if (args_.centerness_gradient) {
      write(heads_.centerness.gradient, args_.centerness_dtype, 0, grads);
    }
    return sum_of(losses_, count_);
  }

  void write(const MutableLevelView& view, DType dtype, std::int64_t channel,
             const Real* values) const {
    for (std::int32_t i = 0; i < count_; ++i) {
      math::write_real<Real>(values[i], view.data, dtype, offset(view, i, channel));
    }
  }

  // The offset, in elements, of a channel of positive i of the block.
  template <class View>
  std::int64_t offset(const View& view, std::int32_t i, std::int64_t channel) const {
    return run_.batch * view.stride_batch + run_.y * view.stride_y +
           (run_.x + positives_[first_ + i]) * view.stride_x + channel * view.stride_channel;
  }

  const FcosLossArgs& args_;
  const LocationRun run_;
  const LevelHeads heads_;
  const Scales<Real> scales_;
  const std::int32_t* const matched_;  // of the run's locations
  std::int32_t labels_[focal::kClassRun], positives_[focal::kClassRun];
  std::int32_t num_positives_ = 0, first_ = 0, count_ = 0;  // all, and the block's
  BoxBuffer<Real> pred_, target_, grads_;
  alignas(64) Real center_target_[kBoxes], ones_[kBoxes], losses_[kBoxes];
};

template <class Real>
void write_loss(double sum, void* loss) {
  if (loss) *static_cast<Real*>(loss) = static_cast<Real>(sum);
}

// `args` without the gradients whose scale is the expected one.
template <class Real>
FcosLossArgs unexpected_part(FcosLossArgs args) {
  const Real expected = expected_scale<Real>(args);
  const auto keep_unexpected = [&](const MutableLevelView*& gradient, const void* scale) {
    if (gradient_scale<Real>(args, scale) == expected) gradient = nullptr;
  };
  keep_unexpected(args.class_gradient, args.class_gradient_scale);
  keep_unexpected(args.ltrb_gradient, args.ltrb_gradient_scale);
  keep_unexpected(args.centerness_gradient, args.centerness_gradient_scale);
  return args;
}

template <class Real>
Status run_fcos_loss(const FcosLossArgs& all, Workspace workspace, const Context& context) {
  const FcosLossArgs args = all.only_unexpected ? unexpected_part<Real>(all) : all;
  const bool has_gradient = args.class_gradient || args.ltrb_gradient || args.centerness_gradient;
  if (args.only_unexpected && !has_gradient) return {};
  const RunLevels levels(args);
  const Runs runs(levels.views, args.num_levels, args.batch);
  auto* const partials = static_cast<Sums*>(workspace.data);
  parallel_for(runs.count(), context.num_threads, [&](std::int64_t i) {
    partials[i] = FcosRun<Real>(args, runs[i], runs.rows()).sums();
  });
  Sums total;
  for (std::int64_t i = 0; i < runs.count(); ++i) {
    total.classes += partials[i].classes;
    total.ltrb += partials[i].ltrb;
    total.centerness += partials[i].centerness;
  }
  write_loss<Real>(total.classes, args.class_loss);
  write_loss<Real>(total.ltrb, args.ltrb_loss);
  write_loss<Real>(total.centerness, args.centerness_loss);
  return {};
}

}  // namespace
}  // namespace fcos_ops::cpu::fcos

namespace fcos_ops::cpu {

std::size_t workspace_size(const FcosLossArgs& args, const Context&) {
  // Enough whether or not the gradients, which a query need not name, let rows be joined.
  const fcos::Runs runs(args.class_logits, args.num_levels, args.batch);
  return static_cast<std::size_t>(runs.count()) * sizeof(fcos::Sums);
}

Status run(const FcosLossArgs& args, Workspace workspace, const Context& context) {
  if (!args.only_unexpected) {  // else the gradients are there
    advise_huge_pages(args.class_gradient, args.num_levels, args.batch, args.num_classes,
                      args.class_dtype);
    advise_huge_pages(args.ltrb_gradient, args.num_levels, args.batch, 4, args.ltrb_dtype);
  }
  return args.class_dtype == DType::kFloat64 ? fcos::run_fcos_loss<double>(args, workspace, context)
                                             : fcos::run_fcos_loss<float>(args, workspace, context);
}

}  // namespace fcos_ops::cpu
