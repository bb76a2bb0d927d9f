// IoU losses of one pair of boxes, with the derivatives by the first box.
#pragma once

#include <type_traits>

#include "fcos_ops/iou_loss.h"
#include "math/elementary.h"
#include "math/min_max.h"

namespace fcos_ops::math {

template <IouKind kKind>
using Kind = std::integral_constant<IouKind, kKind>;

// Calls body(Kind<kind>{}).
FCOS_ANY_BODY
template <class Body>
FCOS_HD auto dispatch_kind(IouKind kind, const Body& body) {
  switch (kind) {
    case IouKind::kIou:
      return body(Kind<IouKind::kIou>{});
    case IouKind::kLinearIou:
      return body(Kind<IouKind::kLinearIou>{});
    case IouKind::kGiou:
      return body(Kind<IouKind::kGiou>{});
    case IouKind::kDiou:
      return body(Kind<IouKind::kDiou>{});
    default:
      return body(Kind<IouKind::kCiou>{});
  }
}

// Coordinates beyond it, 8.6e9, are clamped. Even for boxes turned inside out, whose centres can be
// far apart inside an enclosing box of no size, d^2 / eps^1.5 then is a float with room for a loss
// scale.
template <class Real>
inline constexpr Real kCoordinateLimit = Real(0x1p33);

// Here and below comparisons are turned so that NaN passes.
template <class Real>
FCOS_HD Real clamp(Real x, Real limit) {
  const Real from_below = -limit > x ? -limit : x;
  return limit < from_below ? limit : from_below;
}

template <class Real>
FCOS_HD Real positive_part(Real x) {
  return max_or_second(Real(0), x);
}

// Two boxes along one axis: their ends.
template <class Real>
struct AxisPair {
  Real p_low, p_high, t_low, t_high;
};

// Lengths along one axis, and the distance of the centres. Negative where a box is inverted or
// where the boxes do not overlap.
template <class Real>
struct AxisLengths {
  Real pred, target, overlap, enclosing, offset;
};

template <class Real>
FCOS_HD AxisLengths<Real> lengths(const AxisPair<Real>& a) {
  return {
      a.p_high - a.p_low,
      a.t_high - a.t_low,
      min_or_second(a.p_high, a.t_high) - max_or_second(a.p_low, a.t_low),
      max_or_second(a.p_high, a.t_high) - min_or_second(a.p_low, a.t_low),
      ((a.p_low - a.t_low) + (a.p_high - a.t_high)) * Real(0.5),
  };
}

// Derivatives of a loss by the positive parts of lengths; `offset` by each end of the first box.
template <class Real>
struct AxisGradients {
  Real overlap = 0, pred = 0, enclosing = 0, offset = 0;
};

template <class Real>
struct EndGradients {
  Real low, high;
};

// The derivatives by the ends of the first box, given those by lengths. An end belongs to the
// overlap or to the enclosing interval, and half to each where both boxes share it. At length 0 an
// overlap has derivative 0, but a side has derivative 1: a box of no width can still grow.
template <IouKind kKind, class Real>
FCOS_HD EndGradients<Real> end_gradients(const AxisPair<Real>& a, const AxisLengths<Real>& length,
                                         const AxisGradients<Real>& grad) {
  const Real side = select(length.pred < Real(0), Real(0), grad.pred);
  // Halves of what an end gets: one by a strict comparison, one by the other, so ties get one each.
  const Real inner = select(length.overlap <= Real(0), Real(0), Real(0.5) * grad.overlap);
  Real outer = 0;
  if constexpr (kKind >= IouKind::kGiou) {
    outer = select(length.enclosing < Real(0), Real(0), Real(0.5) * grad.enclosing);
  }
  const Real low =
      select(a.p_low > a.t_low, inner, outer) + select(a.p_low < a.t_low, outer, inner);
  const Real high =
      select(a.p_high < a.t_high, inner, outer) + select(a.p_high > a.t_high, outer, inner);
  return {grad.offset - (side + low), grad.offset + (side + high)};
}

// The direction (height, width) of a box, scaled so that products neither underflow nor overflow;
// a box of no size points up, for atan2(0, 0) = 0.
template <class Real>
struct Direction {
  Real w, h;
};

template <class Real>
FCOS_HD Direction<Real> direction(Real w, Real h) {
  const Real longer = max_or_second(w, h);
  const Real scale = select(longer < Real(0x1p-60), Real(0x1p120), Real(1));
  return {w * scale, select(longer == Real(0), Real(1), h * scale)};
}

// alpha v of CIoU, given 1 - iou; adds its derivatives to `grad_x` and `grad_y`.
template <class Real>
FCOS_HD Real aspect_term(const AxisLengths<Real>& x, const AxisLengths<Real>& y, Real distance,
                         Real eps, AxisGradients<Real>& grad_x, AxisGradients<Real>& grad_y) {
  constexpr Real kFactor = Real(0.40528473456935108578);  // 4 / pi^2
  constexpr Real kTiny = Real(1.17549435e-38);  // smaller boxes have no usable aspect ratio
  const Real w = positive_part(x.pred), h = positive_part(y.pred);
  const Direction<Real> p = direction(w, h);
  const Direction<Real> t = direction(positive_part(x.target), positive_part(y.target));
  // The angle from one to the other: more accurate than a difference of two angles.
  const Real angle = atan2_right(t.w * p.h - t.h * p.w, t.w * p.w + t.h * p.h);
  const Real v = kFactor * angle * angle;
  const Real alpha = v / (positive_part(distance) + v + eps);
  const Real diagonal2 = w * w + h * h;
  const Real grad =
      Real(2) * kFactor * alpha * angle / select(diagonal2 < kTiny, Real(1), diagonal2);
  grad_x.pred -= grad * h;
  grad_y.pred += grad * w;
  return alpha * v;
}

// The loss of a pair and its derivatives by lengths.
template <IouKind kKind, class Real>
FCOS_HD Real pair_loss(const AxisLengths<Real>& x, const AxisLengths<Real>& y, Real eps,
                       AxisGradients<Real>& grad_x, AxisGradients<Real>& grad_y) {
  const Real pred_x = positive_part(x.pred), pred_y = positive_part(y.pred);
  const Real overlap_x = positive_part(x.overlap), overlap_y = positive_part(y.overlap);
  const Real enclosing_x = positive_part(x.enclosing), enclosing_y = positive_part(y.enclosing);
  const Real overlap = overlap_x * overlap_y;
  const Real area = pred_x * pred_y + positive_part(x.target) * positive_part(y.target) - overlap;
  const Real inverse = Real(1) / (area + eps);
  const Real iou = overlap * inverse;
  // 1 - iou, without its cancellation: 0 for identical boxes, and accurate for similar ones.
  const Real distance = ((area + eps) - overlap) * inverse;
  Real loss = distance;
  // Derivatives by the area of the overlap (a part of the union with a minus) and by that of the
  // first box.
  Real grad_overlap = -(Real(1) + iou) * inverse;
  Real grad_pred = iou * inverse;
  if constexpr (kKind == IouKind::kIou) {
    const Real exact_iou = overlap / (area + eps);
    const bool flat = exact_iou < eps;
    loss = -log_positive(select(flat, eps, exact_iou));
    grad_overlap = select(flat, Real(0), -(Real(1) / overlap + inverse));
    grad_pred = select(flat, Real(0), inverse);
  }
  if constexpr (kKind == IouKind::kGiou) {
    const Real enclosing = enclosing_x * enclosing_y;
    const Real inverse_enclosing = Real(1) / (enclosing + eps);
    const Real empty = (enclosing - area) * inverse_enclosing;
    loss += empty;
    grad_overlap += inverse_enclosing;
    grad_pred -= inverse_enclosing;
    const Real grad_enclosing = (area + eps) * inverse_enclosing * inverse_enclosing;
    grad_x.enclosing = grad_enclosing * enclosing_y;
    grad_y.enclosing = grad_enclosing * enclosing_x;
  }
  grad_x.overlap = grad_overlap * overlap_y;
  grad_y.overlap = grad_overlap * overlap_x;
  grad_x.pred = grad_pred * pred_y;
  grad_y.pred = grad_pred * pred_x;
  if constexpr (kKind >= IouKind::kDiou) {
    const Real diagonal2 = enclosing_x * enclosing_x + enclosing_y * enclosing_y;
    const Real inverse_diagonal2 = Real(1) / (diagonal2 + eps);
    const Real apart = (x.offset * x.offset + y.offset * y.offset) * inverse_diagonal2;
    loss += apart;
    const Real grad_side = Real(-2) * apart * inverse_diagonal2;
    grad_x.enclosing = grad_side * enclosing_x;
    grad_y.enclosing = grad_side * enclosing_y;
    grad_x.offset = x.offset * inverse_diagonal2;  // each end moves the centre by half
    grad_y.offset = y.offset * inverse_diagonal2;
  }
  if constexpr (kKind == IouKind::kCiou) loss += aspect_term(x, y, distance, eps, grad_x, grad_y);
  return loss;
}

template <class Real>
struct BoxLoss {
  Real loss;
  Real gradient[4];
};

// One axis of a pair; an ltrb box is (-l, -t, r, b).
template <BoxFormat kFormat, class Real>
FCOS_HD AxisPair<Real> axis_pair(Real p_low, Real p_high, Real t_low, Real t_high) {
  if constexpr (kFormat == BoxFormat::kLtrb) return {-p_low, p_high, -t_low, t_high};
  return {p_low, p_high, t_low, t_high};
}

// A pair whose coordinates are within kCoordinateLimit.
template <IouKind kKind, BoxFormat kFormat, class Real>
FCOS_HD BoxLoss<Real> iou_loss_within_limit(const Real (&pred)[4], const Real (&target)[4],
                                            Real eps) {
  const auto x = axis_pair<kFormat>(pred[0], pred[2], target[0], target[2]);
  const auto y = axis_pair<kFormat>(pred[1], pred[3], target[1], target[3]);
  const AxisLengths<Real> x_lengths = lengths(x), y_lengths = lengths(y);
  AxisGradients<Real> grad_x, grad_y;
  const Real loss = pair_loss<kKind>(x_lengths, y_lengths, eps, grad_x, grad_y);
  const EndGradients<Real> x_ends = end_gradients<kKind>(x, x_lengths, grad_x);
  const EndGradients<Real> y_ends = end_gradients<kKind>(y, y_lengths, grad_y);
  if constexpr (kFormat == BoxFormat::kLtrb) {
    return {loss, {-x_ends.low, -y_ends.low, x_ends.high, y_ends.high}};
  }
  return {loss, {x_ends.low, y_ends.low, x_ends.high, y_ends.high}};
}

// Any pair: where the loss is NaN, so is all of the gradient. `limit` is kCoordinateLimit, given at
// run time: g++ takes a minimum with a constant for two instructions.
template <IouKind kKind, BoxFormat kFormat, class Real>
FCOS_HD BoxLoss<Real> iou_loss(const Real (&pred)[4], const Real (&target)[4], Real limit,
                               Real eps) {
  const Real p[4] = {clamp(pred[0], limit), clamp(pred[1], limit), clamp(pred[2], limit),
                     clamp(pred[3], limit)};
  const Real t[4] = {clamp(target[0], limit), clamp(target[1], limit), clamp(target[2], limit),
                     clamp(target[3], limit)};
  BoxLoss<Real> pair = iou_loss_within_limit<kKind, kFormat>(p, t, eps);
  for (int i = 0; i < 4; ++i) {
    const Real grad = select(absolute(pred[i]) > limit, Real(0), pair.gradient[i]);
    pair.gradient[i] = select(pair.loss != pair.loss, pair.loss, grad);
  }
  return pair;
}

}  // namespace fcos_ops::math
