#include "fcos_ops/focal_loss.h"

#include "bindings/arguments.h"

namespace fcos_ops::bindings {
namespace {

void focal_loss(const LevelTuples& logits, std::int64_t batch, std::int64_t num_classes, int dtype,
                Address labels, int label_dtype, const LevelTuples& targets, Address weight,
                Address normalizer, int normalizer_dtype, double normalizer_floor, double scale,
                Address gradient_scale, double alpha, double gamma, Address loss_sum,
                const LevelTuples& losses, const LevelTuples& gradient, int gradient_dtype,
                Address workspace, std::size_t workspace_size, std::int32_t device, Address stream,
                std::int32_t num_threads) {
  const auto logit_views = views<LevelView>(logits);
  const auto target_views = views<LevelView>(targets);
  const auto loss_views = views<MutableLevelView>(losses);
  const auto gradient_views = views<MutableLevelView>(gradient);
  FocalLossArgs args;
  args.logits = logit_views.data();
  args.num_levels = static_cast<std::int32_t>(logit_views.size());
  args.batch = batch;
  args.num_classes = num_classes;
  args.dtype = static_cast<DType>(dtype);
  args.labels = pointer(labels);
  args.label_dtype = static_cast<DType>(label_dtype);
  args.targets = data_or_null(target_views);
  args.weight = pointer(weight);
  args.normalizer = {pointer(normalizer), static_cast<DType>(normalizer_dtype), normalizer_floor};
  args.scale = scale;
  args.alpha = alpha;
  args.gamma = gamma;
  args.gradient_scale = pointer(gradient_scale);
  args.loss_sum = pointer(loss_sum);
  args.losses = data_or_null(loss_views);
  args.gradient = data_or_null(gradient_views);
  args.gradient_dtype = static_cast<DType>(gradient_dtype);
  const Context context = {device, pointer(stream), num_threads};
  py::gil_scoped_release release;
  const Status status = sigmoid_focal_loss(args, {pointer(workspace), workspace_size}, context);
  py::gil_scoped_acquire acquire;
  raise_unless_ok(status);
}

std::size_t workspace_size(const LevelTuples& logits, std::int64_t batch, std::int32_t device) {
  const auto logit_views = views<LevelView>(logits);
  FocalLossArgs args;
  args.logits = logit_views.data();
  args.num_levels = static_cast<std::int32_t>(logit_views.size());
  args.batch = batch;
  return sigmoid_focal_loss_workspace_size(args, {device, nullptr, 1});
}

}  // namespace

void bind_focal_loss(py::module_& m) {
  m.def("sigmoid_focal_loss", &focal_loss);
  m.def("sigmoid_focal_loss_workspace_size", &workspace_size);
}

}  // namespace fcos_ops::bindings
