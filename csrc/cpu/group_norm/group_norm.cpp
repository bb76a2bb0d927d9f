// Group normalization on a CPU. See include/fcos_ops/group_norm.h for what it computes.
//
// Of a level in planes (NCHW) a task takes a group, statistics and result in one go: its channels
// stay in a cache in between. Of a level by rows (channels_last) all groups of an image lie
// together: one pass takes the moments of runs of rows, they are merged in order, and a second pass
// normalizes. No sum depends on the number of threads.
#include "fcos_ops/group_norm.h"

#include "common/dtypes.h"
#include "common/workspace.h"
#include "cpu/common/huge_pages.h"
#include "cpu/common/parallel.h"
#include "cpu/drivers.h"
#include "cpu/group_norm/channels.h"
#include "cpu/group_norm/line_loops.h"

namespace fcos_ops::cpu::norm {
namespace {

Plan plan_of(const GroupNormArgs& args) {
  return Plan(args.maps, args.num_levels, args.batch, args.channels, args.normalized);
}

template <class T>
class GroupNorm {
  using Real = math::Real<T>;

 public:
  GroupNorm(const GroupNormArgs& args, const Plan& plan, Workspace workspace)
      : args_(args), plan_(plan), channels_{args} {
    CacheLineArena arena(workspace.data);
    moments_ = arena.take<math::Moments<Real>>(plan.runs() * args.groups);
  }

  void run(std::int32_t num_threads) const {
    const std::int64_t runs = plan_.runs(), groups = plan_.pairs() * args_.groups;
    with_activation(args_.activation, [&](auto relu) {
      constexpr bool kRelu = decltype(relu)::value;
      parallel_for(runs + groups, num_threads, [&](std::int64_t i) {
        if (i < runs) {
          take_moments(i);
        } else {
          normalize_group<kRelu>(i - runs);
        }
      });
      if (runs == 0) return;
      parallel_for(plan_.pairs(), num_threads, [&](std::int64_t i) { merge(plan_.pair(i)); });
      parallel_for(runs, num_threads, [&](std::int64_t i) { normalize_rows<kRelu>(plan_.run(i)); });
    });
  }

 private:
  math::GroupStatistics& statistics(LevelImage pair, std::int64_t group) const {
    auto* const statistics = reinterpret_cast<math::GroupStatistics*>(args_.statistics);
    return statistics[channels_.index(pair, group)];
  }

  double elements(LevelImage pair) const {
    return static_cast<double>(plan_[pair.level].locations * channels_.per_group());
  }

  // The moments of every group over a run of rows.
  void take_moments(std::int64_t index) const {
    const RowRun run = plan_.run(index);
    const std::int64_t per_group = channels_.per_group();
    const auto length = static_cast<Real>(run.length);
    math::Moments<Real>* const moments = moments_ + index * args_.groups;
    alignas(64) Real base[kChannels], sums[kChannels], squares[kChannels];
    std::int64_t group = 0, left = 0;  // the channels that the group still has
    math::MergedMoments<double> merged(0, 0);
    for_pieces(args_.channels, [&](std::int64_t first, std::int64_t piece) {
      const auto rows = rows_of<T>(args_.maps[run.level], run, first);
      // Of each channel its own: the others of the group may be far off.
      for (std::int64_t c = 0; c < piece; ++c) {
        base[c] = math::median(math::to_real(rows[0][c]), math::to_real(rows[rows.count / 2][c]),
                               math::to_real(rows[rows.count - 1][c]));
      }
      run_best<RowMomentsLoop>(rows, static_cast<std::int32_t>(piece), &base[0], &sums[0],
                               &squares[0]);
      for (std::int64_t c = 0; c < piece; ++c) {
        const auto channel = math::moments_of_sums(base[c], sums[c], squares[c], length);
        if (left == 0) {
          left = per_group;
          merged = math::MergedMoments<double>(channel.base, channel.offset);
        }
        merged.add(channel, static_cast<double>(length));
        if (--left == 0) {
          const math::Moments<double> all = merged.moments();
          moments[group++] = {static_cast<Real>(all.base), static_cast<Real>(all.offset),
                              static_cast<Real>(all.squares)};
        }
      }
    });
  }

