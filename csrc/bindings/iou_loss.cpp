#include "fcos_ops/iou_loss.h"

#include "bindings/arguments.h"

namespace fcos_ops::bindings {

std::size_t bound_iou_loss(Arguments& in) {
  Levels<LevelView> pred, target;
  Levels<MutableLevelView> gradient;
  IouLossArgs args;
  in.read_levels(pred, args.pred);
  in.read(args.pred_dtype);
  in.read_levels(target, args.target);
  in.read(args.target_dtype, args.batch, args.kind, args.box_format, args.eps, args.weight,
          args.normalizer, args.scale, args.gradient_scale, args.loss_sum, args.losses);
  in.read_levels(gradient, args.gradient);
  in.read(args.gradient_dtype);
  args.num_levels = pred.count;
  return run(in, args, iou_loss_workspace_size, iou_loss);
}

}  // namespace fcos_ops::bindings
