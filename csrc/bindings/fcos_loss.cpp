#include "fcos_ops/fcos_loss.h"

#include "bindings/arguments.h"

namespace fcos_ops::bindings {
namespace {

std::size_t no_workspace(const FcosScaleArgs&, const Context&) { return 0; }

Status scale_gradients(const FcosScaleArgs& args, Workspace, const Context& context) {
  return fcos_scale_gradients(args, context);
}

}  // namespace

std::size_t bound_fcos_loss(Arguments& in) {
  HeadLevels heads;
  Levels<MutableLevelView> class_gradient, ltrb_gradient, centerness_gradient;
  std::array<AssignmentLevel, kMaxLevels> levels;
  FcosLossArgs args;
  in.read_heads(heads, args);
  args.levels = levels.data();
  if (read_assignment_levels(in, levels) != args.num_levels) {
    throw std::invalid_argument("levels: unequal lengths");
  }
  in.read(args.batch, args.num_classes, args.matched, args.boxes, args.num_boxes, args.box_dtype,
          args.labels, args.label_dtype, args.location_offset, args.normalize_ltrb);
  in.read(args.box_loss, args.box_weight, args.eps, args.alpha, args.gamma, args.normalizers,
          args.per_image);
  in.read(args.expected_factor, args.expected_scale, args.class_gradient_scale,
          args.ltrb_gradient_scale, args.centerness_gradient_scale, args.only_unexpected);
  in.read(args.class_loss, args.ltrb_loss, args.centerness_loss);
  in.read_levels(class_gradient, args.class_gradient);
  in.read_levels(ltrb_gradient, args.ltrb_gradient);
  in.read_levels(centerness_gradient, args.centerness_gradient);
  return run(in, args, fcos_loss_workspace_size, fcos_loss);
}

std::size_t bound_fcos_scale_gradients(Arguments& in) {
  std::array<Levels<MutableLevelView>, 3> gradients;
  FcosScaleArgs args;
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    HeadGradient& head = args.heads[i];
    in.read_levels(gradients[i], head.gradient);
    in.read(head.channels, head.dtype, head.scale);
    if (head.gradient) args.num_levels = gradients[i].count;
  }
  in.read(args.batch);
  return run(in, args, no_workspace, scale_gradients);
}

}  // namespace fcos_ops::bindings
