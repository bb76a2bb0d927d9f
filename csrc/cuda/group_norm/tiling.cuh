// How the levels of a group norm are shared out over blocks, and what a thread needs of them.
#pragma once

#include <algorithm>

#include "common/activation.h"
#include "common/dtypes.h"
#include "cuda/common/tiles.h"
#include "cuda/common/vectors.cuh"
#include "fcos_ops/group_norm.h"
#include "math/group_norm.h"

namespace fcos_ops::cuda::norm {

inline constexpr unsigned kThreads = 256;

// Locations of a tile; and of one where there would be fewer tiles than blocks have room. A
// prototype, on an H200, took 157 us for batch 16 with 128, 183 with 64; for batch 1 18 with 64.
inline constexpr std::int64_t kTile = 128, kSmallTile = 64;

// Blocks of a multiprocessor, beyond which each takes several tiles: of the kernel of moments,
// whose threads need few registers, and of the others.
inline constexpr std::int64_t kMomentsBlocks = 3, kBlocks = 2;

// Vectors that a thread has on their way at a time, forward and, of maps and gradients each,
// backward: 64 bytes. Twice as many do not fit into the registers of two blocks.
template <class V>
inline constexpr int kInFlight = static_cast<int>(64 / sizeof(V));
template <class V>
inline constexpr int kBackwardInFlight = static_cast<int>(32 / sizeof(V));

// Sizes and parameters, whatever the direction.
template <class Real>
struct NormArguments {
  const Real* weight;
  const Real* bias;
  std::int64_t batch;
  std::int32_t channels, groups, per_group;

  template <class Args>
  static NormArguments of(const Args& args) {
    return {static_cast<const Real*>(args.weight),
            static_cast<const Real*>(args.bias),
            args.batch,
            static_cast<std::int32_t>(args.channels),
            static_cast<std::int32_t>(args.groups),
            static_cast<std::int32_t>(args.channels / args.groups)};
  }

  // The index of a group's statistics.
  FCOS_HD std::int64_t index(std::int32_t level, std::int64_t image, std::int32_t group) const {
    return (level * batch + image) * groups + group;
  }
};

// Blocks for tiles by rows, `per_multiprocessor` of them at a time.
inline std::int64_t row_blocks(const Tiles& tiles, std::int64_t per_multiprocessor,
                               const Context& context) {
  return std::min(tiles.count(), per_multiprocessor * count_multiprocessors(context));
}

// Which levels are taken by rows, in tiles of locations, and which group by group (see rows.cuh and
// planes.cuh). Those of the other kind have no locations in `tiles`.
struct Partition {
  Tiles tiles;
  std::int64_t vector_bytes;  // of rows
  std::int32_t plane_level[kMaxLevels];
  std::int32_t num_planes;
};

// From a location to the next, where the rows of a level join to one line.
template <class View>
FCOS_HD std::int64_t location_stride(const View& view) {
  return view.width == 1 ? view.stride_y : view.stride_x;
}

// Elements, at most, between locations that are taken by rows: 32 bits then count those of a tile.
inline constexpr std::int64_t kMaxLocationStride = 0x7fffffff / kTile;

// True if the channels of a location are neighbours, rows join to one line, and every location
// starts at a multiple of `vector_bytes`.
template <class View>
bool is_by_rows(const View& view, std::int64_t batch, std::int64_t element_size,
                std::int64_t vector_bytes) {
  const std::int64_t locations = view.height * view.width;
  const bool is_line =
      view.height == 1 || view.width == 1 || view.stride_y == view.width * view.stride_x;
  const auto is_aligned = [&](std::int64_t stride) {
    return stride * element_size % vector_bytes == 0;
  };
  return locations > 0 && view.stride_channel == 1 && is_line &&
         reinterpret_cast<std::uintptr_t>(view.data) % vector_bytes == 0 &&
         (locations == 1 || (is_aligned(location_stride(view)) && location_stride(view) >= 0 &&
                             location_stride(view) <= kMaxLocationStride)) &&
         (batch == 1 || is_aligned(view.stride_batch));
}

// Tiles as if all levels were taken by rows. Of these the workspace has its size, so that a query
// needs sizes alone, not where the maps lie.
template <class Args>
Tiles tiles_at_most(const Args& args, const Context& context) {
  const Tiles tiles(args.maps, args.num_levels, args.batch, kTile);
  if (tiles.count() >= kBlocks * count_multiprocessors(context)) return tiles;
  return Tiles(args.maps, args.num_levels, args.batch, kSmallTile);
}

// Bytes of the vectors of rows: 8 where groups of two-byte elements do not fall into 16.
template <class Args>
std::int64_t vector_bytes_of(const Args& args, std::int64_t element_size) {
  constexpr auto kWhole = static_cast<std::int64_t>(kVectorBytes);
  const bool is_whole = args.channels / args.groups * element_size % kWhole == 0;
  return element_size > 2 || is_whole ? kWhole : kWhole / 2;
}

// By rows: where all tensors are, and their channels fall into vectors, each of one group, no more
// than there are threads. What is any other view goes the way of planes: rows need no division a
// vector, and no access but that of a whole one, nor the registers for either.
template <class Args, class... Views>
Partition partition_of(const Args& args, const Context& context, const Views*... views) {
  const std::int64_t element_size = math::dispatch(math::Floating{}, args.dtype, [](auto type) {
    return static_cast<std::int64_t>(sizeof(typename decltype(type)::type));
  });
  const std::int64_t vector_bytes = vector_bytes_of(args, element_size);
  const std::int64_t vector = vector_bytes / element_size;
  const bool fits = args.channels > 0 && args.channels / args.groups % vector == 0 &&
                    args.channels / vector <= kThreads;
  LevelView by_rows[kMaxLevels] = {};
  Partition result = {tiles_at_most(args, context), vector_bytes, {}, 0};
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    const bool are_rows =
        fits && is_by_rows(args.maps[i], args.batch, element_size, vector_bytes) &&
        ((views == nullptr || is_by_rows(views[i], args.batch, element_size, vector_bytes)) && ...);
    if (are_rows) {
      by_rows[i] = args.maps[i];
    } else {
      result.plane_level[result.num_planes++] = i;
    }
  }
  result.tiles = Tiles(by_rows, args.num_levels, args.batch, result.tiles.tile_size());
  return result;
}

// Groups of levels that are taken group by group: one a block.
template <class Args>
std::int64_t plane_blocks(const Args& args, const Partition& partition) {
  return partition.num_planes * args.batch * args.groups;
}

// Calls body(V()), the type of vectors by rows of an op on elements of type T.
template <class T, class Body>
Status with_vectors(const Partition& partition, const Body& body) {
  if constexpr (sizeof(T) == 2) {
    if (partition.vector_bytes < static_cast<std::int64_t>(kVectorBytes)) {
      return body(Vector<T, 2>());
    }
  }
  return body(Vector<T>());
}

}  // namespace fcos_ops::cuda::norm
