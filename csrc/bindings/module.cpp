// The Python module fcos_ops._C: the native library, without torch.
#include <pybind11/pybind11.h>

#include <new>

#include "bindings/arguments.h"
#include "fcos_ops/build_info.h"

namespace fcos_ops::bindings {
namespace {

namespace py = pybind11;

// A function that reads its own arguments: the conversions of pybind11, a template for every
// signature, would take longer to compile than the rest of the library, and longer to call.
template <std::size_t (*kFunction)(Arguments&)>
PyObject* call(PyObject*, PyObject* values) {
  try {
    Arguments in(values);
    return PyLong_FromSize_t(kFunction(in));
  } catch (const PythonError&) {
    return nullptr;
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
}

PyMethodDef functions[] = {
    {"assign_targets", call<bound_assign_targets>, METH_VARARGS, nullptr},
    {"centerness_loss", call<bound_centerness_loss>, METH_VARARGS, nullptr},
    {"centerness_target", call<bound_centerness_target>, METH_VARARGS, nullptr},
    {"fcos_loss", call<bound_fcos_loss>, METH_VARARGS, nullptr},
    {"group_norm", call<bound_group_norm>, METH_VARARGS, nullptr},
    {"group_norm_backward", call<bound_group_norm_backward>, METH_VARARGS, nullptr},
    {"iou_loss", call<bound_iou_loss>, METH_VARARGS, nullptr},
    {"nms", call<bound_nms>, METH_VARARGS, nullptr},
    {"postprocess", call<bound_postprocess>, METH_VARARGS, nullptr},
    {"scale_gradients", call<bound_scale_gradients>, METH_VARARGS, nullptr},
    {"sigmoid_focal_loss", call<bound_sigmoid_focal_loss>, METH_VARARGS, nullptr},
    {},
};

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
  if (PyModule_AddFunctions(m.ptr(), functions) != 0) throw py::error_already_set();
}

}  // namespace fcos_ops::bindings
