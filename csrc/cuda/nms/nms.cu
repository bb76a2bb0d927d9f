// Non-maximum suppression on a GPU. See include/fcos_ops/nms.h for what it computes.
//
// First the candidates are put in order (order.cuh): nms_key_kernel, a radix sort,
// nms_gather_kernel; or, for at most 4096 boxes of one image, one kernel for all. Then there are
// two ways.
// - Many images of which few boxes are wanted: nms_image_kernel, a block an image, which stops
//   as soon as it has found them (block_nms.cuh).
// - Else in rounds of 4096 candidates of any images (rounds.cuh), two kernels a round. The host
//   knows neither how many boxes are candidates nor how many are wanted still, so it launches
//   rounds for all boxes, and those without work leave at once.
//
// Bottlenecks. A test of a pair takes about 20 instructions, and N boxes of which K are kept need
// at most N K + 4096 N / 2 of them: 10^12 pairs a second and more. A round's walk through its 64
// groups is one block's latency: about 10 us.
//
// Nothing but the order decides which boxes overlap first, and every bit is written by one thread
// or by an integer OR, so results repeat bit by bit.
#include "common/integers.h"
#include "common/workspace.h"
#include "cuda/common/device_radix_sort.h"
#include "cuda/common/tiles.h"
#include "cuda/drivers.h"
#include "cuda/nms/order.cuh"
#include "cuda/nms/rounds.cuh"

namespace fcos_ops::cuda::suppression {
namespace {

// From so many images and up to so many detections nms_image_kernel is taken. One block has to go
// through an image's boxes, so it must be worth the other blocks' idling; and up to here no list of
// kept boxes outgrows the first cache.
constexpr std::int64_t kManyImages = 4, kFewDetections = 1024;

__global__ void __launch_bounds__(kOrderThreads)
    nms_clear_kernel(NmsArgs args, std::uint32_t* suppressed) {
  clear(args, suppressed, grid_thread(), grid_threads());
}

// Clears, and makes the key of every box: of image and score where they fit, else of the score.
__global__ void __launch_bounds__(kOrderThreads)
    nms_key_kernel(NmsArgs args, std::uint32_t* suppressed, std::uint64_t* keys,
                   std::int32_t* indices) {
  clear(args, suppressed, grid_thread(), grid_threads());
  for (std::int64_t i = grid_thread(); i < args.num_boxes; i += grid_threads()) {
    const std::int64_t image = image_of_box(args, i);
    std::uint64_t key = kNoCandidate;
    if (image >= 0) {
      if (args.score_dtype == DType::kFloat64) {
        key = score_key<double>(args, i);
      } else {
        key = score_key<float>(args, i);
        if (key != kNoCandidate) key |= static_cast<std::uint64_t>(image) << 32;
      }
    }
    keys[i] = key;
    indices[i] = static_cast<std::int32_t>(i);
  }
}

// Replaces the keys of boxes sorted by score by their images.
__global__ void __launch_bounds__(kOrderThreads)
    nms_image_key_kernel(NmsArgs args, std::uint64_t* keys, const std::int32_t* indices) {
  const std::int64_t i = grid_thread();
  if (i >= args.num_boxes || keys[i] == kNoCandidate) return;
  keys[i] = static_cast<std::uint64_t>(image_of_box(args, indices[i]));
}

template <class Real>
__global__ void __launch_bounds__(kOrderThreads)
    nms_gather_kernel(NmsArgs args, SortedBoxes<Real> sorted) {
  gather_sorted(args, sorted);
}

template <class Real>
__global__ void __launch_bounds__(kSmallThreads)
    nms_order_small_kernel(NmsArgs args, std::uint32_t* suppressed, SortedBoxes<Real> sorted,
                           std::int32_t* indices) {
  order_small(args, suppressed, sorted, indices);
}

template <class Real>
__global__ void __launch_bounds__(kTestThreads, 1)
    nms_test_kernel(Rounds<Real> rounds, std::int32_t begin) {
  test_round(rounds, begin);
}

template <class Real>
__global__ void __launch_bounds__(kResolveThreads, 1)
    nms_resolve_kernel(Rounds<Real> rounds, std::int32_t begin) {
  resolve_round(rounds, begin);
}

template <class Real>
__global__ void __launch_bounds__(kBlockNmsThreads)
    nms_image_kernel(SortedBoxes<Real> sorted, Real iou_threshold, std::int64_t max_detections,
                     std::int64_t* keep, std::int64_t* count) {
  const std::int64_t image = blockIdx.x;
  const std::int32_t begin = sorted.first[image], size = sorted.first[image + 1] - begin;
  // Kept boxes move to the front of the image's own candidates.
  const KeptList<Real> kept = {sorted.boxes + begin, sorted.class_ids + begin};
  const std::int32_t num_kept = block_nms<Real>(
      size, iou_threshold, /*class_agnostic=*/false, static_cast<std::int32_t>(max_detections),
      kept, [&](std::int32_t i) { return NmsBox<Real>{kept.boxes[i], kept.class_ids[i], true}; },
      [&](std::int32_t rank, std::int32_t i) {
        keep[image * max_detections + rank] = sorted.indices[begin + i];
      });
  if (threadIdx.x == 0) count[image] = num_kept;
}

template <class Real>
struct NmsWorkspace {
  NmsWorkspace(void* memory, std::int64_t num_boxes, std::int64_t num_images) {
    DeviceArena arrays(memory);
    const std::int64_t columns = num_boxes < kRoundSize ? num_boxes : kRoundSize;
    groups = (columns + kGroup - 1) / kGroup;
    buffers = {arrays.take<std::uint64_t>(num_boxes), arrays.take<std::uint64_t>(num_boxes),
               arrays.take<std::int32_t>(num_boxes), arrays.take<std::int32_t>(num_boxes)};
    boxes = arrays.take<AlignedBox<Real>>(num_boxes);
    first = arrays.take<std::int32_t>(num_images + 1);
    suppressed = arrays.take<std::uint32_t>(kRoundSize / kWarp);
    overlaps = arrays.take<std::uint64_t>(groups * groups * kGroup);
    sort_scratch = arrays.take<std::byte>(
        static_cast<std::int64_t>(device_radix_sort_scratch_size(num_boxes)));
    size = arrays.size();
  }

