// Target assignment on a CPU. See include/fcos_ops/assign_targets.h for what it computes.
//
// Threads take bands of rows of one level of one image. A band is first filled with background at
// the speed of memset. Then each box of the image walks over the few cells that it may match and
// bids for them in `matched`, where the best box so far stands; one with a lower cost writes its
// targets at once. So the cost grows with the cells that boxes cover.
#include "fcos_ops/assign_targets.h"

#include <algorithm>
#include <cstring>

#include "common/dtypes.h"
#include "cpu/assign_targets/row_bands.h"
#include "cpu/common/isa.h"
#include "cpu/common/parallel.h"
#include "cpu/drivers.h"
#include "math/centerness.h"
#include "math/match.h"

namespace fcos_ops::cpu::assignment {
namespace {

constexpr std::int32_t kLanes = 4;          // cells of a row looked at together
constexpr std::int32_t kBoxesPerLoop = 64;  // boxes looked at together

struct Counts {
  std::int64_t positives;
  double centerness;
};

// The cells of a band that some neighbouring boxes may match: lanes of the loop that computes them.
struct CandidateRectangles {
  alignas(64) std::int32_t first_row[kBoxesPerLoop], end_row[kBoxesPerLoop];
  alignas(64) std::int32_t first_column[kBoxesPerLoop], end_column[kBoxesPerLoop];

  math::CellRectangle cells(std::int32_t i) const {
    return {{first_row[i], end_row[i]}, {first_column[i], end_column[i]}};
  }
};

// Most boxes match nothing in most levels; many boxes at a time find that out.
struct CandidateCellsLoop {
  template <class T, class Real>
  static FCOS_HD int run(const T* __restrict__ boxes, std::int32_t count,
                         const math::MatchLevel<Real>& level, const math::CellRectangle& bounds,
                         CandidateRectangles* __restrict__ candidates) {
    for (std::int32_t i = 0; i < count; ++i) {
      const math::CellRectangle cells =
          math::candidate_cells(math::load_box(boxes + 4 * i), level, bounds);
      candidates->first_row[i] = cells.rows.first;
      candidates->end_row[i] = cells.rows.end;
      candidates->first_column[i] = cells.columns.first;
      candidates->end_column[i] = cells.columns.end;
    }
    return 0;
  }
};

// The targets of neighbouring cells of a row if they match a box: lanes of one vectorised loop, for
// square roots and divisions are what a match costs most.
template <class Real>
struct Targets {
  alignas(16) std::int32_t matches[kLanes];
  alignas(16) Real left[kLanes], top[kLanes], right[kLanes], bottom[kLanes], centerness[kLanes];

  // Computes those of the cells (row, first_column + lane), with distances in multiples of `unit`.
  void compute(math::Box<Real> box, math::MatchLevel<Real> level, std::int32_t row,
               std::int32_t first_column, Real unit) {
    const Real y = math::location(row, level.offset, level.stride_y);
#pragma omp simd
    for (std::int32_t k = 0; k < kLanes; ++k) {
      const Real x = math::location(first_column + k, level.offset, level.stride_x);
      matches[k] = math::matches(x, y, box, level);
    }
#pragma omp simd
    for (std::int32_t k = 0; k < kLanes; ++k) {
      const Real x = math::location(first_column + k, level.offset, level.stride_x);
      const math::Sides<Real> s = math::sides(x, y, box);
      left[k] = s.left / unit;
      top[k] = s.top / unit;
      right[k] = s.right / unit;
      bottom[k] = s.bottom / unit;
      centerness[k] = math::centerness(left[k], top[k], right[k], bottom[k]);
    }
  }
};

// Boxes of type T on one band; matches are written as Index.
template <class T, class Index>
class BandAssigner {
  using Real = math::Real<T>;
  using Box = math::Box<Real>;

