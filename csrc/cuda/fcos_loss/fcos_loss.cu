// The whole FCOS loss on a GPU. See include/fcos_ops/fcos_loss.h for what it computes.
//
// One launch does all: most of its blocks take tiles of class logits, as focal_loss.cu does, but
// find a row's label through the box that it matches; spread among them are blocks that take 512
// locations for the losses of boxes and centerness (see box_and_centerness.cuh). Those wait for
// memory, where the others compute, so both gain by running side by side. A second launch of one
// block adds the sums of the blocks.
//
// This file is compiled without contraction and with IEEE division, but flushes subnormals: box
// targets are rounded as assign_targets rounds them (but for distances below 1.2e-38), and
// identical boxes cancel exactly. The class logits, which want neither, contract and divide by
// functions of math/ that say so: two instructions a logit more than in focal_loss.cu remain.
#include "cuda/common/block_reduce.cuh"
#include "cuda/drivers.h"
#include "cuda/fcos_loss/box_and_centerness.cuh"
#include "cuda/focal_loss/class_major.cuh"
#include "cuda/focal_loss/location_major.cuh"
#include "cuda/focal_loss/tiling.cuh"
#include "fcos_ops/fcos_loss.h"

namespace fcos_ops::cuda::fcos {
namespace {

constexpr std::int64_t kLocations = 4 * focal::kFocalThreads;  // of a tile
constexpr std::int64_t kMaxLocationBlocks = 1024;  // beyond, a block takes several tiles
// The blocks of a launch that usually has nothing to do: about as many as run at once.
constexpr std::int64_t kFewBlocks = 528, kFewLocationBlocks = 132;

// The partial sums: one of each class block, then two of each location block.
constexpr std::size_t kPartials = focal::kMaxFocalBlocks + 2 * kMaxLocationBlocks;

// The roles of a launch's blocks: every period-th from block 0 on takes locations, until enough do;
// the others take classes.
struct BlockShares {
  unsigned class_blocks, location_blocks, period;
  bool only_unexpected;  // as in FcosLossArgs

  BlockShares(unsigned classes, unsigned locations, bool only_unexpected)
      : class_blocks(classes),
        location_blocks(locations),
        period(locations == 0 ? 1 : (classes + locations) / locations),
        only_unexpected(only_unexpected) {}

