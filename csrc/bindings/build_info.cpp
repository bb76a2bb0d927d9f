#include "fcos_ops/build_info.h"

#include "bindings/arguments.h"

namespace fcos_ops::bindings {

void bind_build_info(py::module_& m) {
  m.def("build_info", [] {
    const BuildInfo info = build_info();
    py::dict result;
    result["version"] = info.version;
    result["compiler"] = info.compiler;
    result["cuda"] = info.cuda;
    result["cuda_reason"] = info.cuda_reason;
    result["cuda_architectures"] = info.cuda_architectures;
    result["cpu_instruction_set"] = info.cpu_instruction_set;
    return result;
  });
}

}  // namespace fcos_ops::bindings
