// What stands in for the drivers of the FCOS loss, which has no kernels for a GPU yet.
#include "cuda/ops.h"

namespace fcos_ops::cuda {

std::size_t fcos_loss_workspace_size(const FcosLossArgs&) { return 0; }

Status fcos_loss(const FcosLossArgs&, Workspace, const Context&) {
  return {kNotImplementedForDevice, "fcos_loss: no CUDA kernel yet"};
}

Status fcos_scale_gradients(const FcosScaleArgs&, const Context&) {
  return {kNotImplementedForDevice, "fcos_scale_gradients: no CUDA kernel yet"};
}

}  // namespace fcos_ops::cuda
