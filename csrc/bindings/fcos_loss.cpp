#include "fcos_ops/fcos_loss.h"

#include "bindings/arguments.h"
#include "bindings/words.h"

namespace fcos_ops::bindings {
namespace {

std::size_t no_workspace(const FcosScaleArgs&, const Context&) { return 0; }

Status scale_gradients(const FcosScaleArgs& args, Workspace, const Context& context) {
  return fcos_scale_gradients(args, context);
}

// The gradients of a head, of its sizes and dtype; null where there are none.
const MutableLevelView* read_gradients(Arguments& in, const Tensors& head,
                                       std::array<MutableLevelView, kMaxLevels>& views) {
  const Tensors gradients = in.tensors("gradients");
  if (gradients.count != 0 && gradients.count != head.count) {
    raise(PyExc_ValueError, "gradients must hold one tensor a level");
  }
  for (std::int32_t i = 0; i < gradients.count; ++i) {
    gradients.levels[i].expect_sizes_of(head.levels[i]);
    gradients.levels[i].expect_dtype(only(head.levels[i].dtype()));
  }
  return map_views(gradients, views);
}

// The gradients of a head, of one batch, number of channels and dtype.
void set_gradient(const Tensors& gradients, std::array<MutableLevelView, kMaxLevels>& views,
                  FcosScaleArgs& args, HeadGradient& head) {
  head.gradient = map_views(gradients, views);
  if (head.gradient == nullptr) return;
  const Tensor& first = gradients.levels[0];
  if (args.num_levels == 0) {
    args.num_levels = gradients.count;
    args.batch = first.size(0);
  }
  if (gradients.count != args.num_levels) {
    raise(PyExc_ValueError, "gradients must hold one tensor a level");
  }
  head.channels = first.size(1);
  head.dtype = first.dtype();
  for (std::int32_t i = 0; i < gradients.count; ++i) {
    const Tensor& gradient = gradients.levels[i];
    gradient.expect_sizes({args.batch, head.channels, gradient.size(2), gradient.size(3)});
    gradient.expect_dtype(kFloating & only(head.dtype));
  }
}

}  // namespace

std::size_t bound_fcos_loss(Arguments& in) {
  FcosLossArgs args;
  HeadLevels heads;
  std::array<MutableLevelView, kMaxLevels> class_views, ltrb_views, centerness_views;
  std::array<AssignmentLevel, kMaxLevels> levels;
  read_heads(in, heads);
  set_heads(heads, levels, in.levels(levels), args);
  args.levels = levels.data();
  std::int64_t rows = 0;
  for (std::int32_t i = 0; i < args.num_levels; ++i) rows += levels[i].height * levels[i].width;
  const DType maths = maths_of(args.class_dtype);

  args.matched = in.values<std::int32_t>("matched", DType::kInt32, args.batch * rows);
  const Tensor boxes = in.tensor("boxes"), labels = in.tensor("labels");
  boxes.expect_dtype(kFloating);
  boxes.expect_rank(2);
  args.num_boxes = boxes.size(0);
  boxes.expect_shape({args.num_boxes, 4});
  labels.expect_dtype(kIntegers);
  labels.expect_shape({args.num_boxes});
  args.boxes = boxes.data();
  args.box_dtype = boxes.dtype();
  args.labels = labels.data();
  args.label_dtype = labels.dtype();
  args.location_offset = in.number("location_offset");
  args.normalize_ltrb = in.boolean("normalize_ltrb");
  args.box_loss = static_cast<IouKind>(in.word("box_loss", kIouKinds));
  args.box_weight = static_cast<BoxWeight>(in.word("box_weight", kBoxWeights));
  args.per_image = in.word("normalizer", kNormalizers) == 1;
  args.alpha = in.number("alpha");
  args.gamma = in.number("gamma");
  args.eps = in.number("eps");
  args.normalizers = in.values("normalizers", maths, args.per_image ? 2 * args.batch : 2);
  args.expected_factor = in.number("factor");
  args.expected_scale = in.optional_values("expected_scale", maths, 1);
  args.class_gradient_scale = in.optional_values("grad_classification", maths, 1);
  args.ltrb_gradient_scale = in.optional_values("grad_bbox_regression", maths, 1);
  args.centerness_gradient_scale = in.optional_values("grad_centerness", maths, 1);
  args.only_unexpected = in.boolean("only_unexpected");

  args.class_loss = in.optional_values("classification", maths, 1);
  args.ltrb_loss = in.optional_values("bbox_regression", maths, 1);
  args.centerness_loss = in.optional_values("centerness", maths, 1);
  args.class_gradient = read_gradients(in, heads.class_logits, class_views);
  args.ltrb_gradient = read_gradients(in, heads.ltrb, ltrb_views);
  args.centerness_gradient = read_gradients(in, heads.centerness, centerness_views);
  return run(in, args, fcos_loss_workspace_size, fcos_loss);
}

std::size_t bound_fcos_scale_gradients(Arguments& in) {
  FcosScaleArgs args;
  std::array<std::array<MutableLevelView, kMaxLevels>, 3> views;
  for (std::size_t i = 0; i < views.size(); ++i) {
    HeadGradient& head = args.heads[i];
    set_gradient(in.tensors("gradients"), views[i], args, head);
    head.scale = in.optional_values("grad_loss", maths_of(head.dtype), 1);
  }
  return run(in, args, no_workspace, scale_gradients);
}

}  // namespace fcos_ops::bindings
