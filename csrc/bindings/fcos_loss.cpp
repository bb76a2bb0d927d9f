#include "fcos_ops/fcos_loss.h"

#include "bindings/arguments.h"
#include "bindings/words.h"

namespace fcos_ops::bindings {
namespace {

void expect_count(const Tensors& tensors, const char* name, std::int32_t num_levels) {
  if (tensors.count == num_levels) return;
  raise(PyExc_ValueError, std::string(name) + " must hold one tensor for each of " +
                              std::to_string(num_levels) + " levels, got " +
                              std::to_string(tensors.count));
}

// The gradients of a head, of its sizes and dtype; null where there are none.
const MutableLevelView* read_gradients(Arguments& in, const char* name, const Tensors& head,
                                       std::array<MutableLevelView, kMaxLevels>& views) {
  const Tensors gradients = in.tensors(name);
  if (gradients.count != 0) expect_count(gradients, name, head.count);
  for (std::int32_t i = 0; i < gradients.count; ++i) {
    gradients.levels[i].expect_sizes_of(head.levels[i]);
    gradients.levels[i].expect_dtype(only(head.levels[i].dtype()));
  }
  return map_views(gradients, views);
}

// The gradients of a head, of one batch, number of channels and dtype.
void set_gradient(const Tensors& gradients, const char* name,
                  std::array<MutableLevelView, kMaxLevels>& views, FcosScaleArgs& args,
                  HeadGradient& head) {
  head.gradient = map_views(gradients, views);
  if (head.gradient == nullptr) return;
  const Tensor& first = gradients.levels[0];
  if (args.num_levels == 0) {
    args.num_levels = gradients.count;
    args.batch = first.size(0);
  }
  expect_count(gradients, name, args.num_levels);
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
  HeadLevels heads(in);
  std::array<MutableLevelView, kMaxLevels> class_views, ltrb_views, centerness_views;
  set_heads(heads, args);
  args.levels = heads.levels.data();
  const std::int64_t rows = args.batch * count_locations(heads.levels, args.num_levels);
  const DType maths = maths_of(args.class_dtype);

  args.matched = in.values<std::int32_t>("matched", DType::kInt32, rows);
  const Tensor boxes = in.tensor("boxes"), labels = in.tensor("labels");
  set_boxes(boxes, labels, args);
  args.location_offset = in.number("location_offset");
  args.normalize_ltrb = in.boolean("normalize_ltrb");
  args.box_loss = static_cast<IouKind>(in.word("box_loss", kIouKinds));
  args.box_weight = static_cast<BoxWeight>(in.word("box_weight", kBoxWeights));
  args.per_image = in.word("normalizer", kNormalizers) == 1;
  args.alpha = in.number("alpha");
  args.gamma = in.number("gamma");
  args.eps = in.number("eps");
  args.normalizers = in.values("normalizers", maths, args.per_image ? 2 * args.batch : 2);
  args.expected_factor = in.number("expected_factor");
  args.expected_scale = in.optional_values("expected_scale", maths, 1);
  args.class_gradient_scale = in.optional_values("grad_classification", maths, 1);
  args.ltrb_gradient_scale = in.optional_values("grad_bbox_regression", maths, 1);
  args.centerness_gradient_scale = in.optional_values("grad_centerness", maths, 1);
  args.only_unexpected = in.boolean("only_unexpected");

  args.class_loss = in.optional_values("classification", maths, 1);
  args.ltrb_loss = in.optional_values("bbox_regression", maths, 1);
  args.centerness_loss = in.optional_values("centerness_loss", maths, 1);
  args.class_gradient = read_gradients(in, "cls_logits_gradient", heads.class_logits, class_views);
  args.ltrb_gradient = read_gradients(in, "ltrb_gradient", heads.ltrb, ltrb_views);
  args.centerness_gradient =
      read_gradients(in, "centerness_gradient", heads.centerness, centerness_views);
  return run(in, args, fcos_loss_workspace_size, fcos_loss);
}

std::size_t bound_fcos_scale_gradients(Arguments& in) {
  FcosScaleArgs args;
  constexpr const char* names[][2] = {{"cls_logits_gradient", "grad_classification"},
                                      {"ltrb_gradient", "grad_bbox_regression"},
                                      {"centerness_gradient", "grad_centerness"}};
  std::array<std::array<MutableLevelView, kMaxLevels>, 3> views;
  for (std::size_t i = 0; i < views.size(); ++i) {
    HeadGradient& head = args.heads[i];
    const auto& [gradient, derivative] = names[i];
    set_gradient(in.tensors(gradient), gradient, views[i], args, head);
    head.scale = in.optional_values(derivative, maths_of(head.dtype), 1);
  }
  return run(in, args, fcos_scale_gradients);
}

}  // namespace fcos_ops::bindings
