// The Python module fcos_ops._C: the native library, without torch.
#include <pybind11/pybind11.h>

#include "bindings/arguments.h"
#include "fcos_ops/build_info.h"

namespace fcos_ops::bindings {
namespace {

namespace py = pybind11;

using Function = std::size_t (*)(Arguments&);

// Binds a function that reads its own arguments: the conversions of pybind11, a template for every
// signature, would take longer to compile than the rest of the library.
void bind(py::module_& m, const char* name, Function function) {
  m.def(name, [function](const py::args& values) {
    try {
      Arguments in(values.ptr());
      return function(in);
    } catch (const PythonError&) {
      throw py::error_already_set();
    }
  });
}

py::dict build_info_dict() {
  const BuildInfo info = build_info();
  py::dict result;
  result["version"] = info.version;
  result["compiler"] = info.compiler;
  result["cuda"] = info.cuda;
  result["cuda_reason"] = info.cuda_reason;
  result["cuda_architectures"] = info.cuda_architectures;
  result["cpu_instruction_set"] = info.cpu_instruction_set;
  return result;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.def("build_info", &build_info_dict);
  bind(m, "assign_targets", bound_assign_targets);
  bind(m, "centerness_loss", bound_centerness_loss);
  bind(m, "centerness_target", bound_centerness_target);
  bind(m, "fcos_loss", bound_fcos_loss);
  bind(m, "group_norm", bound_group_norm);
  bind(m, "group_norm_backward", bound_group_norm_backward);
  bind(m, "iou_loss", bound_iou_loss);
  bind(m, "nms", bound_nms);
  bind(m, "postprocess", bound_postprocess);
  bind(m, "scale_gradients", bound_scale_gradients);
  bind(m, "sigmoid_focal_loss", bound_sigmoid_focal_loss);
}

}  // namespace fcos_ops::bindings
