// Stored gradients times the derivatives by their losses on a GPU, in place.
//
// One launch takes all gradients of a call. Usually every factor is 1, and then all that happens is
// that the blocks start, read the factors and leave: two blocks for each multiprocessor, which
// should keep the memory busy (not measured) where a factor is another. Then a block takes tiles of
// 16 KiB.
// Where a gradient is one dense block of memory, in whatever order, a thread has four accesses of
// 16 bytes in flight, 32 KiB a multiprocessor; else it takes an element at a time.
#include <algorithm>

#include "common/dense.h"
#include "common/dtypes.h"
#include "cuda/common/tiles.h"
#include "cuda/common/vectors.cuh"
#include "cuda/drivers.h"

namespace fcos_ops::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kBlocks = 2;  // for each multiprocessor; beyond, a block takes several tiles
constexpr int kInFlight = 4;     // vectors of a thread; 2, with 4 blocks, is as much in flight
constexpr int kTileVectors = kThreads * kInFlight;

template <class T>
constexpr std::int64_t kTile = kTileVectors * kVector<T>;  // elements

struct Gradient {
  MutableLevelView view;
  DType dtype;
  std::int32_t scale;                       // index of its factor
  bool is_vectors;                          // dense and aligned
  std::int64_t channels, size, first_tile;  // size: elements; first_tile: among the tiles of all
};

// What the kernel takes by value: little for one gradient, as of most losses.
template <int kCapacity>
struct Gradients {
  const void* scale[kCapacity];
  std::int32_t num_scales, count;
  std::int64_t tiles;
  Gradient gradient[kCapacity];
};

template <class T>
__device__ __forceinline__ Vector<T> times(const Vector<T>& vector, math::Real<T> factor) {
  Vector<T> product = {};
#pragma unroll
  for (int i = 0; i < kVector<T>; i += 2) {
    set_pair(product, i, read(vector.element(i)) * factor, read(vector.element(i + 1)) * factor);
  }
  return product;
}

// A tile of `count` elements from an aligned address.
template <class T>
__device__ __forceinline__ void scale_vectors(T* data, int count, math::Real<T> factor) {
  auto* const vectors = reinterpret_cast<Vector<T>*>(data);
  const int whole = count / kVector<T>;
  Vector<T> loaded[kInFlight];
#pragma unroll
  for (int k = 0; k < kInFlight; ++k) {
    const int i = k * static_cast<int>(kThreads) + static_cast<int>(threadIdx.x);
    if (i < whole) loaded[k] = vectors[i];
  }
#pragma unroll
  for (int k = 0; k < kInFlight; ++k) {
    const int i = k * static_cast<int>(kThreads) + static_cast<int>(threadIdx.x);
    if (i < whole) vectors[i] = times(loaded[k], factor);
  }
  const int last = whole * kVector<T> + static_cast<int>(threadIdx.x);
  if (last < count) write(read(data[last]) * factor, data[last]);
}

// Elements [first, end) in the order of batch, channels, rows, columns.
template <class T>
__device__ __forceinline__ void scale_elements(const Gradient& gradient, std::int64_t first,
                                               std::int64_t end, math::Real<T> factor) {
  const MutableLevelView& view = gradient.view;
  for (std::int64_t i = first + threadIdx.x; i < end; i += kThreads) {
    const auto [row, x] = math::divide(i, view.width);
    const auto [plane, y] = math::divide(row, view.height);
    const auto [image, channel] = math::divide(plane, gradient.channels);
    T& element =
        static_cast<T*>(view.data)[image * view.stride_batch + channel * view.stride_channel +
                                   y * view.stride_y + x * view.stride_x];
    write(read(element) * factor, element);
  }
}

template <class Real, int kCapacity>
__global__ void __launch_bounds__(kThreads, kBlocks)
    scale_gradients_kernel(Gradients<kCapacity> all) {
  constexpr bool kIsOne = kCapacity == 1;  // so that no index makes a copy of the argument
  bool has_work = false;
  for (std::int32_t i = 0; i < (kIsOne ? 1 : all.num_scales); ++i) {
    has_work |= *static_cast<const Real*>(all.scale[i]) != Real(1);
  }
  if (!has_work) return;
  std::int32_t index = 0;
  for (std::int64_t tile = blockIdx.x; tile < all.tiles; tile += gridDim.x) {
    if constexpr (!kIsOne) {
      while (index + 1 < all.count && tile >= all.gradient[index + 1].first_tile) ++index;
    }
    const Gradient& gradient = all.gradient[index];
    const Real factor = *static_cast<const Real*>(all.scale[kIsOne ? 0 : gradient.scale]);
    if (factor == Real(1)) continue;
    math::dispatch(math::ComputedAs<Real>{}, gradient.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      const std::int64_t first = (tile - gradient.first_tile) * kTile<T>;
      const std::int64_t end = first + kTile<T> < gradient.size ? first + kTile<T> : gradient.size;
      if (gradient.is_vectors) {
        scale_vectors(static_cast<T*>(gradient.view.data) + first, static_cast<int>(end - first),
                      factor);
      } else {
        scale_elements<T>(gradient, first, end, factor);
      }
    });
  }
}

// Appends a gradient, which must have elements.
template <int kCapacity>
void append(const ScaledGradient& scaled, Gradients<kCapacity>& all) {
  const MutableLevelView& view = scaled.view;
  if (all.num_scales == 0 || all.scale[all.num_scales - 1] != scaled.scale) {
    all.scale[all.num_scales++] = scaled.scale;
  }
  const std::int64_t size = scaled.batch * scaled.channels * view.height * view.width;
  const bool is_aligned = reinterpret_cast<std::uintptr_t>(view.data) % kVectorBytes == 0;
  const bool is_vectors = is_aligned && is_dense(view, scaled.batch, scaled.channels);
  all.gradient[all.count++] = {view, scaled.dtype, all.num_scales - 1, is_vectors, scaled.channels,
                               size, all.tiles};
  all.tiles += math::dispatch(math::Floating{}, scaled.dtype, [&](auto type) -> std::int64_t {
    constexpr std::int64_t kElements = kTile<typename decltype(type)::type>;
    return (size + kElements - 1) / kElements;
  });
}

template <int kCapacity>
Status scale_all(const ScaleGradientsArgs& args, const Context& context) {
  Gradients<kCapacity> all = {};
  for (std::int32_t i = 0; i < args.count; ++i) {
    const ScaledGradient& scaled = args.gradients[i];
    const std::int64_t locations = scaled.view.height * scaled.view.width;
    if (scaled.batch * scaled.channels * locations > 0) append(scaled, all);
  }
  const std::int64_t blocks = kBlocks * count_multiprocessors(context);
  const bool is_double = all.count > 0 && all.gradient[0].dtype == DType::kFloat64;
  return launch("scale_gradients_kernel",
                is_double ? scale_gradients_kernel<double, kCapacity>
                          : scale_gradients_kernel<float, kCapacity>,
                static_cast<unsigned>(std::min(all.tiles, blocks)), kThreads, context, all);
}

}  // namespace

Status run(const ScaleGradientsArgs& args, const Context& context) {
  return on_device(context, [&]() -> Status {
    return args.count <= 1 ? scale_all<1>(args, context)
                           : scale_all<kMaxScaledGradients>(args, context);
  });
}

}  // namespace fcos_ops::cuda
