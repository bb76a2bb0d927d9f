// What the tasks of group norm and of its gradient share: the numbers of channels, in arrays that a
// thread has on its stack.
#pragma once

#include <algorithm>

#include "common/activation.h"
#include "cpu/common/lines.h"
#include "cpu/group_norm/plan.h"
#include "cpu/group_norm/row_loops.h"
#include "fcos_ops/group_norm.h"

namespace fcos_ops::cpu::norm {

// Channels that a run of rows is worked on at a time, and elements of a line.
inline constexpr std::int64_t kChannels = 512;
inline constexpr std::int64_t kLine = 2048;

// Weight, bias and statistics, whose sizes `Args` has.
template <class Args, class Real>
struct Channels {
  const Args& args;

  std::int64_t per_group() const { return args.channels / args.groups; }

  // Index of a group's statistics.
  std::int64_t index(LevelImage pair, std::int64_t group) const {
    return (pair.level * args.batch + pair.image) * args.groups + group;
  }
  const math::GroupStatistics& statistics(LevelImage pair, std::int64_t group) const {
    return reinterpret_cast<const math::GroupStatistics*>(args.statistics)[index(pair, group)];
  }

  math::ChannelNorm<Real> norm(LevelImage pair, std::int64_t channel) const {
    return math::channel_norm(statistics(pair, channel / per_group()),
                              static_cast<const Real*>(args.weight)[channel],
                              static_cast<const Real*>(args.bias)[channel]);
  }
};

// The norms of some channels, as loops over rows take them.
template <class Real>
struct ChannelNormArrays {
  alignas(64) Real mean_high[kChannels], mean_low[kChannels], scale[kChannels], bias[kChannels];

  template <class Args>
  ChannelNorms<Real> fill(const Channels<Args, Real>& channels, LevelImage pair, std::int64_t first,
                          std::int64_t count) {
    for (std::int64_t c = 0; c < count; ++c) {
      const math::ChannelNorm<Real> norm = channels.norm(pair, first + c);
      mean_high[c] = norm.mean_high;
      mean_low[c] = norm.mean_low;
      scale[c] = norm.scale;
      bias[c] = norm.bias;
    }
    return {mean_high, mean_low, scale, bias};
  }
};

// The rows of a run from one channel on.
template <class T, class View>
auto rows_of(const View& view, const RowRun& run, std::int64_t channel) {
  auto* const data = element<T>(view, run.image, run.y, run.x) + channel;
  using Element = std::remove_pointer_t<std::remove_const_t<decltype(data)>>;
  return Rows<Element>{data, view.stride_x, static_cast<std::int32_t>(run.length)};
}

// Calls body(first, count) for the channels in pieces of at most kChannels.
template <class Body>
void for_pieces(std::int64_t channels, const Body& body) {
  for (std::int64_t first = 0; first < channels; first += kChannels) {
    body(first, std::min(channels - first, kChannels));
  }
}

// Calls body(y, x, count) for the lines of a level, in pieces of at most kLine.
template <class Body>
void for_lines(const LevelPlan& level, const Body& body) {
  for (std::int64_t y = 0; y < level.height; ++y) {
    for (std::int64_t x = 0; x < level.width; x += kLine) {
      body(y, x, static_cast<std::int32_t>(std::min(level.width - x, kLine)));
    }
  }
}

template <class T, class View>
auto line_of(const View& view, std::int64_t image, std::int64_t channel, std::int64_t y,
             std::int64_t x) {
  auto* const data = element<T>(view, image, y, x) + channel * view.stride_channel;
  using Element = std::remove_pointer_t<std::remove_const_t<decltype(data)>>;
  return Line<Element>{data, view.stride_x};
}

}  // namespace fcos_ops::cpu::norm
