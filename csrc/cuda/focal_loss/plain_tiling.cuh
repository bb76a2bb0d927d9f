// How the blocks of a launch share plain logits: see plain_rows.cuh and plain_planes.cuh.
#pragma once

#include <algorithm>

#include "cuda/focal_loss/tiling.cuh"

namespace fcos_ops::cuda::focal {

// Each is the best of those that a prototype of these kernels measured on an H200; behind it the
// others.
inline constexpr unsigned kRowThreads = 256;      // of a block; 128, 512
inline constexpr std::int32_t kRowVectors = 2;    // a thread takes at once; 1, 4; unpipelined 2, 5
inline constexpr std::int32_t kPlaneVectors = 4;  // the same, unpipelined; pipelined 2, 4
inline constexpr std::int32_t kPlaneChannels = 16;  // of a thread; 10, 20, 27

// Blocks that run on a multiprocessor at once, which limits registers: the most that do not spill.
// Before compute capability 8.0 there is room for 1024 threads. Host code, which cuts the tiles,
// always sees the last pair: elsewhere a launch may be up to a third more than one wave.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
inline constexpr unsigned kRowBlocks = 4, kPlaneBlocks = 8;
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
inline constexpr unsigned kRowBlocks = 5, kPlaneBlocks = 5;
#else
inline constexpr unsigned kRowBlocks = 5, kPlaneBlocks = 8;
#endif

// Bytes of a tile of rows: the more, the fewer barriers; the fewer, the less waits for the last.
// The prototype, for 80 classes: float32 with the gradient 64 rows (69 us; 128: 74), without it 128
// (41; 64: 47); bfloat16 256 (45; 128: 48, 64: 53).
constexpr std::int64_t tile_bytes(std::size_t element_size, bool has_gradient) {
  return element_size == 4 && has_gradient ? 20480 : 40960;
}
// Of these RowMarks has bits; rows of more classes than that go to the general kernels.
inline constexpr std::int32_t kMaxTileVectors = 4096;

// Where there are too few tiles or shares for all blocks that run at once, they are halved, but
// not below this. Not measured.
inline constexpr std::int64_t kMinTileRows = 32;
inline constexpr std::int32_t kMinPlaneChannels = kPlaneVectors;

// True if the vectors of a level are aligned in every image.
template <class T, class View>
bool has_row_vectors(const View& view, std::int64_t batch) {
  return view.height * view.width == 0 ||
         (reinterpret_cast<std::uintptr_t>(view.data) % kVectorBytes == 0 &&
          (batch == 1 || view.stride_batch % kVector<T> == 0));
}

// True if they are in every plane of every image, and the planes hold whole ones.
template <class T, class View>
bool has_plane_vectors(const View& view, std::int64_t batch, std::int64_t num_classes) {
  return has_row_vectors<T>(view, batch) && view.height * view.width % kVector<T> == 0 &&
         (num_classes == 1 || view.stride_channel % kVector<T> == 0);
}

struct RowTiling {
  Tiles tiles;  // of rows
  unsigned num_blocks;

  unsigned blocks() const { return num_blocks; }
};

// Rows of a tile, in whole vectors; 0 if so many already are more than a tile may have.
template <class T>
std::int64_t tile_rows(std::int64_t num_classes, bool has_gradient) {
  const auto row_bytes = num_classes * static_cast<std::int64_t>(sizeof(T));
  const std::int64_t rows = std::min<std::int64_t>(
      tile_bytes(sizeof(T), has_gradient) / std::max<std::int64_t>(row_bytes, 1), kRowThreads);
  const std::int64_t vectors = std::max<std::int64_t>(rows / kVector<T>, 1);
  return vectors * num_classes <= kMaxTileVectors ? vectors * kVector<T> : 0;
}

// Half of `rows`, in whole vectors, but not below kMinTileRows.
template <class T>
constexpr std::int64_t halved_rows(std::int64_t rows) {
  static_assert(kMinTileRows % kVector<T> == 0);
  return std::max(rows / 2 / kVector<T> * kVector<T>, kMinTileRows);
}
static_assert(halved_rows<float>(128) == 64 && halved_rows<float>(72) == 36);
static_assert(halved_rows<float>(56) == kMinTileRows);  // of 91 classes, with the gradient
static_assert(halved_rows<math::Half>(56) == kMinTileRows);

// `rows` as tile_rows() gives them.
template <class T>
RowTiling row_tiling(const FocalProblem& problem, std::int64_t rows, std::int64_t multiprocessors) {
  const std::int64_t blocks = std::min<std::int64_t>(kRowBlocks * multiprocessors, kMaxFocalBlocks);
  Tiles tiles(problem.logits, problem.num_levels, problem.batch, rows);
  while (tiles.count() < blocks && rows > kMinTileRows) {
    rows = halved_rows<T>(rows);
    tiles = Tiles(problem.logits, problem.num_levels, problem.batch, rows);
  }
  return {tiles, blocks_of(tiles.count(), blocks)};
}

struct PlaneLevel {
  FastDivisor image_divisor = FastDivisor(1);  // vectors of a plane
  std::uint32_t items = 0;                     // those of all images
  std::uint32_t first_piece = 0;               // a piece is what a block takes of a chunk
  std::int32_t size = 0;                       // locations
  std::int64_t first_row = 0;
  bool has_vectors = false;
};

// A block's share i is chunk i % chunks of piece i / chunks.
struct PlaneTiling {
  PlaneLevel level[kMaxLevels];
  FastDivisor chunk_divisor = FastDivisor(1);
  std::int32_t num_levels = 0;
  std::int32_t channels = kPlaneChannels;  // of a chunk
  std::int64_t rows = 0;                   // locations of an image
  std::uint32_t count = 0;                 // of shares

  unsigned blocks() const { return blocks_of(count, kMaxFocalBlocks); }
};

// Returns false where 32-bit arithmetic would overflow.
template <class T>
bool make_plane_tiling(const FocalProblem& problem, std::int64_t multiprocessors,
                       PlaneTiling* tiling) {
  const auto has_vectors = [&](const auto& view) {
    return has_plane_vectors<T>(view, problem.batch, problem.num_classes);
  };
  tiling->num_levels = problem.num_levels;
  std::int64_t pieces = 0;
  for (std::int32_t i = 0; i < problem.num_levels; ++i) {
    const std::int64_t size = problem.logits[i].height * problem.logits[i].width;
    const std::int64_t vectors = (size + kVector<T> - 1) / kVector<T>;
    const std::int64_t items = vectors * problem.batch;
    if (size > kMaxDividend || items > kMaxDividend) return false;
    tiling->level[i] = {divisor_of(vectors),
                        static_cast<std::uint32_t>(items),
                        static_cast<std::uint32_t>(pieces),
                        static_cast<std::int32_t>(size),
                        tiling->rows,
                        problem.all_arrays(i, has_vectors)};
    tiling->rows += size;
    pieces += (items + kFocalThreads - 1) / kFocalThreads;
  }
  const auto chunks = [&] {
    return (problem.num_classes + tiling->channels - 1) / tiling->channels;
  };
  while (pieces * chunks() < kPlaneBlocks * multiprocessors &&
         tiling->channels > kMinPlaneChannels) {
    tiling->channels /= 2;
  }
  if (pieces * chunks() > kMaxDividend) return false;
  tiling->chunk_divisor = divisor_of(chunks());
  tiling->count = static_cast<std::uint32_t>(pieces * chunks());
  return true;
}

}  // namespace fcos_ops::cuda::focal
