// The gradient of group normalization on a CPU. See include/fcos_ops/group_norm.h for what it
// computes.
//
// Both parts need sums over a group that come out of the sums of its channels, which are also the
// gradients of weight and bias. Of a level in planes a task takes a group, sums and gradient in one
// go; of a level by rows one pass takes the sums of runs of rows, they are merged in order, and a
// second pass writes the gradient. No sum depends on the number of threads.
#include "common/dtypes.h"
#include "common/workspace.h"
#include "cpu/common/huge_pages.h"
#include "cpu/common/parallel.h"
#include "cpu/drivers.h"
#include "cpu/group_norm/channels.h"
#include "cpu/group_norm/line_loops.h"
#include "fcos_ops/group_norm.h"

namespace fcos_ops::cpu::norm {
namespace {

Plan plan_of(const GroupNormBackwardArgs& args) {
  return Plan(args.maps, args.num_levels, args.batch, args.channels, args.grad_normalized,
              args.grad_maps);
}

// What the workspace holds.
template <class Real>
struct Sums {
  ChannelSums* channels;  // [level, image, channel]
  Real* runs;             // [run, 2, channel]: of the gradient, of its product with x

  Sums(const GroupNormBackwardArgs& args, CacheLineArena& arena)
      : channels(arena.take<ChannelSums>(args.num_levels * args.batch * args.channels)),
        runs(arena.take<Real>(Runs(args.maps, args.num_levels, args.batch).count() * 2 *
                              args.channels)) {}
};

template <class T>
class GroupNormBackward {
  using Real = math::Real<T>;

 public:
  GroupNormBackward(const GroupNormBackwardArgs& args, const Plan& plan, const Sums<Real>& sums)
      : args_(args), plan_(plan), sums_(sums), channels_{args} {}

  void run(std::int32_t num_threads) const {
    const std::int64_t runs = plan_.runs(), groups = plan_.pairs() * args_.groups;
    with_activation(args_.activation, [&](auto relu) {
      constexpr bool kRelu = decltype(relu)::value;
      parallel_for(runs + groups, num_threads, [&](std::int64_t i) {
        if (i < runs) {
          sum_rows<kRelu>(i);
        } else {
          take_group<kRelu>(i - runs);
        }
      });
      if (runs == 0) return;
      parallel_for(plan_.pairs(), num_threads, [&](std::int64_t i) { merge(plan_.pair(i)); });
      if (args_.grad_maps == nullptr) return;
      parallel_for(runs, num_threads, [&](std::int64_t i) { write_rows<kRelu>(plan_.run(i)); });
    });
    write_parameters();
  }

 private:
  ChannelSums* channel_sums(LevelImage pair) const {
    return sums_.channels + (pair.level * args_.batch + pair.image) * args_.channels;
  }

  math::GradientOffsets<Real> offsets(LevelImage pair, std::int64_t group) const {
    const std::int64_t per_group = channels_.per_group(), first = group * per_group;
    const ChannelSums* const sums = channel_sums(pair) + first;
    const Real* const weight = static_cast<const Real*>(args_.weight) + first;
    double sum = 0, product_sum = 0;
    for (std::int64_t c = 0; c < per_group; ++c) {
      sum += static_cast<double>(weight[c]) * sums[c].gradient;
      product_sum += static_cast<double>(weight[c]) * sums[c].product;
    }
    const auto elements = static_cast<double>(plan_[pair.level].locations * per_group);
    return math::gradient_offsets<Real>(channels_.statistics(pair, group).inverse_deviation, sum,
                                        product_sum, elements);
  }

  template <bool kRelu>
  void sum_rows(std::int64_t index) const {
    const RowRun run = plan_.run(index);
    Real* const sums = sums_.runs + index * 2 * args_.channels;
    ChannelNormArrays<Real> arrays;
    for_pieces(args_.channels, [&](std::int64_t first, std::int64_t piece) {
      const auto norms = arrays.fill(channels_, {run.level, run.image}, first, piece);
      run_best<RowSumsLoop<kRelu>>(rows_of<T>(args_.maps[run.level], run, first),
                                   rows_of<T>(args_.grad_normalized[run.level], run, first),
                                   static_cast<std::int32_t>(piece), norms, sums + first,
                                   sums + args_.channels + first);
    });
  }

  // The channels' sums of an image of a level that is taken by rows.
  void merge(LevelImage pair) const {
    const LevelPlan& level = plan_[pair.level];
    if (level.runs_per_image == 0) return;
    ChannelSums* const sums = channel_sums(pair);
    std::fill(sums, sums + args_.channels, ChannelSums());
    const std::int64_t first = level.first_run + pair.image * level.runs_per_image;
    for (std::int64_t i = first; i < first + level.runs_per_image; ++i) {
      const Real* const gradients = sums_.runs + i * 2 * args_.channels;
      const Real* const products = gradients + args_.channels;
      for (std::int64_t c = 0; c < args_.channels; ++c) {
        sums[c].gradient += gradients[c];
        sums[c].product += products[c];
      }
    }
  }