 public:
  BandAssigner(const AssignTargetsArgs& args, Index* matched, const RowBand& band,
               std::int64_t locations)
      : args_(args),
        matched_(matched),
        band_(band),
        width_(args.levels[band.level].width),
        scale_(static_cast<Real>(args.levels[band.level].scale)),
        first_(band.image * locations + band.first_location),
        level_(math::match_level<Real>(args.rule, args.levels[band.level])) {}

  Counts run() const {
    fill_background();
    Counts counts = {};
    CandidateRectangles candidates;
    const math::CellRectangle bounds = {band_.rows, {0, static_cast<std::int32_t>(width_)}};
    const std::int64_t end = box_offset(band_.image + 1);
    for (std::int64_t box = box_offset(band_.image); box < end; box += kBoxesPerLoop) {
      const auto count =
          static_cast<std::int32_t>(std::min<std::int64_t>(kBoxesPerLoop, end - box));
      run_best<CandidateCellsLoop>(boxes() + 4 * box, count, level_, bounds, &candidates);
      for (std::int32_t i = 0; i < count; ++i) {
        if (candidates.first_row[i] < candidates.end_row[i]) {
          bid(box + i, candidates.cells(i), &counts);
        }
      }
    }
    return counts;
  }

 private:
  void fill_background() const {
    const std::int64_t first = first_ + band_.rows.first * width_;
    const auto count = static_cast<std::size_t>((band_.rows.end - band_.rows.first) * width_);
    std::memset(matched_ + first, -1, count * sizeof(Index));
    if (args_.location_labels) {
      std::memset(args_.location_labels + first, -1, count * sizeof(std::int64_t));
    }
    if (ltrb()) std::memset(ltrb() + 4 * first, 0, count * 4 * sizeof(Real));
    if (centerness()) std::memset(centerness() + first, 0, count * sizeof(Real));
  }

  // Boxes bid by rising index, so an equal cost does not outbid.
  void bid(std::int64_t index, const math::CellRectangle& cells, Counts* counts) const {
    const Box box = math::load_box(boxes() + 4 * index);
    const Real cost = math::match_cost(box, level_);
    if (cost == math::kInfinity<Real>) return;
    Targets<Real> targets;
    for (std::int32_t i = cells.rows.first; i < cells.rows.end; ++i) {
      for (std::int32_t j = cells.columns.first; j < cells.columns.end; j += kLanes) {
        const std::int32_t count = std::min(kLanes, cells.columns.end - j);
        targets.compute(box, level_, i, j, args_.rule.normalize_ltrb ? scale_ : Real(1));
        for (std::int32_t k = 0; k < count; ++k) {
          if (!targets.matches[k]) continue;
          const std::int64_t location = first_ + i * width_ + j + k;
          const std::int64_t rival = matched_[location];
          if (rival < 0) {
            counts->positives += 1;
          } else {
            const Box other = math::load_box(boxes() + 4 * rival);
            if (!(cost < math::match_cost(other, level_))) continue;
            counts->centerness -= centerness_at(location, other, i, j + k);
          }
          counts->centerness += targets.centerness[k];
          write(location, index, targets, k);
        }
      }
    }
  }

  // The centerness of cell (row, column) for its match so far.
  Real centerness_at(std::int64_t location, const Box& match, std::int32_t row,
                     std::int32_t column) const {
    if (centerness()) return centerness()[location];
    const math::Sides<Real> s =
        math::target_sides(math::location(column, level_.offset, level_.stride_x),
                           math::location(row, level_.offset, level_.stride_y), match, scale_,
                           args_.rule.normalize_ltrb);
    return math::centerness(s.left, s.top, s.right, s.bottom);
  }

  // Makes box `index` the match of a location, with the targets of lane k.
  void write(std::int64_t location, std::int64_t index, const Targets<Real>& targets,
             std::int32_t k) const {
    matched_[location] = static_cast<Index>(index);
    if (args_.location_labels) {
      args_.location_labels[location] = math::read_integer(args_.labels, args_.label_dtype, index);
    }
    if (centerness()) centerness()[location] = targets.centerness[k];
    if (ltrb()) {
      const Real s[4] = {targets.left[k], targets.top[k], targets.right[k], targets.bottom[k]};
      std::memcpy(ltrb() + 4 * location, s, sizeof(s));
    }
  }

