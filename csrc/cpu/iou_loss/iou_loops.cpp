// The loops of the IoU losses on a CPU, as the compiler vectorises them: once for all ops and
// dtypes, as they take long to compile. Without contraction (see CMakeLists.txt).
#include "cpu/iou_loss/iou_loops.h"

#include "cpu/common/isa.h"
#include "cpu/common/sums.h"
#include "math/iou.h"

namespace fcos_ops::cpu::iou {
namespace {

// True if a coordinate of a block is beyond the limit. Almost none is, so that the loop below can
// mostly do without clamping.
struct BeyondLimitLoop {
  template <class Real>
  static FCOS_HD bool run(const BoxBlock<const Real>& boxes, std::int32_t count, Real limit) {
    const auto [a, b, c, d] = boxes.coordinate;
    Real low = 0, high = 0;
#pragma omp simd reduction(max : low, high)
    for (std::int32_t i = 0; i < count; ++i) {
      // In this order a NaN hides no other coordinate.
      low =
          math::max_or_second(math::absolute(a[i]), math::max_or_second(math::absolute(b[i]), low));
      high = math::max_or_second(math::absolute(c[i]),
                                 math::max_or_second(math::absolute(d[i]), high));
    }
    return low > limit || high > limit;
  }
};

// The loss of pairs without NaN and within the limit; kAny: of any.
template <IouKind kKind, BoxFormat kFormat, bool kAny>
struct PairLoop {
  template <class Real>
  static FCOS_HD double run(const BoxBlock<const Real>& pred, const BoxBlock<const Real>& target,
                            const Real* __restrict__ weights, std::int32_t count, Real limit,
                            const IouFactors<Real>& factors, std::int32_t block,
                            Real* __restrict__ losses, const BoxBlock<Real>& gradient) {
    const auto [p0, p1, p2, p3] = pred.coordinate;
    const auto [t0, t1, t2, t3] = target.coordinate;
    const auto [g0, g1, g2, g3] = gradient.coordinate;
    const IouFactors<Real> f = factors;
    double total = 0;
    for (std::int32_t first = 0; first < count; first += block) {
      const std::int32_t end = count - first < block ? count : first + block;
      Real sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::int32_t i = first; i < end; ++i) {
        const Real p[4] = {p0[i], p1[i], p2[i], p3[i]};
        const Real t[4] = {t0[i], t1[i], t2[i], t3[i]};
        math::BoxLoss<Real> pair;
        if constexpr (kAny) {
          pair = math::iou_loss<kKind, kFormat>(p, t, limit, f.eps);
        } else {
          pair = math::iou_loss_within_limit<kKind, kFormat>(p, t, f.eps);
        }
        const Real factor = f.loss * weights[i];
        const Real loss = factor * pair.loss;
        sum += loss;
        losses[i] = loss;
        g0[i] = factor * f.gradient * pair.gradient[0];
        g1[i] = factor * f.gradient * pair.gradient[1];
        g2[i] = factor * f.gradient * pair.gradient[2];
        g3[i] = factor * f.gradient * pair.gradient[3];
      }
      total += sum;
    }
    return total;
  }
};

template <class Real>
struct Block {
  BoxBlock<const Real> pred, target;
  const Real* weights;
  std::int32_t count;
  IouFactors<Real> factors;
  Real* losses;
  BoxBlock<Real> gradient;

  template <IouKind kKind, BoxFormat kFormat>
  double run() const {
    // At run time: g++ takes a minimum with a constant for two instructions.
    const Real limit = math::kCoordinateLimit<Real>;
    const std::int32_t block = sum_block();
    if (!run_best<BeyondLimitLoop>(pred, count, limit) &&
        !run_best<BeyondLimitLoop>(target, count, limit)) {
      const double sum = run_best<PairLoop<kKind, kFormat, false>>(
          pred, target, weights, count, limit, factors, block, losses, gradient);
      if (sum == sum) return sum;
    }
    // Too rare to compile it for more, which would compute the same.
    return run_baseline<PairLoop<kKind, kFormat, true>>(pred, target, weights, count, limit,
                                                        factors, block, losses, gradient);
  }

  template <IouKind kKind>
  double run(BoxFormat format) const {
    return format == BoxFormat::kLtrb ? run<kKind, BoxFormat::kLtrb>()
                                      : run<kKind, BoxFormat::kXyxy>();
  }
};

}  // namespace

template <class Real>
double iou_pairs(IouKind kind, BoxFormat format, const IouFactors<Real>& factors,
                 const BoxBlock<const Real>& pred, const BoxBlock<const Real>& target,
                 const Real* weights, std::int32_t count, Real* losses,
                 const BoxBlock<Real>& gradient) {
  const Block<Real> block = {pred, target, weights, count, factors, losses, gradient};
  return math::dispatch_kind(kind, [&](auto k) { return block.template run<k.value>(format); });
}

template double iou_pairs(IouKind, BoxFormat, const IouFactors<float>&,
                          const BoxBlock<const float>&, const BoxBlock<const float>&, const float*,
                          std::int32_t, float*, const BoxBlock<float>&);
template double iou_pairs(IouKind, BoxFormat, const IouFactors<double>&,
                          const BoxBlock<const double>&, const BoxBlock<const double>&,
                          const double*, std::int32_t, double*, const BoxBlock<double>&);

}  // namespace fcos_ops::cpu::iou
