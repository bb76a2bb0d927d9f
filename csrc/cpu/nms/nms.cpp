// Non-maximum suppression on a CPU: threads take runs of neighbouring images; see nms_image.h for
// what happens in an image.
#include "fcos_ops/nms.h"

#include <algorithm>
#include <limits>

#include "common/dtypes.h"
#include "cpu/common/parallel.h"
#include "cpu/drivers.h"
#include "cpu/nms/nms_image.h"

namespace fcos_ops::cpu::suppression {
namespace {

// The images of a run use the same scratch memory, one after the other. So many runs a thread keep
// all threads busy until the end, though images differ.
constexpr std::int64_t kRunsPerThread = 32;

constexpr std::int64_t kMaxCandidates = std::numeric_limits<std::int32_t>::max();  // of an image

std::int64_t count_runs(const NmsArgs& args, const Context& context) {
  const std::int64_t threads = context.num_threads;
  return std::min(args.num_images, threads > 1 ? threads * kRunsPerThread : 1);
}

// The offset at which image `index` begins, clamped to [low, high].
std::int64_t offset_at(const NmsArgs& args, std::int64_t index, std::int64_t low,
                       std::int64_t high) {
  if (args.offsets == nullptr) return index == 0 ? low : high;
  return math::clamped_offset(args.offsets, args.offset_dtype, index, low, high);
}

template <class T, class Score>
struct NmsMemory {
  NmsMemory(const NmsArgs& args, std::int64_t num_runs, void* data)
      : max_detections(args.max_detections),
        scratch(data),
        first_boxes(scratch.take<std::int64_t>(num_runs + 1)),
        runs(scratch.take<std::byte>(
            static_cast<std::int64_t>(start_of(num_runs, args.num_boxes)))) {}

  // The offset in `runs` of a run behind others that have so many boxes.
  std::size_t start_of(std::int64_t run, std::int64_t boxes) const {
    return nms_scratch_size<T, Score>(run, boxes, std::min(boxes, run * max_detections));
  }

  std::int64_t max_detections;
  CacheLineArena scratch;
  std::int64_t* first_boxes;  // of each run, then the end of the last
  std::byte* runs;
};

template <class T, class Score, class Id>
Status run_nms(const NmsArgs& args, Workspace workspace, const Context& context) {
  const NmsOptions options = {args.iou_threshold, args.score_threshold, args.max_detections};
  const std::int64_t num_runs = count_runs(args, context);
  const NmsMemory<T, Score> memory(args, num_runs, workspace.data);
  const auto first_image = [&](std::int64_t run) { return run * args.num_images / num_runs; };
  // Offsets are read once, so that runs stay apart whatever becomes of them.
  for (std::int64_t run = 0; run <= num_runs; ++run) {
    const std::int64_t low = run == 0 ? 0 : memory.first_boxes[run - 1];
    memory.first_boxes[run] = offset_at(args, first_image(run), low, args.num_boxes);
  }
  parallel_for(num_runs, context.num_threads, [&](std::int64_t run) {
    std::int64_t first = memory.first_boxes[run];
    std::byte* const scratch = memory.runs + memory.start_of(run, first);
    for (std::int64_t image = first_image(run); image < first_image(run + 1); ++image) {
      const std::int64_t most = std::min(memory.first_boxes[run + 1], first + kMaxCandidates);
      const std::int64_t end = offset_at(args, image + 1, first, most);
      const Candidates<T, Score, Id> candidates = {
          static_cast<const T*>(args.boxes) + 4 * first,
          static_cast<const Score*>(args.scores) + first,
          args.classes == nullptr ? nullptr : static_cast<const Id*>(args.classes) + first,
          end - first};
      std::int64_t* const keep = args.keep + image * args.max_detections;
      const std::int64_t count = nms_image(candidates, options, first, scratch, keep);
      std::fill(keep + count, keep + args.max_detections, -1);
      args.count[image] = count;
      first = end;
    }
  });
  return {};
}

// True if the offsets, which must lie in memory of the CPU, are valid.
bool are_offsets(const NmsArgs& args) {
  if (args.offsets == nullptr) return args.num_boxes <= kMaxCandidates;
  std::int64_t previous = 0;
  for (std::int64_t i = 0; i <= args.num_images; ++i) {
    const std::int64_t offset = math::read_integer(args.offsets, args.offset_dtype, i);
    if (offset < previous || offset > args.num_boxes) return false;
    if (i > 0 && offset - previous > kMaxCandidates) return false;
    previous = offset;
  }
  return true;
}

// Calls body(Type<T>{}, Type<Score>{}) for the two floating dtypes.
template <class Body>
auto dispatch_dtypes(const NmsArgs& args, const Body& body) {
  return math::dispatch(math::Floating{}, args.box_dtype, [&](auto t) {
    return math::dispatch(math::Floating{}, args.score_dtype,
                          [&](auto score) { return body(t, score); });
  });
}

}  // namespace
}  // namespace fcos_ops::cpu::suppression

namespace fcos_ops::cpu {

std::size_t workspace_size(const NmsArgs& args, const Context& context) {
  return suppression::dispatch_dtypes(args, [&](auto t, auto score) {
    using Memory =
        suppression::NmsMemory<typename decltype(t)::type, typename decltype(score)::type>;
    return Memory(args, suppression::count_runs(args, context), nullptr).scratch.used();
  });
}

Status run(const NmsArgs& args, Workspace workspace, const Context& context) {
  if (args.num_images == 0) return {};
  if (!suppression::are_offsets(args)) {
    return {kInvalidArgument, "nms: offsets must rise within [0, num_boxes] by less than 2^31"};
  }
  return suppression::dispatch_dtypes(args, [&](auto t, auto score) {
    using T = typename decltype(t)::type;
    using Score = typename decltype(score)::type;
    return math::dispatch(math::Integers{}, args.class_dtype, [&](auto id) {
      return suppression::run_nms<T, Score, typename decltype(id)::type>(args, workspace, context);
    });
  });
}

}  // namespace fcos_ops::cpu