  FCOS_HD unsigned count() const { return class_blocks + location_blocks; }
  FCOS_HD bool takes_locations(unsigned block) const {
    return block % period == 0 && block / period < location_blocks;
  }
  FCOS_HD unsigned location_block(unsigned block) const { return block / period; }
  FCOS_HD unsigned class_block(unsigned block) const {
    const unsigned before = (block + period - 1) / period;
    return block - (before < location_blocks ? before : location_blocks);
  }
};

// One tile of class logits.
template <class T, math::Gamma kGamma, bool kLocationMajor, bool kAnywhere>
__device__ __forceinline__ math::Real<T> class_tile(
    const focal::FocalTiling& tiling, std::int64_t index,
    const focal::FocalArguments<math::Real<T>>& args,
    const LocationArguments<math::Real<T>>& locations) {
  using Real = math::Real<T>;
  using Loss = focal::ElementLoss<T, kGamma, focal::Labels::kMatches>;
  const auto number = static_cast<std::uint32_t>(index);
  const std::uint32_t tile_index = kLocationMajor ? 0 : tiling.chunk_divisor.quotient(number);
  const Tile tile = tiling.tiles[kLocationMajor ? index : tile_index];
  const Real scale = loss_scales(locations, tile.image).positives;
  const focal::FocalFactors<Real> factors = {args.positive_scale * scale,
                                             args.negative_scale * scale,
                                             gradient_scale(locations, args.gradient_scale)};
  const Loss element_loss(args, factors);
  if constexpr (kLocationMajor) {
    return focal::LocationMajorTile<T, kGamma, focal::Labels::kMatches>(args, element_loss, tile)
        .template sum<kAnywhere>();
  } else {
    const auto chunk =
        static_cast<std::int32_t>(number - tile_index * tiling.chunk_divisor.divisor());
    return focal::ClassMajorTile<T, kGamma, focal::Labels::kMatches>(
               args, element_loss, tile, chunk * tiling.channels, tiling.channels)
        .template sum<kAnywhere>();
  }
}

// Resident blocks per SM: the most that do not spill.
template <class T, bool kLocationMajor>
inline constexpr unsigned kResidentBlocks = sizeof(T) == 8                     ? 4
                                            : sizeof(T) == 2 && kLocationMajor ? 5
                                                                               : 7;

// True if all gradients that a block would write have the expected scale; a head without a gradient
// has none.
template <class Real>
__device__ __forceinline__ bool has_expected(const focal::FocalArguments<Real>& classes,
                                             const LocationArguments<Real>& locations,
                                             bool takes_locations) {
  const Real expected = gradient_scale<Real>(locations, nullptr);
  const auto is_expected = [&](const Real* scale) {
    return gradient_scale(locations, scale) == expected;
  };
  return takes_locations ? is_expected(locations.ltrb_gradient_scale) &&
                               is_expected(locations.centerness_gradient_scale)
                         : is_expected(classes.gradient_scale);
}

template <class T, math::Gamma kGamma, bool kLocationMajor>
__global__ void __launch_bounds__(focal::kFocalThreads, kResidentBlocks<T, kLocationMajor>)
    fcos_loss_kernel(focal::FocalTiling tiling, focal::FocalArguments<math::Real<T>> classes,
                     Tiles tiles, LocationArguments<math::Real<T>> locations, BlockShares shares,
                     double* partials) {
  using Real = math::Real<T>;
  const bool takes_locations = shares.takes_locations(blockIdx.x);
  if (shares.only_unexpected && has_expected(classes, locations, takes_locations)) return;
  if (takes_locations) {
    const unsigned block = shares.location_block(blockIdx.x);
    LocationSums sums;
    for (std::int64_t i = block; i < tiles.count(); i += shares.location_blocks) {
      LocationTile<Real>(locations, tiles[i]).add_to(&sums);
    }
    sums.ltrb = block_sum<focal::kFocalThreads, 0>(sums.ltrb);
    sums.centerness = block_sum<focal::kFocalThreads, 1>(sums.centerness);
    if (threadIdx.x != 0) return;
    partials[focal::kMaxFocalBlocks + 2 * block] = sums.ltrb;
    partials[focal::kMaxFocalBlocks + 2 * block + 1] = sums.centerness;
  } else {
    const unsigned block = shares.class_block(blockIdx.x);
    double sum = 0;
    for (std::int64_t i = block; i < tiling.count; i += shares.class_blocks) {
      sum += class_tile<T, kGamma, kLocationMajor, false>(tiling, i, classes, locations);
    }
    if (focal::has_infinite(sum)) {
      sum = 0;
      for (std::int64_t i = block; i < tiling.count; i += shares.class_blocks) {
        sum += class_tile<T, kGamma, kLocationMajor, true>(tiling, i, classes, locations);
      }
    }
    const Real total = block_sum<focal::kFocalThreads, 2>(static_cast<Real>(sum));
    if (threadIdx.x == 0) partials[block] = total;
  }
}

template <class Real>
struct Losses {
  Real *classes, *ltrb, *centerness;  // null where nobody asks
};

// Adds the sums of the blocks. One block of kFinishThreads.
template <class Real>
__global__ void __launch_bounds__(kFinishThreads)
    fcos_loss_finish_kernel(const double* partials, BlockShares shares, Losses<Real> losses) {
  double classes = 0, ltrb = 0, centerness = 0;
  for (unsigned i = threadIdx.x; i < shares.class_blocks; i += kFinishThreads) {
    classes += partials[i];
  }
  for (unsigned i = threadIdx.x; i < shares.location_blocks; i += kFinishThreads) {
    ltrb += partials[focal::kMaxFocalBlocks + 2 * i];
    centerness += partials[focal::kMaxFocalBlocks + 2 * i + 1];
  }
  classes = block_sum<kFinishThreads, 0>(classes);
  ltrb = block_sum<kFinishThreads, 1>(ltrb);
  centerness = block_sum<kFinishThreads, 2>(centerness);
  if (threadIdx.x != 0) return;
  if (losses.classes) *losses.classes = static_cast<Real>(classes);
  if (losses.ltrb) *losses.ltrb = static_cast<Real>(ltrb);
  if (losses.centerness) *losses.centerness = static_cast<Real>(centerness);
}

// --------------------------------------------------------------------------------------- drivers

// True if `test` holds for a level of both arrays of classes.
template <class Test>
bool all_arrays(const FcosLossArgs& args, std::int32_t level, const Test& test) {
  return test(args.class_logits[level]) &&
         (args.class_gradient == nullptr || test(args.class_gradient[level]));
}

template <class Real>
focal::FocalArguments<Real> class_arguments(const FcosLossArgs& args) {
  const math::AlphaWeights alpha = math::alpha_weights(args.alpha);
  focal::FocalArguments<Real> result = {};
  result.num_classes = static_cast<std::int32_t>(args.num_classes);
  result.class_divisor = focal::divisor_of(args.num_classes);
  result.labels = args.labels;
  result.label_dtype = args.label_dtype;
  result.matched = args.matched;
  result.num_boxes = args.num_boxes;
  result.positive_scale = static_cast<Real>(alpha.positive);
  result.negative_scale = static_cast<Real>(alpha.negative);
  result.gamma = static_cast<Real>(args.gamma);
  result.gradient_scale = static_cast<const Real*>(args.class_gradient_scale);
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    focal::FocalLevel& level = result.level[i];
    level.width = args.class_logits[i].width;
    level.is_class_major =
        all_arrays(args, i, [](const auto& view) { return focal::is_class_major(view); });
    level.logits = focal::level_array(args.class_logits, i);
    level.gradient = focal::level_array(args.class_gradient, i);
  }
  return result;
}

template <class Real>
LocationArguments<Real> location_arguments(const FcosLossArgs& args) {
  LocationArguments<Real> result = {};
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    const AssignmentLevel& level = args.levels[i];
    result.level[i] = {level.width,
                       static_cast<double>(level.stride_x),
                       static_cast<double>(level.stride_y),
                       level.scale,
                       focal::level_array(args.ltrb, i),
                       focal::level_array(args.centerness, i),
                       focal::level_array(args.ltrb_gradient, i),
                       focal::level_array(args.centerness_gradient, i)};
  }
  result.ltrb_dtype = args.ltrb_dtype;
  result.centerness_dtype = args.centerness_dtype;
  result.box_dtype = args.box_dtype;
  result.label_dtype = args.label_dtype;
  result.normalize_ltrb = args.normalize_ltrb;
  result.wants_ltrb = args.ltrb_loss || args.ltrb_gradient;
  result.wants_centerness = args.centerness_loss || args.centerness_gradient;
  result.per_image = args.per_image;
  result.box_loss = args.box_loss;
  result.box_weight = args.box_weight;
  result.matched = args.matched;
  result.boxes = args.boxes;
  result.labels = args.labels;
  result.num_boxes = args.num_boxes;
  result.location_offset = args.location_offset;
  result.normalizers = static_cast<const Real*>(args.normalizers);
  result.ltrb_gradient_scale = static_cast<const Real*>(args.ltrb_gradient_scale);
  result.centerness_gradient_scale = static_cast<const Real*>(args.centerness_gradient_scale);
  result.mean = static_cast<Real>(args.per_image ? 1.0 / static_cast<double>(args.batch) : 1.0);
  result.eps = static_cast<Real>(args.eps);
  result.expected_scale = static_cast<const Real*>(args.expected_scale);
  result.expected_factor = static_cast<Real>(args.expected_factor);
  return result;
}

