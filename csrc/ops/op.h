// How every op runs: its checks, its workspace, then the driver of the device.
#pragma once

#include "cpu/drivers.h"
#include "cuda/drivers.h"
#include "ops/checks.h"

namespace fcos_ops {

// Whether the library has CUDA drivers. Where it has none calls of them would not link, so that
// they must not be compiled.
inline constexpr bool kHasCuda = FCOS_OPS_CUDA_BUILT;

template <class Args>
std::size_t driver_workspace_size(const Args& args, const Context& context) {
  if (on_cpu(context)) return cpu::workspace_size(args, context);
  if constexpr (kHasCuda) return cuda::workspace_size(args, context);
  return 0;
}

// `args`: those of the op and, unless it takes none, its workspace. `without_cuda_message`: that of
// a library that has no driver for the device.
template <class... Args>
Status run_driver(const Context& context, const char* without_cuda_message, const Args&... args) {
  if (on_cpu(context)) return cpu::run(args..., context);
  if constexpr (kHasCuda) return cuda::run(args..., context);
  return {kNotImplementedForDevice, without_cuda_message};
}

// An op behind its public functions. Of its checks the first is that of the sizes, which is all
// that a query of the workspace needs.
template <class Args>
struct Op {
  const char* workspace_message;     // that it is too small or misaligned
  const char* without_cuda_message;  // that the device has no driver
  Status (*checks[4])(const Args&);  // null behind the last

  std::size_t workspace_size(const Args& args, const Context& context) const {
    return checks[0](args).ok() ? driver_workspace_size(args, context) : 0;
  }

  Status run(const Args& args, Workspace workspace, const Context& context) const {
    for (const auto check : checks) {
      if (check == nullptr) break;
      if (const Status status = check(args); !status.ok()) return status;
    }
    const std::size_t size = driver_workspace_size(args, context);
    const Status status = check_workspace(workspace, size, workspace_message);
    return status.ok() ? run_driver(context, without_cuda_message, args, workspace) : status;
  }
};

}  // namespace fcos_ops
