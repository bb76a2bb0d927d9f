// Stored gradients times the derivatives by their losses on a CPU, in place.
#include <algorithm>
#include <cmath>

#include "common/dense.h"
#include "common/dtypes.h"
#include "cpu/common/isa.h"
#include "cpu/common/levels.h"
#include "cpu/common/lines.h"
#include "cpu/common/parallel.h"
#include "cpu/drivers.h"

namespace fcos_ops::cpu {
namespace {

constexpr std::int64_t kBand = 16384;  // elements of a dense gradient that a thread takes at once

constexpr std::int64_t kRun = 512;  // values of a half type that are converted at once

struct ScaleLoop {
  template <class Real>
  static FCOS_HD int run(Real* values, std::int32_t count, Real factor) {
    for (std::int32_t i = 0; i < count; ++i) values[i] *= factor;
    return 0;
  }
};

// Loading, multiplying and storing are loops of their own: g++ vectorises each, but not all in one.
template <class T>
void scale_line(Line<T> line, std::int64_t length, math::Real<T> factor) {
  alignas(64) math::Real<T> buffer[kRun];
  for (std::int64_t first = 0; first < length; first += kRun) {
    const auto count = static_cast<std::int32_t>(std::min(kRun, length - first));
    const Line<T> run = line.from(first);
    auto* const values = writable(run, static_cast<math::Real<T>*>(buffer));
    if (values == buffer) {
      run_best<LoadLoop>(static_cast<const T*>(run.data), run.stride, count, values);
    }
    run_best<ScaleLoop>(values, count, factor);
    store(static_cast<const math::Real<T>*>(values), count, run);
  }
}

template <class T>
void scale_row(const MutableLevelView& view, std::int64_t image, std::int64_t y,
               std::int64_t channels, math::Real<T> factor) {
  T* const first = element<T>(view, image, y, 0);
  if (std::abs(view.stride_channel) < std::abs(view.stride_x)) {
    for (std::int64_t x = 0; x < view.width; ++x) {
      scale_line<T>({first + x * view.stride_x, view.stride_channel}, channels, factor);
    }
  } else {
    for (std::int64_t c = 0; c < channels; ++c) {
      scale_line<T>({first + c * view.stride_channel, view.stride_x}, view.width, factor);
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
  const std::int32_t threads =
      worthwhile_threads(size * static_cast<std::int64_t>(sizeof(T)), num_threads);
  if (is_dense(view, gradient.batch, gradient.channels)) {
    parallel_for((size + kBand - 1) / kBand, threads, [&](std::int64_t i) {
      const std::int64_t first = i * kBand, count = std::min(kBand, size - first);
      scale_line<T>({static_cast<T*>(view.data) + first, 1}, count, factor);
    });
    return;
  }
  parallel_for(gradient.batch * view.height, threads, [&](std::int64_t i) {
    scale_row<T>(view, i / view.height, i % view.height, gradient.channels, factor);
  });
}

}  // namespace

Status run(const ScaleGradientsArgs& args, const Context& context) {
  for (std::int32_t i = 0; i < args.count; ++i) {
    math::dispatch(math::Floating{}, args.gradients[i].dtype, [&](auto type) {
      scale<typename decltype(type)::type>(args.gradients[i], context.num_threads);
    });
  }
  return {};
}

}  // namespace fcos_ops::cpu
