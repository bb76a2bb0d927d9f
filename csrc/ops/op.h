// How every op runs: its checks, its workspace, then the driver of the device.
#pragma once

#include "ops/checks.h"

namespace fcos_ops {

// An op behind its public functions. Of its checks the first is that of the sizes, which is all
// that a query of the workspace needs.
template <class Args>
struct Op {
  using Driver = Status (*)(const Args&, Workspace, const Context&);

  const char* workspace_message;
  std::size_t (*driver_workspace_size)(const Args&, const Context&);
  Driver cpu_driver, cuda_driver;
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
    if (!status.ok()) return status;
    return (on_cpu(context) ? cpu_driver : cuda_driver)(args, workspace, context);
  }
};

}  // namespace fcos_ops
