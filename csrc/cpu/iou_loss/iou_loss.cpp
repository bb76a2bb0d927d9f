// IoU losses on a CPU. See include/fcos_ops/iou_loss.h for what they compute.
//
// Threads take blocks of up to 256 boxes, transposed into one array a coordinate, so that the loop
// over the boxes of a block vectorises whatever the types and strides.
#include "fcos_ops/iou_loss.h"

#include <algorithm>

#include "common/dtypes.h"
#include "cpu/common/boxes.h"
#include "cpu/common/huge_pages.h"
#include "cpu/common/sums.h"
#include "cpu/drivers.h"
#include "cpu/iou_loss/iou_loops.h"

namespace fcos_ops::cpu::iou {
namespace {

// Up to this many blocks, their sums need no workspace: asking for one would cost small calls more
// than the boxes do.
constexpr std::int64_t kBlocksWithoutWorkspace = 64;

// The sum of the losses of one block, whose first row among those of all images is `row`.
template <class Real>
double run_block(const IouLossArgs& args, const LocationRun& run, std::int64_t row,
                 const IouFactors<Real>& factors) {
  BoxBuffer<Real> pred_buffer, target_buffer, gradient;
  alignas(64) Real loss_buffer[kBoxes], ones[kBoxes];
  const auto pred = load_boxes(args.pred[run.level], args.pred_dtype, run, pred_buffer);
  const auto target = load_boxes(args.target[run.level], args.target_dtype, run, target_buffer);
  const auto count = static_cast<std::int32_t>(run.length);
  const Real* weights = ones;
  if (args.weight) {
    weights = static_cast<const Real*>(args.weight) + row;
  } else {
    std::fill(ones, ones + count, Real(1));
  }
  Real* losses = args.losses ? static_cast<Real*>(args.losses) + row : loss_buffer;
  const Pairs<Real> pairs = {pred, target, weights, count, factors, losses, gradient.block()};
  const double sum = iou_pairs(args.kind, args.box_format, pairs);
  if (args.gradient) {
    store_boxes(gradient.block(), args.gradient[run.level], args.gradient_dtype, run);
  }
  return sum;
}

template <class Real>
Status run_iou_loss(const IouLossArgs& args, Workspace workspace, const Context& context) {
  const BoxRuns runs(args.pred, args.num_levels, args.batch);
  IouFactors<Real> factors;
  factors.loss = static_cast<Real>(math::normalized_scale<Real>(args.scale, args.normalizer));
  factors.gradient = args.gradient_scale ? *static_cast<const Real*>(args.gradient_scale) : Real(1);
  factors.eps = static_cast<Real>(args.eps);
  double sums_of_few[kBlocksWithoutWorkspace];
  auto* sums =
      runs.count() <= kBlocksWithoutWorkspace ? sums_of_few : static_cast<double*>(workspace.data);
  sum_over_runs<Real>(runs, context.num_threads, sums, args.loss_sum,
                      [&](const LocationRun& run, std::int64_t row) {
                        return run_block<Real>(args, run, row, factors);
                      });
  return {};
}

}  // namespace
}  // namespace fcos_ops::cpu::iou

namespace fcos_ops::cpu {

std::size_t workspace_size(const IouLossArgs& args, const Context&) {
  const std::int64_t count = BoxRuns(args.pred, args.num_levels, args.batch).count();
  return count <= iou::kBlocksWithoutWorkspace ? 0
                                               : static_cast<std::size_t>(count) * sizeof(double);
}

Status run(const IouLossArgs& args, Workspace workspace, const Context& context) {
  advise_huge_pages(args.gradient, args.num_levels, args.batch, 4, args.gradient_dtype);
  const bool is_double = args.pred_dtype == DType::kFloat64 || args.target_dtype == DType::kFloat64;
  if (is_double) return iou::run_iou_loss<double>(args, workspace, context);
  return iou::run_iou_loss<float>(args, workspace, context);
}

}  // namespace fcos_ops::cpu
