// Forward by rows: what is done to a tile and to a map, in whichever form (forms.cuh).
#pragma once

#include "cuda/group_norm/rows.cuh"

namespace fcos_ops::cuda::norm {

template <class T>
struct ForwardArguments {
  Tiles tiles;
  Views<LevelView> maps;
  Views<MutableLevelView> normalized;
  NormArguments<math::Real<T>> norm;
  double eps;
  math::Moments<math::Real<T>>* moments;  // [tile, group]
  math::GroupStatistics* statistics;      // [level, image, group]
};

template <class Real>
struct ThreadMoments {
  math::Moments<Real> thread[kThreads];
};

struct MergedGroups {
  math::MomentSums<double> part[kThreads];
  math::GroupStatistics group[kThreads];
};

template <class V, bool kRelu>
class ForwardRows {
 public:
  using T = typename V::Element;
  using Real = math::Real<T>;

  __device__ __forceinline__ explicit ForwardRows(const ForwardArguments<T>& in)
      : in_(in), thread_(in.norm.channels) {}

  // Writes the moments of each group over the tile.
  __device__ __forceinline__ void reduce(const Tile& tile, std::int64_t index) {
    auto& shared = block_shared<ThreadMoments<Real>>();
    const auto count = static_cast<std::int32_t>(tile.end - tile.first);
    if (thread_.is_active) shared.thread[threadIdx.x] = moments_of_thread(tile, count);
    __syncthreads();
    const std::int32_t columns = in_.norm.channels / V::kCount;
    const std::int32_t group = threadIdx.x, group_columns = columns / in_.norm.groups;
    if (group < in_.norm.groups) {
      const math::Moments<Real>* first = shared.thread + group * group_columns;
      const std::int32_t rows = count < thread_.rows ? count : thread_.rows;
      const std::int32_t middle = rows / 2 * columns + group_columns / 2;
      const std::int32_t last = (rows - 1) * columns + group_columns - 1;
      math::MergedMoments<Real> merged(
          math::median(first->base, first[middle].base, first[last].base), 0);
      for (std::int32_t row = 0; row < rows; ++row) {
        const auto elements = static_cast<Real>(thread_.locations(row, count) * V::kCount);
        for (std::int32_t k = 0; k < group_columns; ++k) {
          merged.add(first[row * columns + k], elements);
        }
      }
      in_.moments[index * in_.norm.groups + group] = merged.moments();
    }
    __syncthreads();
  }

  // The statistics of the groups of the map.
  __device__ __forceinline__ void merge(const Tile& tile, std::int64_t index) {
    auto& shared = block_shared<MergedGroups>();
    const MapTiles map(in_.tiles, tile, index);
    const std::int64_t locations = in_.tiles.locations(tile.level), whole = in_.tiles.tile_size();
    const MergeThread merge(in_.norm.groups);
    const math::Moments<Real>* const own = in_.moments + map.first * in_.norm.groups + merge.group;
    math::MergedMoments<double> merged(own->base, own->offset);
    if (merge.part < merge.parts) {
      for (std::int64_t i = merge.part; i < map.count; i += merge.parts) {
        const std::int64_t left = locations - i * whole, length = left < whole ? left : whole;
        merged.add(own[i * in_.norm.groups], static_cast<double>(length * in_.norm.per_group));
      }
      shared.part[threadIdx.x] = merged.sums();
    }
    __syncthreads();
    if (merge.part == 0) {
      for (std::int32_t part = 1; part < merge.parts; ++part) {
        merged.add(shared.part[part * in_.norm.groups + merge.group]);
      }
      const auto elements = static_cast<double>(locations * in_.norm.per_group);
      shared.group[merge.group] = math::group_statistics(merged.moments(), elements, in_.eps);
    }
    __syncthreads();
  }
  __device__ __forceinline__ const math::GroupStatistics* merged() const {
    return block_shared<MergedGroups>().group;
  }

  __device__ __forceinline__ void keep(const Tile& tile) const {
    const std::int32_t group = threadIdx.x;
    if (group < in_.norm.groups) kept(tile)[group] = merged()[group];
  }
  __device__ __forceinline__ math::GroupStatistics* kept(const Tile& tile) const {
    return in_.statistics + in_.norm.index(tile.level, tile.image, 0);
  }

