// Centerness target and loss on a CPU. See include/fcos_ops/centerness.h for what they compute.
//
// Threads take runs of up to 512 neighbouring locations. Few locations count, but a loop over all
// of them vectorises, and costs less than finding those few.
#include "fcos_ops/centerness.h"

#include <algorithm>

#include "common/dtypes.h"
#include "cpu/common/isa.h"
#include "cpu/common/levels.h"
#include "cpu/common/lines.h"
#include "cpu/common/parallel.h"
#include "cpu/common/sums.h"
#include "cpu/drivers.h"
#include "math/centerness.h"
#include "math/cross_entropy.h"

namespace fcos_ops::cpu {
namespace {

constexpr std::int64_t kRunLength = 512;
using Runs = LocationRuns<kRunLength>;

struct TargetLoop {
  template <class T>
  static FCOS_HD int run(const T* __restrict__ ltrb, std::int64_t location, std::int64_t channel,
                         std::int32_t count, math::Real<T>* __restrict__ target) {
    for (std::int32_t i = 0; i < count; ++i) {
      const T* const sides = ltrb + i * location;
      target[i] =
          math::centerness(math::to_real(sides[0]), math::to_real(sides[channel]),
                           math::to_real(sides[2 * channel]), math::to_real(sides[3 * channel]));
    }
    return 0;
  }
};

template <class T>
Status run_target(const CenternessTargetArgs& args, const Context& context) {
  const Runs runs(args.ltrb, args.num_levels, args.batch);
  parallel_for(runs.count(), context.num_threads, [&](std::int64_t i) {
    const LocationRun run = runs[i];
    const LevelView& view = args.ltrb[run.level];
    auto* const target = static_cast<math::Real<T>*>(args.target);
    run_best<TargetLoop>(element<T>(view, run.batch, run.y, run.x), view.stride_x,
                         view.stride_channel, static_cast<std::int32_t>(run.length),
                         target + run.batch * runs.rows() + run.first_row);
  });
  return {};
}

template <class Real>
struct Factors {
  Real loss, gradient;
};

struct LossLoop {
  template <class Real>
  static FCOS_HD int run(const Real* __restrict__ logits, const Real* __restrict__ target,
                         const std::uint8_t* __restrict__ counts, std::int32_t count,
                         const Factors<Real>& factors, Real* __restrict__ losses,
                         Real* __restrict__ gradient) {
#pragma omp simd
    for (std::int32_t i = 0; i < count; ++i) {
      const auto loss_and_grad = math::binary_cross_entropy(logits[i], target[i]);
      const bool counted = counts[i] != 0;
      losses[i] = counted ? factors.loss * loss_and_grad.loss : Real(0);
      gradient[i] = counted ? factors.gradient * loss_and_grad.gradient : Real(0);
    }
    return 0;
  }
};

// Sets a byte for each of `count` rows from `first` on: 1 where the row counts.
void select(const CenternessLossArgs& args, std::int64_t first, std::int64_t count,
            std::uint8_t* counts) {
  if (args.selection == nullptr) {
    std::fill(counts, counts + count, std::uint8_t{1});
    return;
  }
  math::dispatch(math::Selections{}, args.selection_dtype, [&](auto type) {
    const auto* const values = type.array(args.selection) + first;
    for (std::int64_t i = 0; i < count; ++i) counts[i] = math::is_selected(values[i]);
  });
}

// The loss of one run: the logits' type T, the gradient's type G.
template <class T, class G>
double run_loss(const CenternessLossArgs& args, const LocationRun& run, std::int64_t first,
                const Factors<math::Real<T>>& factors) {
  using Real = math::Real<T>;
  alignas(64) Real logits[kRunLength], losses[kRunLength], grads[kRunLength];
  alignas(64) std::uint8_t counts[kRunLength];
  const auto count = static_cast<std::int32_t>(run.length);
  const LevelView& view = args.logits[run.level];
  const Line<const T> line = {element<T>(view, run.batch, run.y, run.x), view.stride_x};
  Line<Real> loss_line = {nullptr, 1};
  if (args.losses) loss_line.data = static_cast<Real*>(args.losses) + first;
  Line<G> gradient_line = {nullptr, 1};
  if (args.gradient) {
    const MutableLevelView& gradient = args.gradient[run.level];
    gradient_line = {element<G>(gradient, run.batch, run.y, run.x), gradient.stride_x};
  }
  select(args, first, run.length, counts);
  Real* const loss_values = writable(loss_line, losses);
  Real* const gradient_values = writable(gradient_line, grads);
  run_best<LossLoop>(load(line, count, logits), static_cast<const Real*>(args.target) + first,
                     static_cast<const std::uint8_t*>(counts), count, factors, loss_values,
                     gradient_values);
  store(loss_values, count, loss_line);
  store(gradient_values, count, gradient_line);
  return sum_of(loss_values, count);
}

template <class T, class G>
Status run_losses(const CenternessLossArgs& args, Workspace workspace, const Context& context) {
  using Real = math::Real<T>;
  const Runs runs(args.logits, args.num_levels, args.batch);
  const double scale = math::normalized_scale<Real>(args.scale, args.normalizer);
  const double upstream =
      args.gradient_scale ? *static_cast<const Real*>(args.gradient_scale) : 1.0;
  const Factors<Real> factors = {static_cast<Real>(scale), static_cast<Real>(scale * upstream)};
  sum_over_runs<Real>(runs, context.num_threads, static_cast<double*>(workspace.data),
                      args.loss_sum, [&](const LocationRun& run, std::int64_t row) {
                        return run_loss<T, G>(args, run, row, factors);
                      });
  return {};
}

}  // namespace

Status run(const CenternessTargetArgs& args, const Context& context) {
  return math::dispatch(math::Floating{}, args.dtype, [&](auto t) {
    return run_target<typename decltype(t)::type>(args, context);
  });
}

std::size_t workspace_size(const CenternessLossArgs& args, const Context&) {
  return static_cast<std::size_t>(Runs(args.logits, args.num_levels, args.batch).count()) *
         sizeof(double);
}

Status run(const CenternessLossArgs& args, Workspace workspace, const Context& context) {
  return math::dispatch(math::Floating{}, args.dtype, [&](auto t) {
    using T = typename decltype(t)::type;
    if (args.gradient_dtype == args.dtype) return run_losses<T, T>(args, workspace, context);
    return run_losses<T, math::Real<T>>(args, workspace, context);
  });
}

}  // namespace fcos_ops::cpu
