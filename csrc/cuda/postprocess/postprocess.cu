// Post-processing on a GPU. See include/fcos_ops/postprocess.h for what it computes.
//
// A memset and four kernels:
//   scan_levels           a block a tile: which logits are candidates (scan.cuh). It reads all
//                         class logits once, and is as fast as the memory lets it be.
//   select_winners        a block a level of an image: its best candidates, sorted and decoded
//                         (block_radix_select.cuh, block_merge_sort.cuh, level_topk.cuh).
//   merge_levels          a thread a winner: its place in the score order of the image
//   suppress_and_write    a block an image: NMS (nms/block_nms.cuh) and outputs (detections.cuh)
// The last three handle some thousand candidates each, and take the time that their barriers and
// dependent reads need, whatever the batch.
//
// Candidates lie in buffers of fixed capacity, in the order of their arrival, which differs from
// run to run; what is made of them does not, as scores and indices order them totally. A buffer
// that overflows loses nothing: its level is scanned again with a higher bound (level_topk.cuh).
#include "cuda/drivers.h"
#include "cuda/postprocess/detections.cuh"

namespace fcos_ops::cuda::detection {
namespace {

constexpr unsigned kScanThreads = 256;

// T: the type of the class logits.
template <class T>
__global__ void __launch_bounds__(kScanThreads, 3)
    scan_levels(PostprocessPlan<math::Real<T>> plan) {
  using Real = math::Real<T>;
  const auto [image, block] = divide(blockIdx.x, plan.blocks);
  std::int32_t i = plan.num_levels - 1;
  while (block < plan.level[i].first_block) --i;
  const LevelPlan& level = plan.level[i];
  const std::int64_t parts = (plan.num_classes + level.channels - 1) / level.channels;
  const auto [tile, part] = divide(block - level.first_block, parts);
  const EntryList<Entry<Real>> list = {
      plan.collected + image * plan.candidates + level.first_candidate, level.capacity,
      plan.found + image * plan.num_levels + i};
  TileScan<T, kScanThreads> scan(plan, level, image, {~Entry<Real>{0}, plan.floor}, list);
  scan.run(tile * level.tile, part * level.channels);
}

template <class T>
__global__ void __launch_bounds__(kSelectThreads, 1)
    select_winners(PostprocessPlan<math::Real<T>> plan) {
  const auto [image, level] = divide(blockIdx.x, plan.num_levels);
  LevelWinners<T>(plan, image, static_cast<std::int32_t>(level)).run();
}

template <class T>
std::size_t workspace_size(const PostprocessArgs& args) {
  WorkspaceArrays memory(nullptr);
  make_plan<T>(args, memory);
  return memory.size();
}

template <class T>
Status run(const PostprocessArgs& args, void* workspace, const Context& context) {
  using Real = math::Real<T>;
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    const LevelView& view = args.class_logits[i];
    if ((view.height * view.width * args.num_classes) >> 32) {
      return too_large("postprocess: 2^32 or more logits in a level of an image");
    }
  }
  WorkspaceArrays memory(workspace);
  const PostprocessPlan<Real> plan = make_plan<T>(args, memory);
  const std::int64_t selections = args.batch * plan.num_levels, scans = args.batch * plan.blocks;
  const std::int64_t merges = args.batch * ((plan.winners + kMergeThreads - 1) / kMergeThreads);
  if (std::max({scans, selections, merges, args.batch}) > kMaxBlocks) {
    return too_large("postprocess: too many images");
  }
  const DetectionPlan<Real> detections = make_detection_plan(args, plan);
  Status status = fill_zero("postprocess: counts", plan.found,
                            static_cast<std::size_t>(selections) * sizeof(*plan.found), context);
  const auto next = [&](const char* name, auto kernel, std::int64_t blocks, unsigned threads,
                        const auto& arguments) {
    if (!status.ok()) return;
    status = launch(name, kernel, static_cast<unsigned>(blocks), threads, context, arguments);
  };
  next("postprocess: scan_levels", scan_levels<T>, scans, kScanThreads, plan);
  next("postprocess: select_winners", select_winners<T>, selections, kSelectThreads, plan);
  next("postprocess: merge_levels", merge_levels<Real>, merges, kMergeThreads, detections);
  next("postprocess: suppress_and_write", suppress_and_write<Real>, args.batch,
       suppression::kGreedyThreads, detections);
  return status;
}

}  // namespace
}  // namespace fcos_ops::cuda::detection

namespace fcos_ops::cuda {

std::size_t postprocess_workspace_size(const PostprocessArgs& args) {
  std::size_t size = 0;
  math::dispatch(math::Floating{}, args.class_dtype, [&](auto type) {
    size = detection::workspace_size<typename decltype(type)::type>(args);
  });
  return size;
}

Status postprocess(const PostprocessArgs& args, Workspace workspace, const Context& context) {
  const DeviceGuard guard(context.device);
  if (!guard.status().ok()) return guard.status();
  return math::dispatch(math::Floating{}, args.class_dtype, [&](auto type) {
    return detection::run<typename decltype(type)::type>(args, workspace.data, context);
  });
}

}  // namespace fcos_ops::cuda
