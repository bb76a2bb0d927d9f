// Levels whose channels are neighbours in memory, and whose locations follow each other at one
// stride (channels_last). A thread takes a vector, a `V`, of channels of one group, of every so
// many-th location of a tile, so that a block reads whole lines; of 256 channels of two bytes a
// warp takes a location. Vectors have 16 bytes, or 8 where a group of halves ends within 16.
#pragma once

#include "cuda/group_norm/tiling.cuh"

namespace fcos_ops::cuda::norm {

// The place of this thread in a tile.
template <class V>
struct RowThread {
  std::int32_t column, row, rows;  // column: of the vector, `rows` locations at a time
  bool is_active;                  // one of the rows * columns threads that fit into the block

  __device__ __forceinline__ explicit RowThread(std::int32_t channels) {
    const std::int32_t columns = channels / V::kCount, thread = threadIdx.x;
    rows = static_cast<std::int32_t>(kThreads) / columns;
    column = thread % columns;
    row = thread / columns;
    is_active = row < rows;
  }

  __device__ __forceinline__ std::int32_t channel() const { return column * V::kCount; }

  // Locations that row `r` of the block has of `count`.
  __device__ __forceinline__ std::int32_t locations(std::int32_t r, std::int32_t count) const {
    return r < count ? (count - r + rows - 1) / rows : 0;
  }
};

// The vectors of one column in a tile.
template <class V, class View>
class TileColumn {
 public:
  __device__ __forceinline__ TileColumn(const View& view, const Tile& tile, std::int32_t channel)
      : stride_(static_cast<std::int32_t>(location_stride(view))),
        first_(static_cast<Element*>(view.data) + channel + tile.image * view.stride_batch +
               tile.first * stride_) {}

  // kLast: for the last time; the cache may give these lines up first, not those of other tiles.
  template <bool kLast>
  __device__ __forceinline__ V load(std::int32_t location) const {
    return math::bit_cast<V>(kLast ? __ldcs(address(location)) : __ldg(address(location)));
  }
  template <class Real>
  __device__ __forceinline__ void store(const Real (&values)[V::kCount],
                                        std::int32_t location) const {
    __stcs(address(location), math::bit_cast<typename V::Access>(vector_of<V>(values)));
  }

 private:
  template <class Of>
  using ForView = std::conditional_t<std::is_same_v<View, LevelView>, const Of, Of>;
  using Element = ForView<typename V::Element>;
  using Access = ForView<typename V::Access>;

  __device__ __forceinline__ Access* address(std::int32_t location) const {
    return reinterpret_cast<Access*>(first_ + location * stride_);
  }

  std::int32_t stride_;
  Element* first_;
};

// What normalizes the channels of a thread's vector.
template <class V>
struct VectorNorm {
  using Real = math::Real<typename V::Element>;
  Real mean_high, mean_low, scale[V::kCount], bias[V::kCount];

  __device__ __forceinline__ void set(const NormArguments<Real>& args,
                                      const math::GroupStatistics& group, std::int32_t channel) {
#pragma unroll
    for (int i = 0; i < V::kCount; ++i) {
      const auto norm = math::channel_norm(group, args.weight[channel + i], args.bias[channel + i]);
      mean_high = norm.mean_high;
      mean_low = norm.mean_low;
      scale[i] = norm.scale;
      bias[i] = norm.bias;
    }
  }

  __device__ __forceinline__ Real centered(Real x) const {
    return math::centered(x, mean_high, mean_low);
  }
};

// The tiles of the map of tile `index`: their first, and how many.
struct MapTiles {
  std::int64_t first, count;

  __device__ __forceinline__ MapTiles(const Tiles& tiles, const Tile& tile, std::int64_t index)
      : first(index - tile.first / tiles.tile_size()), count(tiles.count(tile.level)) {}
};

// How threads share the tiles of a map when they add up what each group has of them: a thread takes
// every `parts`-th of a group.
struct MergeThread {
  std::int32_t group, part, parts;

  __device__ __forceinline__ explicit MergeThread(std::int32_t groups) {
    const std::int32_t thread = threadIdx.x;
    parts = static_cast<std::int32_t>(kThreads) / groups;
    group = thread % groups;
    part = thread / groups;
  }
};

}  // namespace fcos_ops::cuda::norm
