// The gradient by rows: what is done to a tile and to a map, in whichever form (forms.cuh).
#pragma once

#include "cuda/group_norm/rows.cuh"

namespace fcos_ops::cuda::norm {

// Of a group: of weight * gradient, and of that times the centered x.
template <class Real>
struct GroupSums {
  Real gradient, product;
};

// Of a channel: what a block adds to the gradients of weight and bias.
template <class Real>
struct ParameterSums {
  Real weight, bias;
};

template <class T>
struct BackwardArguments {
  using Real = math::Real<T>;
  Tiles tiles;
  Views<LevelView> maps, gradients;
  Views<MutableLevelView> grad_maps;
  NormArguments<Real> norm;
  const math::GroupStatistics* statistics;  // [level, image, group]
  GroupSums<Real>* groups;                  // [tile, group]
  math::GradientOffsets<Real>* offsets;     // [level, image, group]
  ParameterSums<Real>* parameters;          // [block, channel]
};

template <class V>
struct SharedSums {
  using Real = math::Real<typename V::Element>;
  GroupSums<Real> thread[kThreads];
  ParameterSums<Real> parameter[V::kCount][kThreads];  // of all tiles of the block
};

template <class Real>
struct MergedOffsets {
  GroupSums<double> part[kThreads];
  math::GradientOffsets<Real> group[kThreads];
};

template <class V, bool kRelu>
class BackwardRows {
 public:
  using T = typename V::Element;
  using Real = math::Real<T>;

  __device__ __forceinline__ explicit BackwardRows(const BackwardArguments<T>& in)
      : in_(in), thread_(in.norm.channels) {}

  // Before the first tile is reduced. A thread adds to places of its own.
  __device__ __forceinline__ void clear_parameters() {
    auto& shared = block_shared<SharedSums<V>>();
#pragma unroll
    for (int j = 0; j < V::kCount; ++j) shared.parameter[j][threadIdx.x] = {0, 0};
  }

  // Writes the sums of each group over the tile, and adds to those of the channels.
  __device__ __forceinline__ void reduce(const Tile& tile, std::int64_t index) {
    auto& shared = block_shared<SharedSums<V>>();
    if (thread_.is_active) shared.thread[threadIdx.x] = sums_of_thread(tile, shared);
    __syncthreads();
    const std::int32_t columns = in_.norm.channels / V::kCount;
    const std::int32_t group = threadIdx.x, group_columns = columns / in_.norm.groups;
    if (group < in_.norm.groups) {
      GroupSums<Real> total = {0, 0};
      for (std::int32_t row = 0; row < thread_.rows; ++row) {
        for (std::int32_t k = 0; k < group_columns; ++k) {
          const GroupSums<Real>& part = shared.thread[row * columns + group * group_columns + k];
          total.gradient += part.gradient;
          total.product += part.product;
        }
      }
      in_.groups[index * in_.norm.groups + group] = total;
    }
    __syncthreads();
  }

  // Behind the last tile, of one or more: reduce() ends with a barrier.
  __device__ __forceinline__ void write_parameters() const {
    const auto& shared = block_shared<SharedSums<V>>();
    if (thread_.row != 0) return;
    const std::int32_t columns = in_.norm.channels / V::kCount;
#pragma unroll
    for (int j = 0; j < V::kCount; ++j) {
      ParameterSums<Real> total = {0, 0};
      for (std::int32_t row = 0; row < thread_.rows; ++row) {
        const auto& part = shared.parameter[j][row * columns + thread_.column];
        total.weight += part.weight;
        total.bias += part.bias;
      }
      in_.parameters[std::int64_t{blockIdx.x} * in_.norm.channels + thread_.channel() + j] = total;
    }
  }

  // What the gradients of a map have in common, for each group.
  __device__ __forceinline__ void merge(const Tile& tile, std::int64_t index) {
    auto& shared = block_shared<MergedOffsets<Real>>();
    const MapTiles map(in_.tiles, tile, index);
    const std::int64_t locations = in_.tiles.locations(tile.level);
    const MergeThread merge(in_.norm.groups);
    if (merge.part < merge.parts) {
      GroupSums<double> total = {0, 0};
      for (std::int64_t i = merge.part; i < map.count; i += merge.parts) {
        const GroupSums<Real> part = in_.groups[(map.first + i) * in_.norm.groups + merge.group];
        total.gradient += part.gradient;
        total.product += part.product;
      }
      shared.part[threadIdx.x] = total;
    }
    __syncthreads();
    if (merge.part == 0) {
      GroupSums<double> total = shared.part[merge.group];
      for (std::int32_t part = 1; part < merge.parts; ++part) {
        total.gradient += shared.part[part * in_.norm.groups + merge.group].gradient;
        total.product += shared.part[part * in_.norm.groups + merge.group].product;
      }
      const auto elements = static_cast<double>(locations * in_.norm.per_group);
      shared.group[merge.group] = math::gradient_offsets<Real>(
          statistics(tile)[merge.group].inverse_deviation, total.gradient, total.product, elements);
    }
    __syncthreads();
  }
  __device__ __forceinline__ const math::GradientOffsets<Real>* merged() const {
    return block_shared<MergedOffsets<Real>>().group;
  }

  __device__ __forceinline__ void keep(const Tile& tile) const {
    const std::int32_t group = threadIdx.x;
    if (group < in_.norm.groups) kept(tile)[group] = merged()[group];
  }
  __device__ __forceinline__ math::GradientOffsets<Real>* kept(const Tile& tile) const {
    return in_.offsets + in_.norm.index(tile.level, tile.image, 0);
  }

