#include "fcos_ops/focal_loss.h"

#include "bindings/arguments.h"

namespace fcos_ops::bindings {

std::size_t bound_sigmoid_focal_loss(Arguments& in) {
  Levels<LevelView> logits, targets;
  Levels<MutableLevelView> losses, gradient;
  FocalLossArgs args;
  in.read_levels(logits, args.logits);
  in.read(args.batch, args.num_classes, args.dtype, args.labels, args.label_dtype);
  in.read_levels(targets, args.targets);
  in.read(args.weight, args.normalizer, args.scale, args.gradient_scale, args.alpha, args.gamma,
          args.loss_sum);
  in.read_levels(losses, args.losses);
  in.read_levels(gradient, args.gradient);
  in.read(args.gradient_dtype);
  args.num_levels = logits.count;
  return run(in, args, sigmoid_focal_loss_workspace_size, sigmoid_focal_loss);
}

}  // namespace fcos_ops::bindings
