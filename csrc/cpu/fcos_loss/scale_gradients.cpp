// The backward pass of the FCOS loss on a CPU: gradients times numbers, in place.
#include <cmath>

#include "common/dtypes.h"
#include "cpu/common/isa.h"
#include "cpu/common/levels.h"
#include "cpu/common/parallel.h"
#include "cpu/drivers.h"

namespace fcos_ops::cpu::fcos {
namespace {

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
void scale_head(const FcosScaleArgs& args, const HeadGradient& head, std::int32_t num_threads) {
  using Real = math::Real<T>;
  const Real factor = *static_cast<const Real*>(head.scale);
  if (factor == Real(1)) return;
  for (std::int32_t level = 0; level < args.num_levels; ++level) {
    const MutableLevelView& view = head.gradient[level];
    if (view.width == 0 || head.channels == 0) continue;
    parallel_for(args.batch * view.height, num_threads, [&](std::int64_t i) {
      scale_row<T>(view, i / view.height, i % view.height, head.channels, factor);
    });
  }
}

}  // namespace
}  // namespace fcos_ops::cpu::fcos

namespace fcos_ops::cpu {

Status fcos_scale_gradients(const FcosScaleArgs& args, const Context& context) {
  for (const HeadGradient& head : args.heads) {
    if (head.gradient == nullptr) continue;
    math::dispatch(math::Floating{}, head.dtype, [&](auto type) {
      fcos::scale_head<typename decltype(type)::type>(args, head, context.num_threads);
    });
  }
  return {};
}

}  // namespace fcos_ops::cpu
