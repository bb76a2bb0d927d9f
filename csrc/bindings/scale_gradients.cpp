#include "fcos_ops/scale_gradients.h"

#include <array>

#include "bindings/arguments.h"

namespace fcos_ops::bindings {
namespace {

// A tensor of at most four dimensions, or a contiguous one.
ScaledGradient gradient_of(const Tensor& tensor) {
  ScaledGradient gradient;
  tensor.expect_dtype(kFloating);
  gradient.dtype = tensor.dtype();
  if (tensor.is_contiguous()) {
    line_view(tensor, gradient.view);
    gradient.batch = gradient.channels = 1;
  } else {
    const Rows rows({&tensor});
    row_view(tensor, rows, gradient.view);
    gradient.batch = rows.batch;
    gradient.channels = tensor.size(tensor.rank() - 1);
  }
  return gradient;
}

}  // namespace

std::size_t bound_scale_gradients(Arguments& in) {
  constexpr const char* names[][2] = {{"gradients", "grad_loss"},
                                      {"second_gradients", "second_grad_loss"},
                                      {"third_gradients", "third_grad_loss"}};
  std::array<ScaledGradient, kMaxScaledGradients> gradients;
  ScaleGradientsArgs args;
  args.gradients = gradients.data();
  for (const auto& [name, scale_name] : names) {
    const Tensors tensors = in.tensors(name);
    const Tensor scale = in.optional_tensor(scale_name);
    scale.expect_count(1);
    for (std::int32_t i = 0; i < tensors.count; ++i) {
      ScaledGradient& gradient = gradients[args.count++];
      gradient = gradient_of(tensors.levels[i]);
      scale.expect_dtype(only(maths_of(gradient.dtype)));
      gradient.scale = scale.data();
    }
  }
  return run(in, args, scale_gradients);
}

}  // namespace fcos_ops::bindings
