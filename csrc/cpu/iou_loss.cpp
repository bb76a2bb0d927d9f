// IoU losses on a CPU. See include/fcos_ops/iou_loss.h for what they compute.
//
// Threads take blocks of up to 256 boxes, transposed into one array a coordinate, so that the loop
// over the boxes of a block vectorises whatever the types and strides.
#include "fcos_ops/iou_loss.h"

#include <algorithm>

#include "cpu/boxes.h"
#include "cpu/ops.h"
#include "cpu/parallel.h"
#include "math/dtypes.h"
#include "math/iou.h"

namespace fcos_ops::cpu {
namespace {

// Up to this many blocks, their sums need no workspace: asking for one would cost small calls more
// than the boxes do.
constexpr std::int64_t kBlocksWithoutWorkspace = 64;

// What multiplies the loss of every pair, and then the gradient alone.
template <class Real>
struct Factors {
  Real loss, gradient;
  Real sign, limit, eps;  // see math::iou_loss
};

template <IouKind kKind>
struct PairLoop {
  template <class Real>
  static FCOS_HD Real run(const BoxBlock<const Real>& pred, const BoxBlock<const Real>& target,
                          const Real* __restrict__ weights, std::int32_t count,
                          const Factors<Real>& factors, Real* __restrict__ losses,
                          const BoxBlock<Real>& gradient) {
    const auto [p0, p1, p2, p3] = pred.coordinate;
    const auto [t0, t1, t2, t3] = target.coordinate;
    const auto [g0, g1, g2, g3] = gradient.coordinate;
    const Factors<Real> f = factors;
    Real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int32_t i = 0; i < count; ++i) {
      const Real p[4] = {p0[i], p1[i], p2[i], p3[i]};
      const Real t[4] = {t0[i], t1[i], t2[i], t3[i]};
      const auto pair = math::iou_loss<kKind>(p, t, f.sign, f.limit, f.eps);
      const Real factor = f.loss * weights[i];
      const Real loss = factor * pair.loss;
      sum += loss;
      losses[i] = loss;
      g0[i] = factor * f.gradient * pair.gradient[0];
      g1[i] = factor * f.gradient * pair.gradient[1];
      g2[i] = factor * f.gradient * pair.gradient[2];
      g3[i] = factor * f.gradient * pair.gradient[3];
    }
    return sum;
  }
};

// Calls body(std::integral_constant<IouKind, ...>).
template <class Body>
auto dispatch_kind(IouKind kind, const Body& body) {
  switch (kind) {
    case IouKind::kIou:
      return body(std::integral_constant<IouKind, IouKind::kIou>{});
    case IouKind::kLinearIou:
      return body(std::integral_constant<IouKind, IouKind::kLinearIou>{});
    case IouKind::kGiou:
      return body(std::integral_constant<IouKind, IouKind::kGiou>{});
    case IouKind::kDiou:
      return body(std::integral_constant<IouKind, IouKind::kDiou>{});
    default:
      return body(std::integral_constant<IouKind, IouKind::kCiou>{});
  }
}

// The sum of the losses of one block.
template <class Real>
double run_block(const IouLossArgs& args, const LocationRun& run, std::int64_t rows,
                 const Factors<Real>& factors) {
  BoxBuffer<Real> pred_buffer, target_buffer, gradient;
  alignas(64) Real loss_buffer[kBoxes], ones[kBoxes];
  const auto pred = load_boxes(args.pred[run.level], args.pred_dtype, run, pred_buffer);
  const auto target = load_boxes(args.target[run.level], args.target_dtype, run, target_buffer);
  const std::int64_t row = run.batch * rows + run.first_row;
  const Real* weights = ones;
  if (args.weight) {
    weights = static_cast<const Real*>(args.weight) + row;
  } else {
    std::fill(ones, ones + run.length, Real(1));
  }
  Real* losses = args.losses ? static_cast<Real*>(args.losses) + row : loss_buffer;
  const Real sum = dispatch_kind(args.kind, [&](auto kind) {
    return run_best<PairLoop<kind()>>(pred, target, weights, static_cast<std::int32_t>(run.length),
                                      factors, losses, gradient.block());
  });
  if (args.gradient) {
    store_boxes(gradient.block(), args.gradient[run.level], args.gradient_dtype, run);
  }
  return sum;
}

template <class Real>
Status run_iou_loss(const IouLossArgs& args, Workspace workspace, const Context& context) {
  const BoxRuns runs(args.pred, args.num_levels, args.batch);
  Factors<Real> factors;
  factors.loss = static_cast<Real>(math::normalized_scale(args.scale, args.normalizer));
  factors.gradient = args.gradient_scale ? *static_cast<const Real*>(args.gradient_scale) : Real(1);
  factors.sign = args.box_format == BoxFormat::kLtrb ? Real(-1) : Real(1);
  factors.limit = math::kCoordinateLimit<Real>;
  factors.eps = static_cast<Real>(args.eps);
  double sums_of_few[kBlocksWithoutWorkspace];
  auto* sums =
      runs.count() <= kBlocksWithoutWorkspace ? sums_of_few : static_cast<double*>(workspace.data);
  parallel_for(runs.count(), context.num_threads, [&](std::int64_t i) {
    sums[i] = run_block<Real>(args, runs[i], runs.rows(), factors);
  });
  if (args.loss_sum) {
    double total = 0;
    for (std::int64_t i = 0; i < runs.count(); ++i) total += sums[i];
    *static_cast<Real*>(args.loss_sum) = static_cast<Real>(total);
  }
  return {};
}

}  // namespace

std::size_t iou_loss_workspace_size(const IouLossArgs& args) {
  const std::int64_t count = BoxRuns(args.pred, args.num_levels, args.batch).count();
  return count <= kBlocksWithoutWorkspace ? 0 : static_cast<std::size_t>(count) * sizeof(double);
}

Status iou_loss(const IouLossArgs& args, Workspace workspace, const Context& context) {
  const bool is_double = args.pred_dtype == DType::kFloat64 || args.target_dtype == DType::kFloat64;
  if (is_double) return run_iou_loss<double>(args, workspace, context);
  return run_iou_loss<float>(args, workspace, context);
}

}  // namespace fcos_ops::cpu
