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

// The loss of pairs without NaN and within the limit; kAny: of any. The pairs by value: what the
// loop writes cannot change where it writes to.
template <IouKind kKind, BoxFormat kFormat, bool kAny>
struct PairLoop {
  template <class Real>
  static FCOS_HD double run(Pairs<Real> pairs, Real limit, std::int32_t block) {
    double total = 0;
    for (std::int32_t first = 0; first < pairs.count; first += block) {
      const std::int32_t end = pairs.count - first < block ? pairs.count : first + block;
      Real sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::int32_t i = first; i < end; ++i) {
        Real pred[4], target[4];
        for (int c = 0; c < 4; ++c) {
          pred[c] = pairs.pred.coordinate[c][i];
          target[c] = pairs.target.coordinate[c][i];
        }
        math::BoxLoss<Real> pair;
        if constexpr (kAny) {
          pair = math::iou_loss<kKind, kFormat>(pred, target, limit, pairs.factors.eps);
        } else {
          pair = math::iou_loss_within_limit<kKind, kFormat>(pred, target, pairs.factors.eps);
        }
        const Real factor = pairs.factors.loss * pairs.weights[i];
        const Real loss = factor * pair.loss;
        sum += loss;
        pairs.losses[i] = loss;
        for (int c = 0; c < 4; ++c) {
          pairs.gradient.coordinate[c][i] = factor * pairs.factors.gradient * pair.gradient[c];
        }
      }
      total += sum;
    }
    return total;
  }
};

template <IouKind kKind, BoxFormat kFormat, class Real>
double run_pairs(const Pairs<Real>& pairs) {
  // At run time: g++ takes a minimum with a constant for two instructions.
  const Real limit = math::kCoordinateLimit<Real>;
  const std::int32_t block = sum_block();
  if (!run_best<BeyondLimitLoop>(pairs.pred, pairs.count, limit) &&
      !run_best<BeyondLimitLoop>(pairs.target, pairs.count, limit)) {
    const double sum = run_best<PairLoop<kKind, kFormat, false>>(pairs, limit, block);
    if (sum == sum) return sum;
  }
  // Too rare to compile it for more, which would compute the same.
  return run_baseline<PairLoop<kKind, kFormat, true>>(pairs, limit, block);
}

}  // namespace

template <class Real>
double iou_pairs(IouKind kind, BoxFormat format, const Pairs<Real>& pairs) {
  return math::dispatch_kind(kind, [&](auto k) {
    return format == BoxFormat::kLtrb ? run_pairs<k.value, BoxFormat::kLtrb>(pairs)
                                      : run_pairs<k.value, BoxFormat::kXyxy>(pairs);
  });
}

template double iou_pairs(IouKind, BoxFormat, const Pairs<float>&);
template double iou_pairs(IouKind, BoxFormat, const Pairs<double>&);

}  // namespace fcos_ops::cpu::iou
