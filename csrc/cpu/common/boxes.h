// Boxes, or distances to four sides, transposed: an array a coordinate, in the type of the maths.
#pragma once

#include <type_traits>

#include "common/dtypes.h"
#include "cpu/common/isa.h"
#include "cpu/common/levels.h"
#include "cpu/common/lines.h"

namespace fcos_ops::cpu {

inline constexpr std::int64_t kBoxes = 256;  // in a block: what a loop works on at a time
using BoxRuns = LocationRuns<kBoxes>;

// The coordinates of a block, in place or in a buffer. Const or mutable elements.
template <class Element>
struct BoxBlock {
  Element* coordinate[4];

  BoxBlock<const Element> constant() const {
    return {coordinate[0], coordinate[1], coordinate[2], coordinate[3]};
  }
};

template <class Real>
struct BoxBuffer {
  alignas(64) Real storage[4][kBoxes];
  BoxBlock<Real> block() { return {storage[0], storage[1], storage[2], storage[3]}; }
};

using Four [[gnu::vector_size(16), gnu::aligned(4), gnu::may_alias]] = float;

// a0 b0 a1 b1 out of the first halves, and out of the second.
FCOS_HD Four interleave_low(Four a, Four b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
FCOS_HD Four interleave_high(Four a, Four b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }

FCOS_HD Four load_four(const float* from) { return *reinterpret_cast<const Four*>(from); }
FCOS_HD void store_four(Four value, float* to) { *reinterpret_cast<Four*>(to) = value; }

// A 4 x 4 matrix given by its rows, transposed. g++ takes three times the instructions for a plain
// loop.
FCOS_HD void transpose(const float* row0, const float* row1, const float* row2, const float* row3,
                       float* a, float* b, float* c, float* d) {
  const Four rows[4] = {load_four(row0), load_four(row1), load_four(row2), load_four(row3)};
  const Four ab02 = interleave_low(rows[0], rows[2]), ab13 = interleave_low(rows[1], rows[3]);
  const Four cd02 = interleave_high(rows[0], rows[2]), cd13 = interleave_high(rows[1], rows[3]);
  store_four(interleave_low(ab02, ab13), a);
  store_four(interleave_high(ab02, ab13), b);
  store_four(interleave_low(cd02, cd13), c);
  store_four(interleave_high(cd02, cd13), d);
}

// Splits contiguous rows of four into four arrays.
struct SplitLoop {
  template <class T, class Real>
  static FCOS_HD int run(const T* __restrict__ rows, std::int32_t count, const BoxBlock<Real>& to) {
    Real* __restrict__ a = to.coordinate[0];
    Real* __restrict__ b = to.coordinate[1];
    Real* __restrict__ c = to.coordinate[2];
    Real* __restrict__ d = to.coordinate[3];
    std::int32_t i = 0;
    if constexpr (std::is_same_v<T, float> && std::is_same_v<Real, float>) {
      for (; i + 4 <= count; i += 4) {
        const T* first = rows + 4 * i;
        transpose(first, first + 4, first + 8, first + 12, a + i, b + i, c + i, d + i);
      }
    }
    for (; i < count; ++i) {
      a[i] = math::to_real(rows[4 * i]);
      b[i] = math::to_real(rows[4 * i + 1]);
      c[i] = math::to_real(rows[4 * i + 2]);
      d[i] = math::to_real(rows[4 * i + 3]);
    }
    return 0;
  }
};

// Joins four arrays into contiguous rows of four.
struct JoinLoop {
  template <class T, class Real>
  static FCOS_HD int run(const BoxBlock<Real>& from, std::int32_t count, T* __restrict__ rows) {
    const Real* __restrict__ a = from.coordinate[0];
    const Real* __restrict__ b = from.coordinate[1];
    const Real* __restrict__ c = from.coordinate[2];
    const Real* __restrict__ d = from.coordinate[3];
    std::int32_t i = 0;
    if constexpr (std::is_same_v<T, float> && std::is_same_v<Real, float>) {
      for (; i + 4 <= count; i += 4) {
        T* first = rows + 4 * i;
        transpose(a + i, b + i, c + i, d + i, first, first + 4, first + 8, first + 12);
      }
    }
    for (; i < count; ++i) {
      math::from_real(a[i], rows[4 * i]);
      math::from_real(b[i], rows[4 * i + 1]);
      math::from_real(c[i], rows[4 * i + 2]);
      math::from_real(d[i], rows[4 * i + 3]);
    }
    return 0;
  }
};

// The boxes of a run; `dtype` is any floating one, and kFloat64 only where Real is double.
template <class Real>
BoxBlock<const Real> load_boxes(const LevelView& view, DType dtype, const LocationRun& run,
                                BoxBuffer<Real>& buffer) {
  return math::dispatch(math::HeldBy<Real>{}, dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const auto count = static_cast<std::int32_t>(run.length);
    const T* first = element<T>(view, run.batch, run.y, run.x);
    const BoxBlock<Real> to = buffer.block();
    BoxBlock<const Real> block = to.constant();
    if (view.stride_channel == 1 && view.stride_x == 4) {
      run_best<SplitLoop>(first, count, to);
      return block;
    }
    for (std::int32_t c = 0; c < 4; ++c) {
      const T* line = first + c * view.stride_channel;
      if constexpr (std::is_same_v<T, Real>) {
        block.coordinate[c] = load<T>({line, view.stride_x}, count, to.coordinate[c]);
      } else {
        run_best<LoadLoop>(line, view.stride_x, count, to.coordinate[c]);
      }
    }
    return block;
  });
}

template <class Real>
void store_boxes(const BoxBlock<Real>& from, const MutableLevelView& view, DType dtype,
                 const LocationRun& run) {
  math::dispatch(math::HeldBy<Real>{}, dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const auto count = static_cast<std::int32_t>(run.length);
    T* first = element<T>(view, run.batch, run.y, run.x);
    if (view.stride_channel == 1 && view.stride_x == 4) {
      run_best<JoinLoop>(from, count, first);
      return;
    }
    for (std::int32_t c = 0; c < 4; ++c) {
      run_best<StoreLoop>(from.coordinate[c], view.stride_x, count,
                          first + c * view.stride_channel);
    }
  });
}

}  // namespace fcos_ops::cpu
