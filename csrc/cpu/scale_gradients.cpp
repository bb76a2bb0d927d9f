// Stored gradients times the derivatives by their losses on a CPU, in place.
#include <cmath>

#include "common/dense.h"
#include "common/dtypes.h"
#include "cpu/common/isa.h"
#include "cpu/common/levels.h"
#include "cpu/common/parallel.h"
#include "cpu/drivers.h"

namespace fcos_ops::cpu {
namespace {

constexpr std::int64_t kChunk = 16384;  // elements of a dense gradient that a thread takes at once

struct ScaleLoop {
  template <class T>
  static FCOS_HD int run(T* __restrict__ values, std::int64_t stride, std::int64_t count,
                         math::Real<T> factor) {
    if (stride == 1) {
      for (std::int64_t i = 0; i < count; ++i) {
        math::from_real(math::to_real(values[i]) * factor, values[i]);
      }
    } else {
      for (std::int64_t i = 0; i < count; ++i) {
        math::from_real(math::to_real(values[i * stride]) * factor, values[i * stride]);
      }
    }
    return 0;
  }
};

template <class T>
void scale_row(const MutableLevelView& view, std::int64_t image, std::int64_t y,
               std::int64_t channels, math::Real<T> factor) {
  T* const first = element<T>(view, image, y, 0);
  if (std::abs(view.stride_channel) < std::abs(view.stride_x)) {
    for (std::int64_t x = 0; x < view.width; ++x) {
      run_best<ScaleLoop>(first + x * view.stride_x, view.stride_channel, channels, factor);
    }
  } else {
    for (std::int64_t c = 0; c < channels; ++c) {
      run_best<ScaleLoop>(first + c * view.stride_channel, view.stride_x, view.width, factor);
    }
  }
}

template <class T>
void scale(const ScaledGradient& gradient, std::int32_t num_threads) {
  using Real = math::Real<T>;
  const Real factor = *static_cast<const Real*>(gradient.scale);
  const MutableLevelView& view = gradient.view;
  const std::int64_t size = gradient.batch * gradient.channels * view.height * view.width;
  if (factor == Real(1) || size == 0) return;
  if (is_dense(view, gradient.batch, gradient.channels)) {
    parallel_for((size + kChunk - 1) / kChunk, num_threads, [&](std::int64_t i) {
      const std::int64_t first = i * kChunk, count = std::min(kChunk, size - first);
      run_best<ScaleLoop>(static_cast<T*>(view.data) + first, std::int64_t{1}, count, factor);
    });
    return;
  }
  parallel_for(gradient.batch * view.height, num_threads, [&](std::int64_t i) {
    scale_row<T>(view, i / view.height, i % view.height, gradient.channels, factor);
  });
}

}  // namespace

Status scale_gradients(const ScaleGradientsArgs& args, const Context& context) {
  for (std::int32_t i = 0; i < args.count; ++i) {
    math::dispatch(math::Floating{}, args.gradients[i].dtype, [&](auto type) {
      scale<typename decltype(type)::type>(args.gradients[i], context.num_threads);
    });
  }
  return {};
}

}  // namespace fcos_ops::cpu