  RadixSortBuffers buffers;
  AlignedBox<Real>* boxes;
  std::int32_t* first;
  std::uint32_t* suppressed;
  std::uint64_t* overlaps;
  std::byte* sort_scratch;
  std::int64_t groups;
  std::size_t size;
};

std::int32_t bits_of(std::int64_t count) {
  return static_cast<std::int32_t>(math::bit_width(static_cast<std::uint64_t>(count)));
}

unsigned blocks_of(std::int64_t threads) {
  return static_cast<unsigned>((threads + kOrderThreads - 1) / kOrderThreads);
}

// Leaves keys and indices in order in the buffers.
template <class Real>
Status sort_boxes(const NmsArgs& args, NmsWorkspace<Real>& memory, const Context& context) {
  RadixSortBuffers& buffers = memory.buffers;
  constexpr std::int64_t kThreads = 1024 * kOrderThreads;  // more do not fit on a GPU
  const std::int64_t threads = args.num_boxes < kThreads ? args.num_boxes : kThreads;
  Status status = launch("nms_key_kernel", nms_key_kernel, blocks_of(threads), kOrderThreads,
                         context, args, memory.suppressed, buffers.keys, buffers.indices);
  if (!status.ok()) return status;
  const bool wide = args.score_dtype == DType::kFloat64;
  const std::int32_t image_bits = bits_of(args.num_images - 1);
  status = device_radix_sort(buffers, args.num_boxes, wide ? 64 : 32 + image_bits,
                             memory.sort_scratch, context);
  if (!status.ok() || !wide || args.num_images == 1) return status;
  status =
      launch("nms_image_key_kernel", nms_image_key_kernel, blocks_of(args.num_boxes), kOrderThreads,
             context, args, buffers.keys, static_cast<const std::int32_t*>(buffers.indices));
  if (!status.ok()) return status;
  return device_radix_sort(buffers, args.num_boxes, bits_of(args.num_images), memory.sort_scratch,
                           context);
}

// Launches the kernels that put all candidates in order.
template <class Real>
Status order_boxes(const NmsArgs& args, NmsWorkspace<Real>& memory, SortedBoxes<Real>& sorted,
                   const Context& context) {
  RadixSortBuffers& buffers = memory.buffers;
  const bool wide = args.score_dtype == DType::kFloat64;
  const bool small = args.num_boxes <= kSmallBoxes && args.num_images == 1 && !wide;
  if (!small) {
    const Status status = sort_boxes(args, memory, context);
    if (!status.ok()) return status;
  }
  // After the sort the spare keys have room for the classes.
  sorted = {buffers.keys,    wide ? 0 : 32, args.num_images,
            buffers.indices, memory.boxes,  reinterpret_cast<std::int64_t*>(buffers.spare_keys),
            memory.first};
  if (small) {
    return launch("nms_order_small_kernel", nms_order_small_kernel<Real>, 1, kSmallThreads, context,
                  args, memory.suppressed, sorted, buffers.indices);
  }
  return launch("nms_gather_kernel", nms_gather_kernel<Real>, blocks_of(args.num_boxes),
                kOrderThreads, context, args, sorted);
}

template <class Real>
Status run_rounds(const Rounds<Real>& rounds, std::int64_t num_boxes, const Context& context) {
  for (std::int64_t begin = 0; begin < num_boxes; begin += kRoundSize) {
    const std::int64_t left = num_boxes - begin, columns = left < kRoundSize ? left : kRoundSize;
    const std::int64_t slices = begin == 0 ? (columns + kGroup - 1) / kGroup : kTestSlices;
    const dim3 grid(static_cast<unsigned>((columns + kTestThreads - 1) / kTestThreads),
                    static_cast<unsigned>(slices));
    Status status = launch("nms_test_kernel", nms_test_kernel<Real>, grid, kTestThreads, context,
                           rounds, static_cast<std::int32_t>(begin));
    if (!status.ok()) return status;
    status = launch("nms_resolve_kernel", nms_resolve_kernel<Real>, 1, kResolveThreads, context,
                    rounds, static_cast<std::int32_t>(begin));
    if (!status.ok()) return status;
  }
  return {};
}

template <class Real>
Status run(const NmsArgs& args, Workspace workspace, const Context& context) {
  NmsWorkspace<Real> memory(workspace.data, args.num_boxes, args.num_images);
  if (args.num_boxes == 0 || args.max_detections == 0) {
    return launch("nms_clear_kernel", nms_clear_kernel, 1, kOrderThreads, context, args,
                  memory.suppressed);
  }
  SortedBoxes<Real> sorted;
  const Status status = order_boxes(args, memory, sorted, context);
  if (!status.ok()) return status;
  const auto iou_threshold = static_cast<Real>(args.iou_threshold);
  if (args.num_images >= kManyImages && args.max_detections <= kFewDetections) {
    return launch("nms_image_kernel", nms_image_kernel<Real>,
                  static_cast<unsigned>(args.num_images), kBlockNmsThreads, context, sorted,
                  iou_threshold, args.max_detections, args.keep, args.count);
  }
  const std::int64_t max_kept =
      args.max_detections < args.num_boxes ? args.max_detections : args.num_boxes;
  const Rounds<Real> rounds = {sorted,
                               iou_threshold,
                               static_cast<std::int32_t>(max_kept),
                               args.max_detections,
                               args.keep,
                               args.count,
                               memory.buffers.spare_indices,  // free once sorted
                               memory.suppressed,
                               memory.overlaps,
                               static_cast<std::int32_t>(memory.groups * kGroup)};
  return run_rounds(rounds, args.num_boxes, context);
}

// Counts and positions have 31 bits, with room for the end of a round.
constexpr std::int64_t kMaxNumBoxes = 0x7fffffff - kRoundSize;

}  // namespace
}  // namespace fcos_ops::cuda::suppression

namespace fcos_ops::cuda {

std::size_t workspace_size(const NmsArgs& args, const Context&) {
  if (args.num_boxes > suppression::kMaxNumBoxes) return 0;
  return args.box_dtype == DType::kFloat64
             ? suppression::NmsWorkspace<double>(nullptr, args.num_boxes, args.num_images).size
             : suppression::NmsWorkspace<float>(nullptr, args.num_boxes, args.num_images).size;
}

Status run(const NmsArgs& args, Workspace workspace, const Context& context) {
  if (args.num_boxes > suppression::kMaxNumBoxes) return too_large("nms: too many boxes");
  if (args.num_images > kMaxBlocks) return too_large("nms: too many images");
  if (args.num_images == 0) return {};
  return on_device(context, [&]() -> Status {
    return args.box_dtype == DType::kFloat64 ? suppression::run<double>(args, workspace, context)
                                             : suppression::run<float>(args, workspace, context);
  });
}

}  // namespace fcos_ops::cuda
