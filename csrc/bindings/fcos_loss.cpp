#include "fcos_ops/fcos_loss.h"

#include "bindings/arguments.h"

namespace fcos_ops::bindings {
namespace {

// Of each head: classes, ltrb, centerness.
using ThreeHeads = std::array<LevelTuples, 3>;
using ThreeDtypes = std::array<int, 3>;
using ThreeAddresses = std::array<Address, 3>;

void run_fcos_loss(const ThreeHeads& heads, const ThreeDtypes& dtypes,
                   const std::vector<std::int64_t>& grids, const std::vector<double>& lengths,
                   std::int64_t batch, std::int64_t num_classes, Address matched, Address boxes,
                   std::int64_t num_boxes, int box_dtype, Address labels, int label_dtype,
                   double location_offset, bool normalize_ltrb, int box_loss, int box_weight,
                   double eps, double alpha, double gamma, Address normalizers, bool per_image,
                   double gradient_factor, const ThreeAddresses& gradient_scales,
                   Address class_loss, Address ltrb_loss, Address centerness_loss,
                   const ThreeHeads& gradients, Address workspace, std::size_t workspace_size,
                   std::int32_t device, Address stream, std::int32_t num_threads) {
  const auto levels = assignment_levels(grids, lengths);
  const auto class_views = views<LevelView>(heads[0]), ltrb_views = views<LevelView>(heads[1]),
             center_views = views<LevelView>(heads[2]);
  const auto class_slopes = views<MutableLevelView>(gradients[0]),
             ltrb_slopes = views<MutableLevelView>(gradients[1]),
             center_slopes = views<MutableLevelView>(gradients[2]);
  FcosLossArgs args;
  args.class_logits = class_views.data();
  args.ltrb = ltrb_views.data();
  args.centerness = center_views.data();
  args.class_dtype = static_cast<DType>(dtypes[0]);
  args.ltrb_dtype = static_cast<DType>(dtypes[1]);
  args.centerness_dtype = static_cast<DType>(dtypes[2]);
  args.levels = levels.data();
  args.num_levels = static_cast<std::int32_t>(class_views.size());
  args.batch = batch;
  args.num_classes = num_classes;
  args.matched = static_cast<const std::int32_t*>(pointer(matched));
  args.boxes = pointer(boxes);
  args.num_boxes = num_boxes;
  args.box_dtype = static_cast<DType>(box_dtype);
  args.labels = pointer(labels);
  args.label_dtype = static_cast<DType>(label_dtype);
  args.location_offset = location_offset;
  args.normalize_ltrb = normalize_ltrb;
  args.box_loss = static_cast<IouKind>(box_loss);
  args.box_weight = static_cast<BoxWeight>(box_weight);
  args.eps = eps;
  args.alpha = alpha;
  args.gamma = gamma;
  args.normalizers = pointer(normalizers);
  args.per_image = per_image;
  args.gradient_factor = gradient_factor;
  args.class_gradient_scale = pointer(gradient_scales[0]);
  args.ltrb_gradient_scale = pointer(gradient_scales[1]);
  args.centerness_gradient_scale = pointer(gradient_scales[2]);
  args.class_loss = pointer(class_loss);
  args.ltrb_loss = pointer(ltrb_loss);
  args.centerness_loss = pointer(centerness_loss);
  args.class_gradient = data_or_null(class_slopes);
  args.ltrb_gradient = data_or_null(ltrb_slopes);
  args.centerness_gradient = data_or_null(center_slopes);
  const Context context = {device, pointer(stream), num_threads};
  py::gil_scoped_release release;
  const Status status = fcos_loss(args, {pointer(workspace), workspace_size}, context);
  py::gil_scoped_acquire acquire;
  raise_unless_ok(status);
}

std::size_t workspace_size(const LevelTuples& class_logits, std::int64_t batch,
                           std::int64_t num_classes, std::int32_t device) {
  const auto class_views = views<LevelView>(class_logits);
  FcosLossArgs args;
  args.class_logits = class_views.data();
  args.num_levels = static_cast<std::int32_t>(class_views.size());
  args.batch = batch;
  args.num_classes = num_classes;
  return fcos_loss_workspace_size(args, {device, nullptr, 1});
}

void scale_gradients(const ThreeHeads& gradients, const std::array<std::int64_t, 3>& channels,
                     const ThreeDtypes& dtypes, const ThreeAddresses& scales, std::int64_t batch,
                     double factor, Address expected, std::int32_t device, Address stream,
                     std::int32_t num_threads) {
  std::array<std::vector<MutableLevelView>, 3> slopes;
  FcosScaleArgs args;
  for (std::size_t i = 0; i < 3; ++i) {
    slopes[i] = views<MutableLevelView>(gradients[i]);
    args.heads[i] = {data_or_null(slopes[i]), channels[i], static_cast<DType>(dtypes[i]),
                     pointer(scales[i])};
    if (!slopes[i].empty()) args.num_levels = static_cast<std::int32_t>(slopes[i].size());
  }
  args.batch = batch;
  args.factor = factor;
  args.expected = pointer(expected);
  py::gil_scoped_release release;
  const Status status = fcos_scale_gradients(args, {device, pointer(stream), num_threads});
  py::gil_scoped_acquire acquire;
  raise_unless_ok(status);
}

}  // namespace

void bind_fcos_loss(py::module_& m) {
  m.def("fcos_loss", &run_fcos_loss);
  m.def("fcos_loss_workspace_size", &workspace_size);
  m.def("fcos_scale_gradients", &scale_gradients);
}

}  // namespace fcos_ops::bindings
