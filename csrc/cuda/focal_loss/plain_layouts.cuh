// The layouts of plain logits that have kernels of their own.
#pragma once

#include "cuda/focal_loss/plain_planes.cuh"
#include "cuda/focal_loss/plain_rows.cuh"

namespace fcos_ops::cuda::focal {

// Calls run_plain(math::Type<Plain>{}, tiling), where Plain is a PlainRows or PlainPlanes that
// takes this layout, or where none does run_general().
template <class T, Labels kLabels, class RunPlain, class RunGeneral>
Status dispatch_layout(const FocalProblem& problem, const Context& context,
                       const RunPlain& run_plain, const RunGeneral& run_general) {
  const bool has_gradient = problem.gradient != nullptr;
  const std::int64_t multiprocessors = count_multiprocessors(context);
  if (takes_location_major<T>(problem)) {
    const auto aligned = [&](const auto& view) { return has_row_vectors<T>(view, problem.batch); };
    const std::int64_t rows = tile_rows<T>(problem.num_classes, has_gradient);
    if (problem.num_classes < kVector<T> || rows == 0 || !problem.all_levels(aligned)) {
      return run_general();
    }
    const RowTiling tiling = row_tiling<T>(problem, rows, multiprocessors);
    return has_gradient ? run_plain(math::Type<PlainRows<T, true, kLabels>>{}, tiling)
                        : run_plain(math::Type<PlainRows<T, false, kLabels>>{}, tiling);
  }
  const auto has_planes = [](const auto& view) {
    return is_class_major(view) && view.stride_channel >= 0 && view.stride_channel <= kMaxDividend;
  };
  PlaneTiling tiling;
  if (!problem.all_levels(has_planes) || !make_plane_tiling<T>(problem, multiprocessors, &tiling)) {
    return run_general();
  }
  return has_gradient ? run_plain(math::Type<PlainPlanes<T, true, kLabels>>{}, tiling)
                      : run_plain(math::Type<PlainPlanes<T, false, kLabels>>{}, tiling);
}

}  // namespace fcos_ops::cuda::focal