  __device__ __forceinline__ void fetch(const Tile& tile) {
    const auto count = static_cast<std::int32_t>(tile.end - tile.first);
    if (thread_.is_active) load<true>(from(tile), thread_.row, count, fetched_);
  }

  __device__ __forceinline__ void prepare(const Tile&, const math::GroupStatistics* groups) {
    if (!thread_.is_active) return;
    norm_.set(in_.norm, groups[thread_.channel() / in_.norm.per_group], thread_.channel());
  }

  __device__ __forceinline__ void finish(const Tile& tile) {
    if (!thread_.is_active) return;
    const auto count = static_cast<std::int32_t>(tile.end - tile.first);
    const TileColumn<V, MutableLevelView> to(in_.normalized.level[tile.level], tile,
                                             thread_.channel());
    for (std::int32_t i = thread_.row; i < count; i += thread_.rows * kInFlight<V>) {
      if (i != thread_.row) load<true>(from(tile), i, count, fetched_);
#pragma unroll
      for (int k = 0; k < kInFlight<V>; ++k) {
        if (i + k * thread_.rows >= count) break;
        Real values[V::kCount];
#pragma unroll
        for (int j = 0; j < V::kCount; ++j) {
          values[j] = math::normalized<kRelu>(norm_.centered(read(fetched_[k].element(j))),
                                              norm_.scale[j], norm_.bias[j]);
        }
        to.store(values, i + k * thread_.rows);
      }
    }
  }

 private:
  __device__ __forceinline__ TileColumn<V, LevelView> from(const Tile& tile) const {
    return {in_.maps.level[tile.level], tile, thread_.channel()};
  }

  // The base for the moments of a thread that has taken the first of `locations` vectors: of
  // several locations, as an outlier is often one in all channels.
  static __device__ __forceinline__ Real base_of(const V (&vectors)[kInFlight<V>],
                                                 std::int32_t locations) {
    const V &first = vectors[0], &second = vectors[1], &third = vectors[2];
    constexpr int kMiddle = V::kCount / 2, kLast = V::kCount - 1;
    return math::median(
        read(first.element(0)),
        locations > 1 ? read(second.element(kMiddle)) : read(first.element(kMiddle)),
        locations > 2 ? read(third.element(kLast)) : read(first.element(kLast)));
  }

  // Moments of this thread's elements of a tile.
  __device__ __forceinline__ math::Moments<Real> moments_of_thread(const Tile& tile,
                                                                   std::int32_t count) const {
    const TileColumn<V, LevelView> column = from(tile);
    Real base = 0, sum = 0, squares = 0;
    for (std::int32_t i = thread_.row; i < count; i += thread_.rows * kInFlight<V>) {
      V vectors[kInFlight<V>];
      load<false>(column, i, count, vectors);
      if (i == thread_.row) base = base_of(vectors, thread_.locations(i, count));
#pragma unroll
      for (int k = 0; k < kInFlight<V>; ++k) {
        if (i + k * thread_.rows >= count) break;
#pragma unroll
        for (int j = 0; j < V::kCount; ++j) {
          const Real difference = read(vectors[k].element(j)) - base;
          sum += difference;
          squares += difference * difference;
        }
      }
    }
    const std::int32_t locations = thread_.locations(thread_.row, count);
    if (locations == 0) return {};
    return math::moments_of_sums(base, sum, squares, static_cast<Real>(locations * V::kCount));
  }

  // Reads the vectors of kInFlight<V> rows from location i on. kLast: for the last time.
  template <bool kLast>
  __device__ __forceinline__ void load(const TileColumn<V, LevelView>& column, std::int32_t i,
                                       std::int32_t count, V (&vectors)[kInFlight<V>]) const {
#pragma unroll
    for (int k = 0; k < kInFlight<V>; ++k) {
      if (i + k * thread_.rows < count) {
        vectors[k] = column.template load<kLast>(i + k * thread_.rows);
      }
    }
  }

  const ForwardArguments<T>& in_;
  RowThread<V> thread_;
  VectorNorm<V> norm_;
  V fetched_[kInFlight<V>];
};

}  // namespace fcos_ops::cuda::norm
