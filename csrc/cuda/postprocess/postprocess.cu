// Post-processing on a GPU. See include/fcos_ops/postprocess.h for what it computes.
//
// A memset and four kernels:
//   scan        a block a tile: which logits are candidates (scan.cuh). It reads all class logits
//               once, and is as fast as the memory lets it be.
//   level_topk  a block a level of an image: its best candidates, sorted and decoded
//               (block_radix_select.cuh, block_merge_sort.cuh, level_topk.cuh).
//   merge       a thread a candidate: its position in the score order of the image
//   nms         a block an image: NMS (nms/block_nms.cuh) and outputs (detections.cuh)
// The last three handle some thousand candidates each, and take the time that their barriers and
// dependent reads need, whatever the batch.
//
// Candidates lie in buffers of fixed capacity, in the order of their arrival, which differs from
// run to run; what is made of them does not, as scores and indices order them totally. A buffer
// that overflows loses nothing: its level is scanned again with a higher bound (level_topk.cuh).
#include <algorithm>

#include "cuda/drivers.h"
#include "cuda/postprocess/detections.cuh"

namespace fcos_ops::cuda::detection {
namespace {

constexpr unsigned kScanThreads = 256;

// T: the type of the class logits.
template <class T>
__global__ void __launch_bounds__(kScanThreads, 3)
    postprocess_scan_kernel(PostprocessPlan<math::Real<T>> plan) {
  using Real = math::Real<T>;
  const auto [image, block] = math::divide(blockIdx.x, plan.blocks);
  std::int32_t i = plan.args.num_levels - 1;
  while (block < plan.level[i].first_block) --i;
  const LevelPlan& level = plan.level[i];
  const std::int64_t chunks = (plan.args.num_classes + level.channels - 1) / level.channels;
  const auto [tile, chunk] = math::divide(block - level.first_block, chunks);
  const KeyList<TopKKey<Real>> list = {
      plan.candidates + image * plan.capacity + level.first_candidate, level.capacity,
      plan.num_candidates + image * plan.args.num_levels + i};
  TileScan<T, kScanThreads> scan(plan, level, image, {~TopKKey<Real>{0}, plan.min_score}, list);
  scan.run(tile * level.tile, chunk * level.channels);
}

template <class T>
__global__ void __launch_bounds__(kSelectThreads, 1)
    postprocess_level_topk_kernel(PostprocessPlan<math::Real<T>> plan) {
  const auto [image, level] = math::divide(blockIdx.x, plan.args.num_levels);
  LevelTopK<T>(plan, image, static_cast<std::int32_t>(level)).run();
}

template <class Real>
__global__ void __launch_bounds__(kMergeThreads)
    postprocess_merge_kernel(DetectionPlan<Real> plan) {
  merge_levels(plan);
}

template <class Real>
__global__ void __launch_bounds__(suppression::kBlockNmsThreads, 1)
    postprocess_nms_kernel(DetectionPlan<Real> plan) {
  suppress_and_write(plan);
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
  DeviceArena memory(workspace);
  const PostprocessPlan<Real> plan = make_plan<T>(args, memory);
  const std::int64_t selections = args.batch * args.num_levels, scans = args.batch * plan.blocks;
  const std::int64_t merges =
      args.batch * ((plan.max_selected + kMergeThreads - 1) / kMergeThreads);
  if (std::max({scans, selections, merges, args.batch}) > kMaxBlocks) {
    return too_large("postprocess: too many images");
  }
  const DetectionPlan<Real>& detections = plan;
  Status status =
      fill_zero("postprocess: counts", plan.num_candidates,
                static_cast<std::size_t>(selections) * sizeof(*plan.num_candidates), context);
  const auto next = [&](const char* name, auto kernel, std::int64_t blocks, unsigned threads,
                        const auto& arguments) {
    if (!status.ok()) return;
    status = launch(name, kernel, static_cast<unsigned>(blocks), threads, context, arguments);
  };
  next("postprocess_scan_kernel", postprocess_scan_kernel<T>, scans, kScanThreads, plan);
  next("postprocess_level_topk_kernel", postprocess_level_topk_kernel<T>, selections,
       kSelectThreads, plan);
  next("postprocess_merge_kernel", postprocess_merge_kernel<Real>, merges, kMergeThreads,
       detections);
  next("postprocess_nms_kernel", postprocess_nms_kernel<Real>, args.batch,
       suppression::kBlockNmsThreads, detections);
  return status;
}

}  // namespace
}  // namespace fcos_ops::cuda::detection

namespace fcos_ops::cuda {

std::size_t workspace_size(const PostprocessArgs& args, const Context&) {
  return math::dispatch(math::Floating{}, args.class_dtype, [&](auto type) {
    DeviceArena memory(nullptr);
    detection::make_plan<typename decltype(type)::type>(args, memory);
    return memory.size();
  });
}

Status run(const PostprocessArgs& args, Workspace workspace, const Context& context) {
  return on_device(context, [&]() -> Status {
    return math::dispatch(math::Floating{}, args.class_dtype, [&](auto type) {
      return detection::run<typename decltype(type)::type>(args, workspace.data, context);
    });
  });
}

}  // namespace fcos_ops::cuda
