#include "fcos_ops/assign_targets.h"

#include "bindings/arguments.h"

namespace fcos_ops::bindings {
namespace {

void assign(const std::vector<std::int64_t>& grids, const std::vector<double>& lengths,
            std::int64_t batch, Address boxes, std::int64_t num_boxes, int box_dtype,
            Address labels, int label_dtype, Address offsets, int offset_dtype,
            double location_offset, double center_radius, int center_region, bool range_inclusive,
            int area_rule, double max_area, bool normalize_ltrb, Address location_labels,
            Address ltrb, Address centerness, Address matched, Address num_pos,
            Address centerness_sum, Address matched_int32, Address counts, Address image_counts,
            Address workspace, std::size_t workspace_size, std::int32_t device, Address stream,
            std::int32_t num_threads) {
  const auto levels = assignment_levels(grids, lengths);
  AssignTargetsArgs args;
  args.levels = levels.data();
  args.num_levels = static_cast<std::int32_t>(levels.size());
  args.batch = batch;
  args.boxes = pointer(boxes);
  args.num_boxes = num_boxes;
  args.box_dtype = static_cast<DType>(box_dtype);
  args.labels = pointer(labels);
  args.label_dtype = static_cast<DType>(label_dtype);
  args.offsets = pointer(offsets);
  args.offset_dtype = static_cast<DType>(offset_dtype);
  args.location_offset = location_offset;
  args.center_radius = center_radius;
  args.center_region = static_cast<CenterRegion>(center_region);
  args.range_inclusive = range_inclusive;
  args.area_rule = static_cast<AreaRule>(area_rule);
  args.max_area = max_area;
  args.normalize_ltrb = normalize_ltrb;
  args.location_labels = static_cast<std::int64_t*>(pointer(location_labels));
  args.ltrb = pointer(ltrb);
  args.centerness = pointer(centerness);
  args.matched = static_cast<std::int64_t*>(pointer(matched));
  args.num_pos = static_cast<std::int64_t*>(pointer(num_pos));
  args.centerness_sum = pointer(centerness_sum);
  args.matched_int32 = static_cast<std::int32_t*>(pointer(matched_int32));
  args.counts = pointer(counts);
  args.image_counts = pointer(image_counts);
  const Context context = {device, pointer(stream), num_threads};
  py::gil_scoped_release release;
  const Status status = assign_targets(args, {pointer(workspace), workspace_size}, context);
  py::gil_scoped_acquire acquire;
  raise_unless_ok(status);
}

std::size_t workspace_size(const std::vector<std::int64_t>& grids,
                           const std::vector<double>& lengths, std::int64_t batch,
                           std::int32_t device) {
  const auto levels = assignment_levels(grids, lengths);
  AssignTargetsArgs args;
  args.levels = levels.data();
  args.num_levels = static_cast<std::int32_t>(levels.size());
  args.batch = batch;
  return assign_targets_workspace_size(args, {device, nullptr, 1});
}

}  // namespace

void bind_assign_targets(py::module_& m) {
  m.def("assign_targets", &assign);
  m.def("assign_targets_workspace_size", &workspace_size);
}

}  // namespace fcos_ops::bindings