  // The statistics of the groups of an image of a level that is taken by rows.
  void merge(LevelImage pair) const {
    const LevelPlan& level = plan_[pair.level];
    if (!level.by_rows || level.locations == 0) return;
    const std::int64_t first = level.first_run + pair.image * level.runs_per_image;
    for (std::int64_t group = 0; group < args_.groups; ++group) {
      const math::Moments<Real>& base = moments_[first * args_.groups + group];
      math::MergedMoments<double> merged(base.base, base.offset);
      for (std::int64_t i = 0; i < level.runs_per_image; ++i) {
        const auto length = static_cast<double>(plan_.run(first + i).length);
        merged.add(moments_[(first + i) * args_.groups + group],
                   length * static_cast<double>(channels_.per_group()));
      }
      statistics(pair, group) = math::group_statistics(merged.moments(), elements(pair), args_.eps);
    }
  }

  template <bool kRelu>
  void normalize_rows(const RowRun& run) const {
    ChannelNormArrays<Real> arrays;
    for_pieces(args_.channels, [&](std::int64_t first, std::int64_t piece) {
      const auto norms = arrays.fill(channels_, {run.level, run.image}, first, piece);
      run_best<RowNormLoop<kRelu>>(rows_of<T>(args_.maps[run.level], run, first),
                                   static_cast<std::int32_t>(piece), norms,
                                   rows_of<T>(args_.normalized[run.level], run, first));
    });
  }

  // A group of a level in planes; or what a group without elements has.
  template <bool kRelu>
  void normalize_group(std::int64_t index) const {
    const LevelImage pair = plan_.pair(index / args_.groups);
    const std::int64_t group = index % args_.groups;
    const LevelPlan& level = plan_[pair.level];
    const std::int64_t first = group * channels_.per_group(), end = first + channels_.per_group();
    if (level.locations == 0 || first == end) {
      statistics(pair, group) = {0, 0};
      return;
    }
    if (level.by_rows) return;
    const LevelView& map = args_.maps[pair.level];
    const MutableLevelView& normalized = args_.normalized[pair.level];
    alignas(64) Real x_buffer[kLine], y_buffer[kLine];

    const auto base = math::to_real(*line_of<T>(map, pair.image, first, 0, 0).data);
    math::MergedMoments<double> merged(base, 0);
    for (std::int64_t channel = first; channel < end; ++channel) {
      for_lines(level, [&](std::int64_t y, std::int64_t x, std::int32_t count) {
        const Real* values = load(line_of<T>(map, pair.image, channel, y, x), count, x_buffer);
        merged.add(run_best<LineMomentsLoop>(values, count), count);
      });
    }
    statistics(pair, group) = math::group_statistics(merged.moments(), elements(pair), args_.eps);

    for (std::int64_t channel = first; channel < end; ++channel) {
      const math::ChannelNorm<Real> norm = channels_.norm(pair, channel);
      for_lines(level, [&](std::int64_t y, std::int64_t x, std::int32_t count) {
        const Line<T> to = line_of<T>(normalized, pair.image, channel, y, x);
        const Real* values = load(line_of<T>(map, pair.image, channel, y, x), count, x_buffer);
        Real* const results = writable(to, y_buffer);
        run_best<LineNormLoop<kRelu>>(values, count, norm, results);
        store(results, count, to);
      });
    }
  }

  const GroupNormArgs& args_;
  const Plan& plan_;
  Channels<GroupNormArgs, Real> channels_;
  math::Moments<Real>* moments_;
};

}  // namespace
}  // namespace fcos_ops::cpu::norm

namespace fcos_ops::cpu {

std::size_t workspace_size(const GroupNormArgs& args, const Context&) {
  return math::dispatch(math::Reals{}, args.dtype, [&](auto real) -> std::size_t {
    using Moments = math::Moments<typename decltype(real)::type>;
    CacheLineArena arena(nullptr);
    const std::int64_t runs = norm::Runs(args.maps, args.num_levels, args.batch).count();
    arena.take<Moments>(runs * args.groups);
    return runs == 0 ? 0 : arena.used();
  });
}

Status run(const GroupNormArgs& args, Workspace workspace, const Context& context) {
  advise_huge_pages(args.normalized, args.num_levels, args.batch, args.channels, args.dtype);
  const norm::Plan plan = norm::plan_of(args);
  math::dispatch(math::Floating{}, args.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    norm::GroupNorm<T>(args, plan, workspace).run(context.num_threads);
  });
  return {};
}

}  // namespace fcos_ops::cpu
