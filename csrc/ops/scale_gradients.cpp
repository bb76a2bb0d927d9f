// Stored gradients times the derivatives by their losses: checks, then the driver of the device.
#include "fcos_ops/scale_gradients.h"

#include "ops/op.h"

namespace fcos_ops {
namespace {

bool is_scalable(const ScaledGradient& gradient) {
  const MutableLevelView& view = gradient.view;
  return are_levels(&view, 1, gradient.batch, gradient.channels) &&
         are_views(&view, &view, 1, gradient.batch * gradient.channels) &&
         is_floating(gradient.dtype) && gradient.scale != nullptr;
}

bool is_double(const ScaledGradient& gradient) { return gradient.dtype == DType::kFloat64; }

Status check(const ScaleGradientsArgs& args) {
  const bool are_there = args.count >= 0 && args.count <= kMaxScaledGradients &&
                         (args.count == 0 || args.gradients != nullptr);
  const ScaledGradient* const end = args.gradients + (are_there ? args.count : 0);
  const auto doubles = std::count_if(args.gradients, end, is_double);
  return require({
      {are_there, "scale_gradients: there must be 0 to kMaxScaledGradients gradients"},
      {std::all_of(args.gradients, end, is_scalable),
       "scale_gradients: a gradient must have data, sizes >= 0 and at most kMaxElements in all, a "
       "floating dtype and a scale"},
      {doubles == 0 || doubles == args.count,
       "scale_gradients: all gradients or none must be kFloat64"},
  });
}

}  // namespace

Status scale_gradients(const ScaleGradientsArgs& args, const Context& context) {
  if (const Status status = check(args); !status.ok()) return status;
  return run_driver(context, "scale_gradients: this library was built without CUDA", args);
}

}  // namespace fcos_ops