template <class T, math::Gamma kGamma>
Status run(const FcosLossArgs& args, double* partials, const Context& context) {
  using Real = math::Real<T>;
  const bool location_major = focal::takes_location_major<T>(
      args.num_levels, args.num_classes,
      [&](std::int32_t level, const auto& test) { return all_arrays(args, level, test); });
  const focal::FocalTiling tiling = focal::focal_tiling(
      args.class_logits, args.num_levels, args.batch, args.num_classes, kVector<T>, location_major);
  if (tiling.is_too_large()) return too_large("fcos_loss: too many class logits that are not rows");
  const auto classes = class_arguments<Real>(args);
  const auto locations = location_arguments<Real>(args);
  const Tiles tiles(args.class_logits, args.num_levels, args.batch, kLocations);
  const bool wants_classes = args.class_loss || args.class_gradient;
  const bool wants_locations = locations.wants_ltrb || locations.wants_centerness;
  const BlockShares shares(
      wants_classes ? focal::blocks_of(tiling.blocks(),
                                       args.only_unexpected ? kFewBlocks : focal::kMaxFocalBlocks)
                    : 0,
      wants_locations ? focal::blocks_of(tiles.count(), args.only_unexpected ? kFewLocationBlocks
                                                                             : kMaxLocationBlocks)
                      : 0,
      args.only_unexpected);
  const auto kernel =
      location_major ? fcos_loss_kernel<T, kGamma, true> : fcos_loss_kernel<T, kGamma, false>;
  const Status status = launch("fcos_loss_kernel", kernel, shares.count(), focal::kFocalThreads,
                               context, tiling, classes, tiles, locations, shares, partials);
  if (!status.ok() || !(args.class_loss || args.ltrb_loss || args.centerness_loss)) return status;
  const Losses<Real> losses = {static_cast<Real*>(args.class_loss),
                               static_cast<Real*>(args.ltrb_loss),
                               static_cast<Real*>(args.centerness_loss)};
  return launch("fcos_loss_finish_kernel", fcos_loss_finish_kernel<Real>, 1, kFinishThreads,
                context, static_cast<const double*>(partials), shares, losses);
}

}  // namespace
}  // namespace fcos_ops::cuda::fcos

namespace fcos_ops::cuda {

std::size_t fcos_loss_workspace_size(const FcosLossArgs&, const Context&) {
  return fcos::kPartials * sizeof(double);
}

Status fcos_loss(const FcosLossArgs& args, Workspace workspace, const Context& context) {
  return on_device(context, [&]() -> Status {
    auto* const partials = static_cast<double*>(workspace.data);
    return math::dispatch(math::Floating{}, args.class_dtype, [&](auto t) {
      using T = typename decltype(t)::type;
      return args.gamma == 2.0 ? fcos::run<T, math::Gamma::kTwo>(args, partials, context)
                               : fcos::run<T, math::Gamma::kAny>(args, partials, context);
    });
  });
}

}  // namespace fcos_ops::cuda
