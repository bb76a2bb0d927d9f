#include "fcos_ops/centerness.h"

#include "bindings/arguments.h"

namespace fcos_ops::bindings {
namespace {

std::size_t no_workspace(const CenternessTargetArgs&, const Context&) { return 0; }

Status target(const CenternessTargetArgs& args, Workspace, const Context& context) {
  return centerness_target(args, context);
}

}  // namespace

std::size_t bound_centerness_target(Arguments& in) {
  Levels<LevelView> ltrb;
  CenternessTargetArgs args;
  in.read_levels(ltrb, args.ltrb);
  args.num_levels = ltrb.count;
  in.read(args.batch, args.dtype, args.target);
  return run(in, args, no_workspace, target);
}

std::size_t bound_centerness_loss(Arguments& in) {
  Levels<LevelView> logits;
  Levels<MutableLevelView> gradient;
  CenternessLossArgs args;
  in.read_levels(logits, args.logits);
  in.read(args.batch, args.dtype, args.target, args.selection, args.selection_dtype,
          args.normalizer, args.scale, args.gradient_scale, args.loss_sum, args.losses);
  in.read_levels(gradient, args.gradient);
  in.read(args.gradient_dtype);
  args.num_levels = logits.count;
  return run(in, args, centerness_loss_workspace_size, centerness_loss);
}

}  // namespace fcos_ops::bindings