  std::int64_t box_offset(std::int64_t image) const {
    return math::clamped_offset(args_.offsets, args_.offset_dtype, image, 0, args_.num_boxes);
  }
  const T* boxes() const { return static_cast<const T*>(args_.boxes); }
  Real* ltrb() const { return static_cast<Real*>(args_.ltrb); }
  Real* centerness() const { return static_cast<Real*>(args_.centerness); }

  const AssignTargetsArgs& args_;
  Index* const matched_;
  const RowBand band_;
  const std::int64_t width_;
  const Real scale_;
  const std::int64_t first_;  // location of the level among those of all images
  const math::MatchLevel<Real> level_;
};

template <class Real>
void write_pair(const Counts& counts, void* numbers, std::int64_t index) {
  if (numbers == nullptr) return;
  static_cast<Real*>(numbers)[2 * index] = static_cast<Real>(counts.positives);
  static_cast<Real*>(numbers)[2 * index + 1] = static_cast<Real>(counts.centerness);
}

// Adds up what the bands counted, `per_image` of them an image.
template <class Real>
void write_counts(const AssignTargetsArgs& args, const Counts* bands, std::int64_t per_image) {
  Counts total = {};
  for (std::int64_t image = 0; image < args.batch; ++image) {
    Counts counts = {};
    for (std::int64_t i = 0; i < per_image; ++i, ++bands) {
      counts.positives += bands->positives;
      counts.centerness += bands->centerness;
    }
    write_pair<Real>(counts, args.image_counts, image);
    total.positives += counts.positives;
    total.centerness += counts.centerness;
  }
  write_pair<Real>(total, args.counts, 0);
  if (args.num_pos) *args.num_pos = total.positives;
  if (args.centerness_sum) {
    *static_cast<Real*>(args.centerness_sum) = static_cast<Real>(total.centerness);
  }
}

// About how many bytes could be written meanwhile; a box takes as long as 32 kB.
template <class Real, class Index>
std::int64_t work(const AssignTargetsArgs& args, std::int64_t locations) {
  std::size_t bytes = sizeof(Index);
  if (args.location_labels) bytes += sizeof(std::int64_t);
  if (args.ltrb) bytes += 4 * sizeof(Real);
  if (args.centerness) bytes += sizeof(Real);
  return args.batch * locations * static_cast<std::int64_t>(bytes) + args.num_boxes * 32768;
}

template <class T, class Index>
Status run_assign_targets(const AssignTargetsArgs& args, Index* matched, Workspace workspace,
                          const Context& context) {
  const RowBands bands(args.levels, args.num_levels, args.batch);
  auto* partials = static_cast<Counts*>(workspace.data);
  const std::int32_t threads =
      worthwhile_threads(work<math::Real<T>, Index>(args, bands.locations()), context.num_threads);
  parallel_for(bands.count(), threads, [&](std::int64_t i) {
    partials[i] = BandAssigner<T, Index>(args, matched, bands[i], bands.locations()).run();
  });
  write_counts<math::Real<T>>(args, partials, bands.per_image());
  return {};
}

}  // namespace
}  // namespace fcos_ops::cpu::assignment

namespace fcos_ops::cpu {

std::size_t workspace_size(const AssignTargetsArgs& args, const Context&) {
  return static_cast<std::size_t>(
             assignment::RowBands(args.levels, args.num_levels, args.batch).count()) *
         sizeof(assignment::Counts);
}

Status run(const AssignTargetsArgs& args, Workspace workspace, const Context& context) {
  return math::dispatch(math::Floating{}, args.box_dtype, [&](auto t) {
    using T = typename decltype(t)::type;
    if (args.matched_int32) {
      return assignment::run_assign_targets<T>(args, args.matched_int32, workspace, context);
    }
    return assignment::run_assign_targets<T>(args, args.matched, workspace, context);
  });
}

}  // namespace fcos_ops::cpu
