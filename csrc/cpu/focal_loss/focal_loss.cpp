// Sigmoid focal loss on a CPU. See include/fcos_ops/focal_loss.h for what it computes, and
// class_loss.h for the share of a thread.
#include "fcos_ops/focal_loss.h"

#include "common/dtypes.h"
#include "cpu/common/huge_pages.h"
#include "cpu/common/levels.h"
#include "cpu/common/sums.h"
#include "cpu/drivers.h"
#include "cpu/focal_loss/class_loss.h"
#include "math/labels.h"

namespace fcos_ops::cpu::focal {
namespace {

using Runs = LocationRuns<kClassRun>;

ClassRun class_run(const FocalLossArgs& args, const LocationRun& run) {
  const auto output = [&](const MutableLevelView* views) {
    return views ? views[run.level] : MutableLevelView{};
  };
  return {run,
          args.num_classes,
          args.logits[run.level],
          args.dtype,
          output(args.losses),
          output(args.gradient),
          args.gradient_dtype};
}

// The loss of a run, the first of whose rows among those of all images is `row`.
template <class Real>
double run_loss(const FocalLossArgs& args, const LocationRun& run, std::int64_t row,
                const FocalFactors<Real>& factors) {
  const Real* const weights = args.weight ? static_cast<const Real*>(args.weight) + row : nullptr;
  if (args.labels == nullptr) {
    return dense_class_loss(class_run(args, run), factors, args.targets[run.level], weights);
  }
  std::int32_t labels[kClassRun];
  math::dispatch(math::Integers{}, args.label_dtype, [&](auto type) {
    const auto* const values = type.array(args.labels) + row;
    for (std::int64_t i = 0; i < run.length; ++i) {
      labels[i] = math::checked_label(values[i], args.num_classes);
    }
  });
  return class_loss(class_run(args, run), factors, labels, weights);
}

template <class Real>
Status run_focal_loss(const FocalLossArgs& args, Workspace workspace, const Context& context) {
  const Runs runs(args.logits, args.num_levels, args.batch);
  const FocalFactors<Real> factors = focal_factors(
      math::normalized_scale<Real>(args.scale, args.normalizer), args.alpha, args.gamma,
      args.gradient_scale ? *static_cast<const Real*>(args.gradient_scale) : Real(1));
  sum_over_runs<Real>(
      runs, context.num_threads, static_cast<double*>(workspace.data), args.loss_sum,
      [&](const LocationRun& run, std::int64_t row) { return run_loss(args, run, row, factors); });
  return {};
}

}  // namespace
}  // namespace fcos_ops::cpu::focal

namespace fcos_ops::cpu {

std::size_t workspace_size(const FocalLossArgs& args, const Context&) {
  return static_cast<std::size_t>(focal::Runs(args.logits, args.num_levels, args.batch).count()) *
         sizeof(double);
}

Status run(const FocalLossArgs& args, Workspace workspace, const Context& context) {
  const auto advise = [&](const MutableLevelView* views, DType dtype) {
    advise_huge_pages(views, args.num_levels, args.batch, args.num_classes, dtype);
  };
  advise(args.losses, maths_of(args.dtype));
  advise(args.gradient, args.gradient_dtype);
  return args.dtype == DType::kFloat64 ? focal::run_focal_loss<double>(args, workspace, context)
                                       : focal::run_focal_loss<float>(args, workspace, context);
}

}  // namespace fcos_ops::cpu
