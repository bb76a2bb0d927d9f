// Scores of detections, and the lowest logit that can reach a score.
//
// A score decides what is kept, so it must come out the same on every device: + - * / and sqrt
// only, each rounded once. Sources that include this header are compiled without contraction to
// FMA.
#pragma once

#include <cmath>

#include "fcos_ops/postprocess.h"
#include "math/elementary.h"

namespace fcos_ops::math {

// exp(x) for x <= 0 out of basic operations; 0 where the result would be subnormal.
FCOS_HD float exp_of_score(float x) { return exp_nonpositive(x); }
FCOS_HD double exp_of_score(double x) {
  constexpr double kSmallest = -708.3964185322641;  // exp(kSmallest) is the smallest normal double
  constexpr double kLog2e = 1.4426950408889634;
  constexpr double kLn2High = 0x1.62e42feep-1;  // 33 bits, so that n * kLn2High is exact
  constexpr double kLn2Low = 1.9082149292705877e-10;
  constexpr double kRounder = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to an integer
  const double clamped = x < kSmallest ? kSmallest : x;  // this form lets NaN through
  const double shifted = clamped * kLog2e + kRounder;
  const double n = shifted - kRounder;
  const double r = (clamped - n * kLn2High) - n * kLn2Low;
  double poly = 1.0 / 6227020800.0;  // Taylor: on [-ln2/2, ln2/2] the error is below 1e-17
  poly = poly * r + 1.0 / 479001600.0;
  poly = poly * r + 1.0 / 39916800.0;
  poly = poly * r + 1.0 / 3628800.0;
  poly = poly * r + 1.0 / 362880.0;
  poly = poly * r + 1.0 / 40320.0;
  poly = poly * r + 1.0 / 5040.0;
  poly = poly * r + 1.0 / 720.0;
  poly = poly * r + 1.0 / 120.0;
  poly = poly * r + 1.0 / 24.0;
  poly = poly * r + 1.0 / 6.0;
  poly = poly * r + 0.5;
  poly = poly * r + 1.0;
  poly = poly * r + 1.0;
  // The low bits of `shifted` hold n; unsigned so that a NaN's bits may wrap.
  const auto power_of_two =
      bit_cast<double>((bit_cast<std::uint64_t>(shifted) << 52) + 0x3ff0000000000000u);
  return x < kSmallest ? 0.0 : poly * power_of_two;
}

template <class Real>
FCOS_HD Real sigmoid_of_score(Real logit) {
  const Real e = exp_of_score(-absolute(logit));
  return (logit < Real(0) ? e : Real(1)) / (Real(1) + e);
}

// The score of a detection from its two sigmoids.
template <ScoreKind kKind, class Real>
FCOS_HD Real combined_score(Real class_score, Real center_score) {
  const Real product = class_score * center_score;
  if constexpr (kKind == ScoreKind::kSqrt) return std::sqrt(product);
  return product;
}
template <class Real>
FCOS_HD Real combined_score(ScoreKind kind, Real class_score, Real center_score) {
  return kind == ScoreKind::kSqrt ? combined_score<ScoreKind::kSqrt>(class_score, center_score)
                                  : combined_score<ScoreKind::kProduct>(class_score, center_score);
}

// No logit below this one has a sigmoid_of_score that reaches `score`. It lies 1e-4 or so below the
// exact logit(score): a thousand times the rounding errors of the scores that it shall let through.
// A score of NaN is out of reach.
FCOS_HD float logit_bound(float score) {
  constexpr float kSlack = 1e-4f;
  constexpr float kTooSmall = 1e-30f;  // no bound, so that no subnormal number comes up
  const float lowered = score * (1.0f - 1e-5f);
  const float odds = lowered / (1.0f - lowered);
  const std::uint32_t bits = bit_cast<std::uint32_t>(odds);
  const auto exponent = static_cast<float>(static_cast<std::int32_t>(bits >> 23) - 127);
  const float mantissa = bit_cast<float>((bits & 0x007fffffu) | 0x3f800000u);  // in [1, 2)
  const float logit = exponent * 0.693147181f + log1p_unit(mantissa - 1.0f);
  const float bound = lowered < kTooSmall ? -kInfinity<float> : logit - kSlack;
  return lowered < 1.0f ? bound : kInfinity<float>;
}

// The least that a candidate must have: a class score, and a product of class score and centerness.
// Numbers <= 0 ask for nothing.
template <class Real>
struct MinScore {
  Real class_score, product;
};

// The MinScore of a least score, and that of a least class score. Where products could be subnormal
// the margin of logit_bound is too narrow.
template <class Real>
FCOS_HD MinScore<Real> min_for_score(double least, ScoreKind kind) {
  const double product = kind == ScoreKind::kSqrt && least > 0 ? least * least : least;
  return {0, static_cast<Real>(product < 1e-30 ? 0.0 : product)};
}
template <class Real>
FCOS_HD MinScore<Real> min_for_class_score(double least) {
  return {static_cast<Real>(least < 1e-30 ? 0.0 : least), 0};
}

// The MinScore of the threshold of a rule, and that of the least by which candidates are ranked.
template <class Real>
FCOS_HD MinScore<Real> min_for_threshold(const PostprocessRule& rule) {
  return rule.threshold_on == ThresholdOn::kScore
             ? min_for_score<Real>(rule.score_threshold, rule.score)
             : min_for_class_score<Real>(rule.score_threshold);
}
template <class Real>
FCOS_HD MinScore<Real> min_for_rank(const PostprocessRule& rule, double least) {
  return rule.rank_by == RankBy::kScore ? min_for_score<Real>(least, rule.score)
                                        : min_for_class_score<Real>(least);
}

// The MinScore that asks for both.
template <class Real>
FCOS_HD MinScore<Real> higher(const MinScore<Real>& a, const MinScore<Real>& b) {
  return {a.class_score > b.class_score ? a.class_score : b.class_score,
          a.product > b.product ? a.product : b.product};
}

// logit_bound for the classes of a location of that centerness; no logit reaches a NaN one.
template <class Real>
FCOS_HD Real class_logit_bound(const MinScore<Real>& min_score, Real center_score) {
  const Real from_product =
      min_score.product > Real(0) ? min_score.product / center_score : Real(0);
  const Real needed = from_product > min_score.class_score ? from_product : min_score.class_score;
  const float bound = logit_bound(static_cast<float>(needed));
  const bool number = center_score == center_score;
  return static_cast<Real>(number ? bound : kInfinity<float>);
}

}  // namespace fcos_ops::math
