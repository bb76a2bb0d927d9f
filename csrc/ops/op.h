// How every op runs: its checks, its workspace, then the driver of the device.
#pragma once

#include "cpu/drivers.h"
#include "cuda/drivers.h"
#include "ops/checks.h"

namespace fcos_ops {

// What an op is on one device.
template <class Args>
struct Driver {
  std::size_t (*workspace_size)(const Args&, const Context&);
  Status (*run)(const Args&, Workspace, const Context&);
};

// An op behind its public functions. Of its checks the first is that of the sizes, which is all
// that a query of the workspace needs.
template <class Args>
struct Op {
  const char* workspace_message;
  Driver<Args> cpu, cuda;
  Status (*checks[4])(const Args&);  // null behind the last

  const Driver<Args>& driver(const Context& context) const { return on_cpu(context) ? cpu : cuda; }

  std::size_t workspace_size(const Args& args, const Context& context) const {
    return checks[0](args).ok() ? driver(context).workspace_size(args, context) : 0;
  }

  Status run(const Args& args, Workspace workspace, const Context& context) const {
    for (const auto check : checks) {
      if (check == nullptr) break;
      if (const Status status = check(args); !status.ok()) return status;
    }
    const std::size_t size = driver(context).workspace_size(args, context);
    const Status status = check_workspace(workspace, size, workspace_message);
    return status.ok() ? driver(context).run(args, workspace, context) : status;
  }
};

}  // namespace fcos_ops
