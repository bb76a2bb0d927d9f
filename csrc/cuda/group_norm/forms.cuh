// The two forms of a pass over levels by rows, whose kernels share all that is done to a tile: a
// `Rows` (forward_rows.cuh, backward_rows.cuh), which has
//
//   reduce(tile, index)   writes what a tile leaves for its map
//   merge(tile, index)    adds up what the tiles of a map have left: merged(), in shared memory
//   keep(tile)            writes that for kept(tile), in global memory
//   fetch(tile)           starts to read a tile for the second time
//   prepare(tile, groups) reads merged() or kept(tile), of the map of a tile
//   finish(tile)          writes the result of a tile that was fetched
//
// and is called by all threads. Two plain launches: reduce_tiles(), then finish_tiles(). Or one
// cooperative launch of blocks that wait for each other, run_cooperative(): while the tiles of one
// map are reduced, those of the maps before are finished, which the cache still holds. Both forms
// give the same bits: the same blocks add up the sums of parameters over the same tiles, and all
// sums are added in the same order.
#pragma once

#include "cuda/common/flags.cuh"
#include "cuda/common/last_block.cuh"
#include "cuda/group_norm/rows.cuh"

namespace fcos_ops::cuda::norm {

// 1: two launches everywhere.
#if !defined(FCOS_OPS_AB_NORM_TWO_LAUNCHES)
#define FCOS_OPS_AB_NORM_TWO_LAUNCHES 0
#endif
inline constexpr bool kTwoLaunches = FCOS_OPS_AB_NORM_TWO_LAUNCHES != 0;

// 1: blocks finish their tiles one round later than they must. They wait less, but the cache has to
// hold more. Of a prototype, on an H200, the forward pass of batch 16 took 170 us with it and 157
// without, the backward pass 272 and 271.
#if !defined(FCOS_OPS_AB_NORM_LATER)
#define FCOS_OPS_AB_NORM_LATER 0
#endif
inline constexpr std::int64_t kRoundsLater = FCOS_OPS_AB_NORM_LATER;

template <class Rows>
__device__ __forceinline__ void reduce_tiles(Rows& rows, const Tiles& tiles) {
  for (std::int64_t i = blockIdx.x; i < tiles.count(); i += gridDim.x) rows.reduce(tiles[i], i);
}

// A block takes neighbouring tiles, so that it rarely meets more than two maps, from the last on,
// which the cache still holds.
template <class Rows>
__device__ __forceinline__ void finish_tiles(Rows& rows, const Tiles& tiles) {
  const std::int64_t per_block = (tiles.count() + gridDim.x - 1) / gridDim.x;
  const std::int64_t end = tiles.count() - blockIdx.x * per_block;
  const std::int64_t first = end > per_block ? end - per_block : 0;
  std::int64_t map = -1;  // that `rows` is prepared for
  for (std::int64_t i = end - 1; i >= first; --i) {
    const Tile tile = tiles[i];
    rows.fetch(tile);
    if (tiles.map(tile) != map) {
      map = tiles.map(tile);
      rows.merge(tile, i);  // a barrier within: what was merged before has been read by all
      rows.prepare(tile, rows.merged());
    }
    if (tile.first == 0) rows.keep(tile);
    rows.finish(tile);
  }
}

// How the blocks of a cooperative launch wait for each other. Numbers are 0 when it begins.
struct Waiting {
  std::uint32_t* arrivals;  // [map]: tiles that have been reduced
  std::uint32_t* flags;     // [map]: up once what they left has been merged and kept
  // Rounds between reducing a tile and finishing it: in a round each block takes a tile. All other
  // tiles of its map are then reduced in the same round or before; and as a block first reduces
  // its tile, then waits, none waits for one that waits for it.
  std::int64_t rounds;
};

template <class Rows>
__device__ __forceinline__ void run_cooperative(Rows& rows, const Tiles& tiles,
                                                const Waiting& waiting) {
  const std::int64_t behind = waiting.rounds * gridDim.x;
  for (std::int64_t i = blockIdx.x; i < tiles.count() + behind; i += gridDim.x) {
    const bool reduces = i < tiles.count(), finishes = i >= behind;
    if (reduces) rows.reduce(tiles[i], i);
    if (finishes) rows.fetch(tiles[i - behind]);  // goes on while the block learns who comes last
    if (reduces) {
      const Tile tile = tiles[i];
      const std::int64_t map = tiles.map(tile);
      const auto count = static_cast<unsigned>(tiles.count(tile.level));
      if (is_last_block(waiting.arrivals + map, count)) {
        rows.merge(tile, i);
        rows.keep(tile);
        __syncthreads();
        if (threadIdx.x == 0) raise_flag(waiting.flags + map);
      }
    }
    if (finishes) {
      const Tile before = tiles[i - behind];
      if (threadIdx.x % kWarp == 0) wait_for_flag(waiting.flags + tiles.map(before));
      __syncwarp();
      rows.prepare(before, rows.kept(before));
      rows.finish(before);
    }
  }
}

// Starts the cooperative form of a kernel with `blocks` blocks. Where the device has none or too
// few, its Status has the code kCooperativeTooLarge, and the other form, which does not use the
// counters, shall run. counters: [2, maps].
template <class Kernel, class Arguments>
Status launch_in_one(const char* name, Kernel kernel, std::int64_t blocks, const Context& context,
                     std::uint32_t* counters, const Arguments& arguments) {
  if (kTwoLaunches || blocks > count_cooperative_blocks(kernel, kThreads, context)) {
    return {kCooperativeTooLarge, name};
  }
  const Tiles& tiles = arguments.tiles;
  const Status status = fill_zero(name, counters, 2 * tiles.maps() * sizeof(*counters), context);
  if (!status.ok()) return status;
  const std::int64_t rounds = (tiles.largest_count() - 1 + blocks - 1) / blocks + kRoundsLater;
  const Waiting waiting = {counters, counters + tiles.maps(),
                           std::min(rounds, (tiles.count() - 1) / blocks)};
  return launch_cooperative(name, kernel, static_cast<unsigned>(blocks), kThreads, context,
                            arguments, waiting);
}

}  // namespace fcos_ops::cuda::norm
