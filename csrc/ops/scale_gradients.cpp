// Stored gradients times the derivatives by their losses: checks, then the driver of the device.
#include "fcos_ops/scale_gradients.h"

#include "cpu/drivers.h"
#include "cuda/drivers.h"
#include "ops/checks.h"

namespace fcos_ops {
namespace {

bool is_scalable(const ScaledGradient& gradient) {
  const MutableLevelView& view = gradient.view;
  return are_levels(&view, 1, gradient.batch, gradient.channels) &&
         are_views(&view, &view, 1, gradient.batch * gradient.channels) &&
         is_floating(gradient.dtype) && gradient.scale != nullptr;
}

Status check(const ScaleGradientsArgs& args) {
  if (args.count < 0 || args.count > kMaxScaledGradients ||
      (args.count > 0 && args.gradients == nullptr)) {
    return invalid("scale_gradients: there must be 0 to kMaxScaledGradients gradients");
  }
  for (std::int32_t i = 0; i < args.count; ++i) {
    const ScaledGradient& gradient = args.gradients[i];
    if (!is_scalable(gradient)) {
      return invalid(
          "scale_gradients: a gradient must have data, sizes >= 0 and at most kMaxElements in all, "
          "a floating dtype and a scale");
    }
    const bool is_double = gradient.dtype == DType::kFloat64;
    if (is_double != (args.gradients[0].dtype == DType::kFloat64)) {
      return invalid("scale_gradients: all gradients or none must be kFloat64");
    }
  }
  return {};
}

}  // namespace

Status scale_gradients(const ScaleGradientsArgs& args, const Context& context) {
  if (const Status status = check(args); !status.ok()) return status;
  return on_cpu(context) ? cpu::scale_gradients(args, context)
                         : cuda::scale_gradients(args, context);
}

}  // namespace fcos_ops
