#include "fcos_ops/centerness.h"

#include "bindings/arguments.h"

namespace fcos_ops::bindings {
namespace {

void target(const LevelTuples& ltrb, std::int64_t batch, int dtype, Address target,
            std::int32_t device, Address stream, std::int32_t num_threads) {
  const auto ltrb_views = views<LevelView>(ltrb);
  CenternessTargetArgs args;
  args.ltrb = ltrb_views.data();
  args.num_levels = static_cast<std::int32_t>(ltrb_views.size());
  args.batch = batch;
  args.dtype = static_cast<DType>(dtype);
  args.target = pointer(target);
  py::gil_scoped_release release;
  const Status status = centerness_target(args, {device, pointer(stream), num_threads});
  py::gil_scoped_acquire acquire;
  raise_unless_ok(status);
}

void loss(const LevelTuples& logits, std::int64_t batch, int dtype, Address target,
          Address selection, int selection_dtype, Address normalizer, int normalizer_dtype,
          double normalizer_floor, double scale, Address gradient_scale, Address loss_sum,
          Address losses, const LevelTuples& gradient, int gradient_dtype, Address workspace,
          std::size_t workspace_size, std::int32_t device, Address stream,
          std::int32_t num_threads) {
  const auto logit_views = views<LevelView>(logits);
  const auto gradient_views = views<MutableLevelView>(gradient);
  CenternessLossArgs args;
  args.logits = logit_views.data();
  args.num_levels = static_cast<std::int32_t>(logit_views.size());
  args.batch = batch;
  args.dtype = static_cast<DType>(dtype);
  args.target = pointer(target);
  args.selection = pointer(selection);
  args.selection_dtype = static_cast<DType>(selection_dtype);
  args.normalizer = {pointer(normalizer), static_cast<DType>(normalizer_dtype), normalizer_floor};
  args.scale = scale;
  args.gradient_scale = pointer(gradient_scale);
  args.loss_sum = pointer(loss_sum);
  args.losses = pointer(losses);
  args.gradient = data_or_null(gradient_views);
  args.gradient_dtype = static_cast<DType>(gradient_dtype);
  const Context context = {device, pointer(stream), num_threads};
  py::gil_scoped_release release;
  const Status status = centerness_loss(args, {pointer(workspace), workspace_size}, context);
  py::gil_scoped_acquire acquire;
  raise_unless_ok(status);
}

std::size_t workspace_size(const LevelTuples& logits, std::int64_t batch, std::int32_t device) {
  const auto logit_views = views<LevelView>(logits);
  CenternessLossArgs args;
  args.logits = logit_views.data();
  args.num_levels = static_cast<std::int32_t>(logit_views.size());
  args.batch = batch;
  return centerness_loss_workspace_size(args, {device, nullptr, 1});
}

}  // namespace

void bind_centerness(py::module_& m) {
  m.def("centerness_target", &target);
  m.def("centerness_loss", &loss);
  m.def("centerness_loss_workspace_size", &workspace_size);
}

}  // namespace fcos_ops::bindings
