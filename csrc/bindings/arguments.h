// How Python hands over what the native library takes: addresses as integers (0 for none), dtypes
// as the numbers of DType, a level view as (address, height, width, four strides).
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <stdexcept>
#include <string>
#include <vector>

#include "fcos_ops/assign_targets.h"
#include "fcos_ops/types.h"

namespace fcos_ops::bindings {

namespace py = pybind11;

using Address = std::uintptr_t;
using LevelTuples = std::vector<std::array<std::int64_t, 7>>;

inline void* pointer(Address address) { return reinterpret_cast<void*>(address); }

template <class View>
std::vector<View> views(const LevelTuples& tuples) {
  std::vector<View> result;
  result.reserve(tuples.size());
  for (const auto& t : tuples) {
    result.push_back({pointer(static_cast<Address>(t[0])), t[1], t[2], t[3], t[4], t[5], t[6]});
  }
  return result;
}

// Null for an optional quantity that was not given.
template <class View>
const View* data_or_null(const std::vector<View>& views) {
  return views.empty() ? nullptr : views.data();
}

// (height, width, stride_y, stride_x) of every level, then (scale, lower, upper) of every level.
inline std::vector<AssignmentLevel> assignment_levels(const std::vector<std::int64_t>& grids,
                                                      const std::vector<double>& lengths) {
  std::vector<AssignmentLevel> levels(grids.size() / 4);
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const std::int64_t* grid = &grids[4 * i];
    const double* length = &lengths.at(3 * i);
    levels[i] = {grid[0], grid[1], grid[2], grid[3], length[0], length[1], length[2]};
  }
  return levels;
}

// Errors that only a mistake inside fcos_ops can cause: its Python functions check what users pass.
inline void raise_unless_ok(const Status& status) {
  if (status.ok()) return;
  throw std::runtime_error(std::string(status.message) + " (status " + std::to_string(status.code) +
                           ")");
}

// One per op, called by module.cpp.
void bind_assign_targets(py::module_& m);
void bind_build_info(py::module_& m);
void bind_centerness(py::module_& m);
void bind_fcos_loss(py::module_& m);
void bind_focal_loss(py::module_& m);
void bind_iou_loss(py::module_& m);
void bind_nms(py::module_& m);
void bind_postprocess(py::module_& m);

}  // namespace fcos_ops::bindings
