// The backward pass of the FCOS loss on a GPU: gradients times numbers, in place.
//
// One launch takes all levels of all heads. Where a level is one dense block of memory, in whatever
// order, a thread takes 16 bytes of it at a time; else an element. Usually every factor is 1, and
// then all that happens is that the blocks, no more than a GPU runs at once, start and find that
// out.
#include <algorithm>
#include <iterator>

#include "common/dtypes.h"
#include "cuda/common/tiles.h"
#include "cuda/common/vectors.cuh"
#include "cuda/drivers.h"
#include "fcos_ops/fcos_loss.h"

namespace fcos_ops::cuda::fcos {
namespace {

constexpr unsigned kThreads = 256;
constexpr std::int32_t kHeads = 3;
constexpr std::int64_t kTile = 4096;   // elements of a block at a time
constexpr std::int64_t kBlocks = 528;  // beyond, a block takes several tiles; 4 for each of 132 SMs

struct Gradient {
  MutableLevelView view;
  DType dtype;
  std::int32_t head;
  bool is_dense;
  std::int64_t channels, size, first_tile;  // size: elements; first_tile: among the tiles of all
};

struct Gradients {
  Gradient gradient[kHeads * kMaxLevels];
  std::int32_t count;
  std::int64_t tiles;
  const void* scale[kHeads];
};

// The factor of a head's gradients.
template <class Real>
__device__ __forceinline__ Real head_factor(const Gradients& all, std::int32_t head) {
  return all.scale[head] == nullptr ? Real(1) : *static_cast<const Real*>(all.scale[head]);
}

template <class T>
__device__ __forceinline__ void scale_vector(T* data, std::int64_t left, math::Real<T> factor) {
  if (left < kVector<T>) {
    for (std::int64_t i = 0; i < left; ++i) write(read(data[i]) * factor, data[i]);
    return;
  }
  const Vector<T> vector = load_vector(data);
  math::Real<T> values[kVector<T>];
#pragma unroll
  for (int i = 0; i < kVector<T>; ++i) values[i] = read(vector.element(i)) * factor;
  store_values<T>(values, data);
}

// Elements [first, end) of a gradient.
template <class T>
__device__ __forceinline__ void scale_tile(const Gradient& gradient, std::int64_t first,
                                           std::int64_t end, math::Real<T> factor) {
  const MutableLevelView& view = gradient.view;
  T* const data = static_cast<T*>(view.data);
  if (gradient.is_dense) {
    for (std::int64_t i = first + threadIdx.x * kVector<T>; i < end; i += kThreads * kVector<T>) {
      scale_vector(data + i, end - i, factor);
    }
    return;
  }
  for (std::int64_t i = first + threadIdx.x; i < end; i += kThreads) {
    const auto [row, x] = math::divide(i, view.width);
    const auto [plane, y] = math::divide(row, view.height);
    const auto [image, channel] = math::divide(plane, gradient.channels);
    T& element = data[image * view.stride_batch + channel * view.stride_channel +
                      y * view.stride_y + x * view.stride_x];
    write(read(element) * factor, element);
  }
}

template <class Real>
__global__ void __launch_bounds__(kThreads, 1) fcos_loss_scale_gradients_kernel(Gradients all) {
  Real factor[kHeads];
  bool has_work = false;
  for (std::int32_t head = 0; head < kHeads; ++head) {
    factor[head] = head_factor<Real>(all, head);
    has_work = has_work || factor[head] != Real(1);
  }
  if (!has_work) return;
  std::int32_t index = 0;
  for (std::int64_t tile = blockIdx.x; tile < all.tiles; tile += gridDim.x) {
    while (index + 1 < all.count && tile >= all.gradient[index + 1].first_tile) ++index;
    const Gradient& gradient = all.gradient[index];
    const Real head_scale = gradient.head == 0   ? factor[0]
                            : gradient.head == 1 ? factor[1]
                                                 : factor[2];
    if (head_scale == Real(1)) continue;
    const std::int64_t first = (tile - gradient.first_tile) * kTile;
    const std::int64_t end = first + kTile < gradient.size ? first + kTile : gradient.size;
    math::dispatch(math::ComputedAs<Real>{}, gradient.dtype, [&](auto type) {
      scale_tile<typename decltype(type)::type>(gradient, first, end, head_scale);
    });
  }
}

// True if the elements fill one block of memory that starts at `data`.
bool is_dense(const MutableLevelView& view, std::int64_t batch, std::int64_t channels) {
  struct Axis {
    std::int64_t size, stride;
  };
  Axis axes[] = {{batch, view.stride_batch},
                 {channels, view.stride_channel},
                 {view.height, view.stride_y},
                 {view.width, view.stride_x}};
  std::sort(std::begin(axes), std::end(axes),
            [](const Axis& a, const Axis& b) { return a.stride < b.stride; });
  std::int64_t next = 1;
  for (const Axis& axis : axes) {
    if (axis.size == 1) continue;
    if (axis.stride != next) return false;
    next *= axis.size;
  }
  return true;
}

Gradients gradients_of(const FcosScaleArgs& args) {
  Gradients all = {};
  for (std::int32_t i = 0; i < kHeads; ++i) {
    const HeadGradient& head = args.heads[i];
    if (head.gradient == nullptr) continue;
    all.scale[i] = head.scale;
    for (std::int32_t level = 0; level < args.num_levels; ++level) {
      const MutableLevelView& view = head.gradient[level];
      const std::int64_t size = args.batch * head.channels * view.height * view.width;
      if (size == 0) continue;
      const bool dense = is_dense(view, args.batch, head.channels);
      all.gradient[all.count++] = {view, head.dtype, i, dense, head.channels, size, all.tiles};
      all.tiles += (size + kTile - 1) / kTile;
    }
  }
  return all;
}

}  // namespace
}  // namespace fcos_ops::cuda::fcos

namespace fcos_ops::cuda {

Status fcos_scale_gradients(const FcosScaleArgs& args, const Context& context) {
  return on_device(context, [&]() -> Status {
    const fcos::Gradients all = fcos::gradients_of(args);
    const bool is_double = all.count > 0 && all.gradient[0].dtype == DType::kFloat64;
    const auto blocks = static_cast<unsigned>(std::min(all.tiles, fcos::kBlocks));
    return launch("fcos_loss_scale_gradients_kernel",
                  is_double ? fcos::fcos_loss_scale_gradients_kernel<double>
                            : fcos::fcos_loss_scale_gradients_kernel<float>,
                  blocks, fcos::kThreads, context, all);
  });
}

}  // namespace fcos_ops::cuda