  template <bool kRelu>
  void write_rows(const RowRun& run) const {
    const LevelImage pair = {run.level, run.image};
    const std::int64_t per_group = channels_.per_group();
    ChannelNormArrays<Real> arrays;
    alignas(64) Real constants[kChannels], slopes[kChannels];
    math::GradientOffsets<Real> group_offsets = {};
    for_pieces(args_.channels, [&](std::int64_t first, std::int64_t piece) {
      const auto norms = arrays.fill(channels_, pair, first, piece);
      for (std::int64_t c = 0; c < piece; ++c) {
        if ((first + c) % per_group == 0) group_offsets = offsets(pair, (first + c) / per_group);
        constants[c] = group_offsets.constant;
        slopes[c] = group_offsets.slope;
      }
      run_best<RowGradientLoop<kRelu>>(rows_of<T>(args_.maps[run.level], run, first),
                                       rows_of<T>(args_.grad_normalized[run.level], run, first),
                                       static_cast<std::int32_t>(piece), norms, constants, slopes,
                                       rows_of<T>(args_.grad_maps[run.level], run, first));
    });
  }

  // A group of a level in planes; or the sums of channels without elements.
  template <bool kRelu>
  void take_group(std::int64_t index) const {
    const LevelImage pair = plan_.pair(index / args_.groups);
    const std::int64_t group = index % args_.groups;
    const LevelPlan& level = plan_[pair.level];
    if (level.by_rows && level.locations > 0) return;
    const std::int64_t first = group * channels_.per_group(), end = first + channels_.per_group();
    const LevelView& map = args_.maps[pair.level];
    const LevelView& gradient = args_.grad_normalized[pair.level];
    alignas(64) Real x_buffer[kLine], gradient_buffer[kLine], grad_x_buffer[kLine];

    for (std::int64_t channel = first; channel < end; ++channel) {
      const math::ChannelNorm<Real> norm = channels_.norm(pair, channel);
      ChannelSums sums;
      for_lines(level, [&](std::int64_t y, std::int64_t x, std::int32_t count) {
        const Real* values = load(line_of<T>(map, pair.image, channel, y, x), count, x_buffer);
        const Real* gradients =
            load(line_of<T>(gradient, pair.image, channel, y, x), count, gradient_buffer);
        const ChannelSums line = run_best<LineSumsLoop<kRelu>>(values, gradients, count, norm);
        sums.gradient += line.gradient;
        sums.product += line.product;
      });
      channel_sums(pair)[channel] = sums;
    }
    if (args_.grad_maps == nullptr || level.locations == 0 || first == end) return;

    const MutableLevelView& grad_map = args_.grad_maps[pair.level];
    const math::GradientOffsets<Real> group_offsets = offsets(pair, group);
    for (std::int64_t channel = first; channel < end; ++channel) {
      const math::ChannelNorm<Real> norm = channels_.norm(pair, channel);
      for_lines(level, [&](std::int64_t y, std::int64_t x, std::int32_t count) {
        const Line<T> to = line_of<T>(grad_map, pair.image, channel, y, x);
        const Real* values = load(line_of<T>(map, pair.image, channel, y, x), count, x_buffer);
        const Real* gradients =
            load(line_of<T>(gradient, pair.image, channel, y, x), count, gradient_buffer);
        Real* const results = writable(to, grad_x_buffer);
        run_best<LineGradientLoop<kRelu>>(values, gradients, count, norm, group_offsets, results);
        store(results, count, to);
      });
    }
  }

  // The gradients of weight and bias: what came back for a normalized element, and that times it.
  void write_parameters() const {
    auto* const grad_weight = static_cast<Real*>(args_.grad_weight);
    auto* const grad_bias = static_cast<Real*>(args_.grad_bias);
    if (grad_weight == nullptr && grad_bias == nullptr) return;
    for (std::int64_t channel = 0; channel < args_.channels; ++channel) {
      const std::int64_t group = channel / channels_.per_group();
      double weight_sum = 0, bias_sum = 0;
      for (std::int64_t i = 0; i < plan_.pairs(); ++i) {
        const LevelImage pair = plan_.pair(i);
        const ChannelSums& sums = channel_sums(pair)[channel];
        weight_sum += channels_.statistics(pair, group).inverse_deviation * sums.product;
        bias_sum += sums.gradient;
      }
      if (grad_weight) grad_weight[channel] = static_cast<Real>(weight_sum);
      if (grad_bias) grad_bias[channel] = static_cast<Real>(bias_sum);
    }
  }

  const GroupNormBackwardArgs& args_;
  const Plan& plan_;
  const Sums<Real>& sums_;
  Channels<GroupNormBackwardArgs, Real> channels_;
};

}  // namespace
}  // namespace fcos_ops::cpu::norm

namespace fcos_ops::cpu {

std::size_t workspace_size(const GroupNormBackwardArgs& args, const Context&) {
  return math::dispatch(math::Reals{}, args.dtype, [&](auto real) {
    CacheLineArena arena(nullptr);
    const norm::Sums<typename decltype(real)::type> sums(args, arena);
    static_cast<void>(sums);
    return arena.size() == 0 ? 0 : arena.used();
  });
}

Status run(const GroupNormBackwardArgs& args, Workspace workspace, const Context& context) {
  advise_huge_pages(args.grad_maps, args.num_levels, args.batch, args.channels, args.dtype);
  const norm::Plan plan = norm::plan_of(args);
  math::dispatch(math::Floating{}, args.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    CacheLineArena arena(workspace.data);
    const norm::Sums<math::Real<T>> sums(args, arena);
    norm::GroupNormBackward<T>(args, plan, sums).run(context.num_threads);
  });
  return {};
}

}  // namespace fcos_ops::cpu
