// Non-maximum suppression on a CPU: threads take images; see nms_image.h for what happens in one.
#include "fcos_ops/nms.h"

#include <algorithm>
#include <limits>

#include "cpu/nms_image.h"
#include "cpu/ops.h"
#include "cpu/parallel.h"
#include "math/dtypes.h"

namespace fcos_ops::cpu {
namespace {

std::int64_t offset_at(const NmsArgs& args, std::int64_t i) {
  if (args.offsets == nullptr) return i == 0 ? 0 : args.num_boxes;
  return math::read_integer(args.offsets, args.offset_dtype, i);
}

template <class T, class Score, class Id>
Status run_nms(const NmsArgs& args, Workspace workspace, const Context& context) {
  const NmsOptions options = {args.iou_threshold, args.score_threshold, args.max_detections};
  parallel_for(args.num_images, context.num_threads, [&](std::int64_t image) {
    const std::int64_t first = offset_at(args, image);
    const Candidates<T, Score, Id> candidates = {
        static_cast<const T*>(args.boxes) + 4 * first,
        static_cast<const Score*>(args.scores) + first,
        args.classes == nullptr ? nullptr : static_cast<const Id*>(args.classes) + first,
        offset_at(args, image + 1) - first};
    std::int64_t* const keep = args.keep + image * args.max_detections;
    auto* const scratch =
        static_cast<std::byte*>(workspace.data) + nms_scratch_size<T, Score>(image, first);
    const std::int64_t count = nms_image(candidates, options, first, scratch, keep);
    std::fill(keep + count, keep + args.max_detections, -1);
    args.count[image] = count;
  });
  return {};
}

// Reads the offsets, which must lie in memory of the CPU.
Status check_offsets(const NmsArgs& args) {
  if (args.num_images == 0) return {};
  bool valid = offset_at(args, 0) >= 0 && offset_at(args, args.num_images) <= args.num_boxes;
  // Downwards, as g++ 12 warns of an overflow that it imagines upwards.
  for (std::int64_t i = args.num_images; i > 0; --i) {
    const std::int64_t size = offset_at(args, i) - offset_at(args, i - 1);
    valid = valid && size >= 0 && size <= std::numeric_limits<std::int32_t>::max();
  }
  if (valid) return {};
  return {kInvalidArgument, "nms: offsets must rise within [0, num_boxes] by less than 2^31"};
}

// Calls body(Type<T>{}, Type<Score>{}) for the two floating dtypes.
template <class Body>
Status dispatch_dtypes(const NmsArgs& args, const Body& body) {
  return math::dispatch(math::Floating{}, args.box_dtype, [&](auto t) {
    return math::dispatch(math::Floating{}, args.score_dtype,
                          [&](auto score) { return body(t, score); });
  });
}

}  // namespace

std::size_t nms_workspace_size(const NmsArgs& args) {
  std::size_t size = 0;
  dispatch_dtypes(args, [&](auto t, auto score) {
    size = nms_scratch_size<typename decltype(t)::type, typename decltype(score)::type>(
        args.num_images, args.num_boxes);
    return Status{};
  });
  return size;
}

Status nms(const NmsArgs& args, Workspace workspace, const Context& context) {
  if (const Status status = check_offsets(args); !status.ok()) return status;
  return dispatch_dtypes(args, [&](auto t, auto score) {
    using T = typename decltype(t)::type;
    using Score = typename decltype(score)::type;
    return math::dispatch(math::Integers{}, args.class_dtype, [&](auto id) {
      return run_nms<T, Score, typename decltype(id)::type>(args, workspace, context);
    });
  });
}

}  // namespace fcos_ops::cpu
