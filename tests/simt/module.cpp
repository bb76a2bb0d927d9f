// The Python module _simt: what fcos_ops._C has, over the CUDA kernels on fibers; and a test's
// view of them.
#include "bindings/arguments.h"
#include "simt/runtime.h"

PYBIND11_MODULE(_simt, m) {
  namespace b = fcos_ops::bindings;
  b::bind_assign_targets(m);
  b::bind_build_info(m);
  b::bind_centerness(m);
  b::bind_fcos_loss(m);
  b::bind_focal_loss(m);
  b::bind_iou_loss(m);
  b::bind_nms(m);
  b::bind_postprocess(m);
  m.def("set_seed", &simt::set_seed);
  m.def("launches", &simt::launches);
}