  __device__ __forceinline__ void fetch(const Tile& tile) {
    const auto count = static_cast<std::int32_t>(tile.end - tile.first);
    if (!thread_.is_active) return;
    fetched_.template load<true>(column(in_.maps, tile), column(in_.gradients, tile), thread_,
                                 thread_.row, count);
  }

  __device__ __forceinline__ void prepare(const Tile& tile,
                                          const math::GradientOffsets<Real>* groups) {
    if (!thread_.is_active) return;
    const std::int32_t group = thread_.channel() / in_.norm.per_group;
    norm_.set(in_.norm, statistics(tile)[group], thread_.channel());
    offsets_ = groups[group];
  }

  __device__ __forceinline__ void finish(const Tile& tile) {
    if (!thread_.is_active) return;
    const auto count = static_cast<std::int32_t>(tile.end - tile.first);
    const TileColumn<V, LevelView> maps = column(in_.maps, tile);
    const TileColumn<V, LevelView> gradients = column(in_.gradients, tile);
    const TileColumn<V, MutableLevelView> to = column(in_.grad_maps, tile);
    for (std::int32_t i = thread_.row; i < count; i += thread_.rows * kBackwardInFlight<V>) {
      if (i != thread_.row) fetched_.template load<true>(maps, gradients, thread_, i, count);
#pragma unroll
      for (int k = 0; k < kBackwardInFlight<V>; ++k) {
        if (i + k * thread_.rows >= count) break;
        Real values[V::kCount];
#pragma unroll
        for (int j = 0; j < V::kCount; ++j) {
          const Real centered = norm_.centered(read(fetched_.x[k].element(j)));
          const Real gradient = read(fetched_.gradient[k].element(j));
          const Real g =
              math::before_activation<kRelu>(gradient, centered, norm_.scale[j], norm_.bias[j]);
          values[j] =
              math::gradient_by_x(g, centered, norm_.scale[j], offsets_.constant, offsets_.slope);
        }
        to.store(values, i + k * thread_.rows);
      }
    }
  }

 private:
  // Vectors of kBackwardInFlight<V> rows.
  struct Vectors {
    V x[kBackwardInFlight<V>], gradient[kBackwardInFlight<V>];

    // kLast: for the last time.
    template <bool kLast>
    __device__ __forceinline__ void load(const TileColumn<V, LevelView>& maps,
                                         const TileColumn<V, LevelView>& gradients,
                                         const RowThread<V>& thread, std::int32_t i,
                                         std::int32_t count) {
#pragma unroll
      for (int k = 0; k < kBackwardInFlight<V>; ++k) {
        if (i + k * thread.rows >= count) break;
        x[k] = maps.template load<kLast>(i + k * thread.rows);
        gradient[k] = gradients.template load<kLast>(i + k * thread.rows);
      }
    }
  };

  template <class View>
  __device__ __forceinline__ TileColumn<V, View> column(const Views<View>& views,
                                                        const Tile& tile) const {
    return {views.level[tile.level], tile, thread_.channel()};
  }

  // Of the groups of the map.
  __device__ __forceinline__ const math::GroupStatistics* statistics(const Tile& tile) const {
    return in_.statistics + in_.norm.index(tile.level, tile.image, 0);
  }

  // What this thread's elements of a tile add to their group; and, in `shared`, to their channels.
  __device__ __forceinline__ GroupSums<Real> sums_of_thread(const Tile& tile,
                                                            SharedSums<V>& shared) const {
    const auto count = static_cast<std::int32_t>(tile.end - tile.first);
    const TileColumn<V, LevelView> maps = column(in_.maps, tile);
    const TileColumn<V, LevelView> gradients = column(in_.gradients, tile);
    const std::int32_t channel = thread_.channel();
    const math::GroupStatistics group = statistics(tile)[channel / in_.norm.per_group];
    VectorNorm<V> norm = {};
    norm.set(in_.norm, group, channel);
    Real sums[V::kCount] = {}, products[V::kCount] = {};
    for (std::int32_t i = thread_.row; i < count; i += thread_.rows * kBackwardInFlight<V>) {
      Vectors vectors;
      vectors.template load<false>(maps, gradients, thread_, i, count);
#pragma unroll
      for (int k = 0; k < kBackwardInFlight<V>; ++k) {
        if (i + k * thread_.rows >= count) break;
#pragma unroll
        for (int j = 0; j < V::kCount; ++j) {
          const Real centered = norm.centered(read(vectors.x[k].element(j)));
          const Real gradient = read(vectors.gradient[k].element(j));
          const Real g =
              math::before_activation<kRelu>(gradient, centered, norm.scale[j], norm.bias[j]);
          sums[j] += g;
          products[j] += g * centered;
        }
      }
    }
    GroupSums<Real> own = {0, 0};
    const auto inverse_deviation = static_cast<Real>(group.inverse_deviation);
#pragma unroll
    for (int j = 0; j < V::kCount; ++j) {
      const Real weight = in_.norm.weight[channel + j];
      own.gradient += weight * sums[j];
      own.product += weight * products[j];
      ParameterSums<Real>& parameter = shared.parameter[j][threadIdx.x];
      parameter.weight += inverse_deviation * products[j];
      parameter.bias += sums[j];
    }
    return own;
  }

  const BackwardArguments<T>& in_;
  RowThread<V> thread_;
  VectorNorm<V> norm_;
  math::GradientOffsets<Real> offsets_;
  Vectors fetched_;
};

}  // namespace fcos_ops::cuda::norm
