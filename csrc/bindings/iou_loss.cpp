#include "fcos_ops/iou_loss.h"

#include "bindings/arguments.h"

namespace fcos_ops::bindings {
namespace {

void bound_iou_loss(const LevelTuples& pred, int pred_dtype, const LevelTuples& target,
                    int target_dtype, std::int64_t batch, int kind, int box_format, double eps,
                    Address weight, Address normalizer, int normalizer_dtype,
                    double normalizer_floor, double scale, Address gradient_scale, Address loss_sum,
                    Address losses, const LevelTuples& gradient, int gradient_dtype,
                    Address workspace, std::size_t workspace_size, std::int32_t device,
                    Address stream, std::int32_t num_threads) {
  const auto pred_views = views<LevelView>(pred);
  const auto target_views = views<LevelView>(target);
  const auto gradient_views = views<MutableLevelView>(gradient);
  IouLossArgs args;
  args.pred = pred_views.data();
  args.target = target_views.data();
  args.num_levels = static_cast<std::int32_t>(pred_views.size());
  args.batch = batch;
  args.pred_dtype = static_cast<DType>(pred_dtype);
  args.target_dtype = static_cast<DType>(target_dtype);
  args.kind = static_cast<IouKind>(kind);
  args.box_format = static_cast<BoxFormat>(box_format);
  args.eps = eps;
  args.weight = pointer(weight);
  args.normalizer = {pointer(normalizer), static_cast<DType>(normalizer_dtype), normalizer_floor};
  args.scale = scale;
  args.gradient_scale = pointer(gradient_scale);
  args.loss_sum = pointer(loss_sum);
  args.losses = pointer(losses);
  args.gradient = data_or_null(gradient_views);
  args.gradient_dtype = static_cast<DType>(gradient_dtype);
  const Context context = {device, pointer(stream), num_threads};
  py::gil_scoped_release release;
  const Status status = iou_loss(args, {pointer(workspace), workspace_size}, context);
  py::gil_scoped_acquire acquire;
  raise_unless_ok(status);
}

std::size_t workspace_size(const LevelTuples& pred, std::int64_t batch, std::int32_t device) {
  const auto pred_views = views<LevelView>(pred);
  IouLossArgs args;
  args.pred = pred_views.data();
  args.num_levels = static_cast<std::int32_t>(pred_views.size());
  args.batch = batch;
  return iou_loss_workspace_size(args, {device, nullptr, 1});
}

}  // namespace

void bind_iou_loss(py::module_& m) {
  m.def("iou_loss", &bound_iou_loss);
  m.def("iou_loss_workspace_size", &workspace_size);
}

}  // namespace fcos_ops::bindings
