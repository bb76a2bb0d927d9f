// The Python module fcos_ops._C: the native library as it is, without torch and without checks.
#include "bindings/arguments.h"

PYBIND11_MODULE(_C, m) {
  namespace b = fcos_ops::bindings;
  b::bind_assign_targets(m);
  b::bind_build_info(m);
  b::bind_centerness(m);
  b::bind_fcos_loss(m);
  b::bind_focal_loss(m);
  b::bind_iou_loss(m);
  b::bind_nms(m);
  b::bind_postprocess(m);
}
