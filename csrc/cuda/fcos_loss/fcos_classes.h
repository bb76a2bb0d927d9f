// The classification part of the whole FCOS loss, and how the losses of both parts are added up.
#pragma once

#include "cuda/common/tiles.h"
#include "fcos_ops/fcos_loss.h"

namespace fcos_ops::cuda::fcos {

inline constexpr std::int64_t kMaxClassBlocks = 4096;  // that have a sum each; those of focal loss
inline constexpr std::int64_t kMaxLocationBlocks = 2048;  // beyond, a block takes several tiles

// The workspace. Blocks of the first launch leave the sums of boxes and centerness, and set
// `arrivals` to 0; those of the second leave the sums of classes, and the last of them adds
// everything.
struct LossSums {
  double classes[kMaxClassBlocks];
  double locations[kMaxLocationBlocks][2];
  std::uint32_t arrivals;
};

inline bool wants_losses(const FcosLossArgs& args) {
  return args.class_loss || args.ltrb_loss || args.centerness_loss;
}

// Starts the second launch. The first had `location_blocks`.
Status run_classes(const FcosLossArgs& args, unsigned location_blocks, LossSums* sums,
                   const Context& context);

}  // namespace fcos_ops::cuda::fcos
