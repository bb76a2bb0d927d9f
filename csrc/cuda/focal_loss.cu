// Sigmoid focal loss and its gradient on a GPU. See include/fcos_ops/focal_loss.h for what they
// compute.
//
// One launch takes all levels and images. Where the classes of neighbouring locations form one
// line (rows), a block takes a tile of that line; else (NCHW, or any strides) it takes a tile of
// locations and a chunk of channels. A thread takes 16 bytes of logits at a time, has the next 16
// on their way meanwhile, and writes the gradient of the first. A second kernel adds the sums of
// the blocks.
//
// Logits are read once and gradients written once: 4 bytes a logit of bfloat16. In the time that
// takes, the schedulers of an H200 start about 25 instructions a logit, so instructions are what
// counts: nearly all vectors hold negatives only and take a path of about 28 a logit (counted in
// the PTX); the positives of a row are set aside and patched in.
#include <algorithm>

#include "cuda/focal_terms.h"
#include "cuda/ops.h"
#include "cuda/reduce.h"

namespace fcos_ops::cuda {
namespace {

constexpr unsigned kThreads = 128;
// Blocks that have a sum each; beyond, a block takes several tiles. Thrice what an H200 can run at
// once, and few enough to add up in no time.
constexpr std::int64_t kMaxPartials = 4096;
// Elements a thread takes of a tile: few for small problems, so that there are many blocks.
constexpr std::int32_t kManyElements = 64, kFewElements = 16;
constexpr std::int64_t kLargeProblem = std::int64_t{1} << 22;  // elements

// A logit without any effect: it costs exactly 0 as a negative, and so does its gradient.
constexpr float kNothing = -1e4f;

template <class Real>
__device__ __forceinline__ void write_partial(double sum, double* partials) {
  const Real total = block_sum<kThreads>(static_cast<Real>(sum));
  if (threadIdx.x == 0) partials[blockIdx.x] = total;
}

// ------------------------------------------------------------------------------------------ rows

// What a thread has read for a vector of its tile.
template <class T>
struct RowVector {
  std::int64_t row;              // of the first element
  std::int32_t offset, channel;  // of it: in the tile, in its row
  std::int32_t count;            // elements; 0 beyond the tile
  std::int32_t first, second;    // labels of the row, and of the next if elements belong to it
  Vector<T> logits;
};

template <class T, Gamma kGamma, bool kDense>
class RowTile {
  using Real = math::Real<T>;
  static constexpr int kCount = kVector<T>;
  using Terms = FocalTerms<T, kGamma, kDense>;

 public:
  __device__ RowTile(const FocalArguments<Real>& args, const Terms& terms, const Tile& tile)
      : args_(args), terms_(terms), size_(static_cast<std::int32_t>(tile.end - tile.first)) {
    // A tile of elements: so its `row`, among the elements of all images, has the row and class.
    const auto [row, channel] = divide(tile.row, args.num_classes);
    row_ = row;
    channel_ = static_cast<std::int32_t>(channel);
    cursor_ = focal_cursor<T>(args, args.level[tile.level], [&](const auto& array) {
      return tile.image * array.stride_batch + tile.first;
    });
  }

  __device__ __forceinline__ Real sum() {
    constexpr auto kStep = static_cast<std::int32_t>(kThreads) * kCount;
    Real sum = 0;
    RowVector<T> next = read_vector(static_cast<std::int32_t>(threadIdx.x) * kCount);
    while (next.count > 0) {
      const RowVector<T> vector = next;
      next = read_vector(vector.offset + kStep);
      sum += process(vector);
    }
    return sum;
  }

 private:
  __device__ __forceinline__ RowVector<T> read_vector(std::int32_t offset) const {
    RowVector<T> vector;
    vector.offset = offset;
    vector.count = size_ - offset < kCount ? size_ - offset : kCount;
    if (vector.count <= 0) return vector;
    vector.logits = load_up_to(cursor_.logits + offset, vector.count);
    const auto element = static_cast<std::uint32_t>(channel_ + offset);
    const std::uint32_t rows = args_.by_classes.quotient(element);
    vector.row = row_ + rows;
    vector.channel = static_cast<std::int32_t>(element - rows * args_.by_classes.divisor());
    vector.first = vector.second = kBackground;
    if constexpr (!kDense) {
      vector.first = label(vector.row);
      if (vector.channel + vector.count > args_.num_classes) vector.second = label(vector.row + 1);
    }
    return vector;
  }

  // The label of a row, kIgnored for those that are not valid: process() tells them apart.
  __device__ __forceinline__ std::int32_t label(std::int64_t row) const {
    const std::int64_t value = math::read_integer(args_.labels, args_.label_dtype, row);
    return static_cast<std::int32_t>(value < kBackground || value >= args_.num_classes ? kIgnored
                                                                                       : value);
  }

  // Whether the elements are of at most two rows without anything special but a positive.
  __device__ __forceinline__ bool is_plain(const RowVector<T>& vector) const {
    const bool one_row = vector.channel + kCount <= args_.num_classes;
    return !kDense && vector.count == kCount && vector.first != kIgnored &&
           vector.second != kIgnored && args_.num_classes >= kCount &&
           (one_row || args_.weight == nullptr) && cursor_.losses == nullptr;
  }

  __device__ __forceinline__ Real process(const RowVector<T>& vector) const {
    const FocalCursor<T> at = cursor_ + vector.offset;
    Real logits[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) logits[i] = read(vector.logits.element(i));
    return is_plain(vector) ? plain(vector, logits, at) : any(vector, logits, at);
  }

  __device__ __forceinline__ Real plain(const RowVector<T>& vector, Real (&logits)[kCount],
                                        const FocalCursor<T>& at) const {
    const Real weight = args_.weight == nullptr ? Real(1) : args_.weight[vector.row];
    // The elements at which the two rows have their positive; out of range for none.
    const std::int32_t in_row = args_.num_classes - vector.channel;
    const std::int32_t first = vector.first < vector.channel ? -1 : vector.first - vector.channel;
    const std::int32_t second = vector.second < 0 ? -1 : in_row + vector.second;
    Real first_logit = kNothing, second_logit = kNothing;
    if (static_cast<std::uint32_t>(first) < kCount || static_cast<std::uint32_t>(second) < kCount) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        if (i == first) first_logit = logits[i];
        if (i == second) second_logit = logits[i];
        if (i == first || i == second) logits[i] = kNothing;
      }
    }
    Real gradient[kCount];
    Real sum = terms_.negatives(logits, weight, gradient);
    if (static_cast<std::uint32_t>(first) < kCount) {
      sum += patch(first, first_logit, weight, gradient);
    }
    if (static_cast<std::uint32_t>(second) < kCount) {
      sum += patch(second, second_logit, weight, gradient);
    }
    store_gradient(gradient, kCount, at);
    return sum;
  }

  // Puts in the gradient of a positive; returns its loss.
  __device__ __forceinline__ Real patch(std::int32_t index, Real logit, Real weight,
                                        Real (&gradient)[kCount]) const {
    const auto term = terms_.entry(logit, Real(0), true, {kBackground, weight});
#pragma unroll
    for (int i = 0; i < kCount; ++i) gradient[i] = i == index ? term.gradient : gradient[i];
    return term.loss;
  }

  __device__ __forceinline__ Real any(const RowVector<T>& vector, const Real (&logits)[kCount],
                                      const FocalCursor<T>& at) const {
    Vector<Real> targets[kCount / kVector<Real>] = {};
    if constexpr (kDense) {
      for (int i = 0; i < kCount; i += kVector<Real>) {
        const std::int32_t count =
            vector.count - i < kVector<Real> ? vector.count - i : kVector<Real>;
        targets[i / kVector<Real>] = load_up_to(at.targets + i, count);
      }
    }
    std::int64_t row = vector.row;
    std::int32_t channel = vector.channel;
    FocalRow<Real> state = terms_.row(row);
    Real losses[kCount] = {}, gradient[kCount] = {}, sum = 0;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (i >= vector.count) continue;
      if (channel == args_.num_classes) {
        channel = 0;
        state = terms_.row(++row);
      }
      const Real target = targets[i / kVector<Real>].element(i % kVector<Real>);
      const auto term = terms_.entry(logits[i], target, channel == state.label, state);
      losses[i] = term.loss;
      gradient[i] = term.gradient;
      sum += term.loss;
      ++channel;
    }
    if (at.losses != nullptr) store_up_to<Real>(losses, vector.count, at.losses);
    store_gradient(gradient, vector.count, at);
    return sum;
  }

  const FocalArguments<Real>& args_;
  const Terms& terms_;
  std::int64_t row_;
  std::int32_t size_, channel_;
  FocalCursor<T> cursor_;
};

template <class T, Gamma kGamma, bool kDense>
__global__ void __launch_bounds__(kThreads, 1)
    rows_kernel(Tiles tiles, FocalArguments<math::Real<T>> args, double* partials) {
  const FocalTerms<T, kGamma, kDense> terms(args);
  double sum = 0;
  for (std::int64_t i = blockIdx.x; i < tiles.count(); i += gridDim.x) {
    sum += RowTile<T, kGamma, kDense>(args, terms, tiles[i]).sum();
  }
  write_partial<math::Real<T>>(sum, partials);
}

// ---------------------------------------------------------------------------------------- planes

// A thread's locations of a tile, and its channels.
template <class T, Gamma kGamma, bool kDense>
class PlaneTile {
  using Real = math::Real<T>;
  static constexpr int kCount = kVector<T>;
  using Terms = FocalTerms<T, kGamma, kDense>;

 public:
  __device__ PlaneTile(const FocalArguments<Real>& args, const Terms& terms, const Tile& tile,
                       std::int32_t first_channel, std::int32_t channels)
      : args_(args),
        terms_(terms),
        level_(args.level[tile.level]),
        image_(tile.image),
        location_(tile.first + threadIdx.x * kCount),
        row_(tile.row + threadIdx.x * kCount),
        first_channel_(first_channel),
        end_channel_(first_channel + channels < args.num_classes ? first_channel + channels
                                                                 : args.num_classes) {
    const std::int64_t left = tile.end - location_;
    count_ = static_cast<std::int32_t>(left < 0 ? 0 : left < kCount ? left : kCount);
  }

  __device__ __forceinline__ Real sum() const {
    if (count_ == 0) return 0;
    return level_.has_planes ? contiguous() : strided();
  }

 private:
  __device__ __forceinline__ FocalCursor<T> cursor(std::int32_t channel) const {
    return focal_cursor<T>(args_, level_, [&](const auto& array) {
      return image_ * array.stride_batch + location_ + channel * array.stride_channel;
    });
  }

  __device__ __forceinline__ Real contiguous() const {
    const std::uint32_t special = special_channels();
    Real sum = 0;
    Vector<T> next = load_up_to(cursor(first_channel_).logits, count_);
    for (std::int32_t channel = first_channel_; channel < end_channel_; ++channel) {
      const FocalCursor<T> at = cursor(channel);
      Real logits[kCount];
#pragma unroll
      for (int i = 0; i < kCount; ++i) logits[i] = read(next.element(i));
      if (channel + 1 < end_channel_) next = load_up_to(cursor(channel + 1).logits, count_);
      if ((special >> (channel - first_channel_) & 1u) != 0) {
        sum += any(channel, logits, at);
      } else {
        Real gradient[kCount];
        sum += terms_.negatives(logits, Real(1), gradient);
        store_gradient(gradient, kCount, at);
      }
    }
    return sum;
  }

  // Bit i: not all of the vector of channel first_channel_ + i is negative, of weight 1.
  __device__ __forceinline__ std::uint32_t special_channels() const {
    constexpr std::uint32_t kAll = 0xffffffffu;
    if (kDense || count_ < kCount || args_.weight != nullptr || level_.losses.data != nullptr) {
      return kAll;
    }
    std::uint32_t special = 0;
    for (int i = 0; i < kCount; ++i) {
      const std::int64_t label = math::read_integer(args_.labels, args_.label_dtype, row_ + i);
      if (label < kBackground || label >= args_.num_classes) special = kAll;
      if (label >= first_channel_ && label < end_channel_) {
        special |= 1u << static_cast<std::uint32_t>(label - first_channel_);
      }
    }
    return special;
  }

  __device__ __forceinline__ Real any(std::int32_t channel, const Real (&logits)[kCount],
                                      const FocalCursor<T>& at) const {
    Real losses[kCount] = {}, gradient[kCount] = {}, sum = 0;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (i >= count_) continue;
      const FocalRow<Real> row = terms_.row(row_ + i);
      const Real target = kDense ? at.targets[i] : Real(0);
      const auto term = terms_.entry(logits[i], target, channel == row.label, row);
      losses[i] = term.loss;
      gradient[i] = term.gradient;
      sum += term.loss;
    }
    if (at.losses != nullptr) store_up_to<Real>(losses, count_, at.losses);
    store_gradient(gradient, count_, at);
    return sum;
  }

  // Any strides: one element after the other.
  __device__ __forceinline__ Real strided() const {
    Real sum = 0;
#pragma unroll 1
    for (std::int32_t i = 0; i < count_; ++i) {
      const auto location = static_cast<std::uint32_t>(location_ + i);
      const std::int64_t y = location / static_cast<std::uint32_t>(level_.width);
      const std::int64_t x = location - y * level_.width;
      const FocalRow<Real> row = terms_.row(row_ + i);
#pragma unroll 1
      for (std::int32_t channel = first_channel_; channel < end_channel_; ++channel) {
        const FocalCursor<T> at = focal_cursor<T>(args_, level_, [&](const auto& array) {
          return image_ * array.stride_batch + y * array.stride_y + x * array.stride_x +
                 channel * array.stride_channel;
        });
        const Real target = kDense ? *at.targets : Real(0);
        const auto term = terms_.entry(read(*at.logits), target, channel == row.label, row);
        sum += term.loss;
        if (at.losses != nullptr) *at.losses = term.loss;
        if (at.gradient != nullptr) write(term.gradient, *at.gradient);
        if (at.real_gradient != nullptr) *at.real_gradient = term.gradient;
      }
    }
    return sum;
  }

  const FocalArguments<Real>& args_;
  const Terms& terms_;
  const FocalLevel& level_;
  std::int64_t image_, location_, row_;
  std::int32_t first_channel_, end_channel_, count_;
};

template <class T, Gamma kGamma, bool kDense>
__global__ void __launch_bounds__(kThreads, 1)
    planes_kernel(Tiles tiles, Divisor by_chunks, std::int32_t channels,
                  FocalArguments<math::Real<T>> args, double* partials) {
  const FocalTerms<T, kGamma, kDense> terms(args);
  double sum = 0;
  const auto count = static_cast<std::uint32_t>(tiles.count()) * by_chunks.divisor();
  for (std::uint32_t i = blockIdx.x; i < count; i += gridDim.x) {
    const std::uint32_t tile = by_chunks.quotient(i), chunk = i - tile * by_chunks.divisor();
    sum += PlaneTile<T, kGamma, kDense>(args, terms, tiles[tile],
                                        static_cast<std::int32_t>(chunk) * channels, channels)
               .sum();
  }
  write_partial<math::Real<T>>(sum, partials);
}

// --------------------------------------------------------------------------------------- drivers

template <class View>
bool has_rows(const View& view, std::int64_t num_classes) {
  return (num_classes == 1 || view.stride_channel == 1) &&
         (view.width == 1 || view.stride_x == num_classes) &&
         (view.height == 1 || view.stride_y == view.width * num_classes);
}

template <class View>
bool has_planes(const View& view) {
  return (view.width == 1 || view.stride_x == 1) &&
         (view.height == 1 || view.stride_y == view.width);
}

// Whether `test` holds for a level of every array.
template <class Test>
bool all_arrays(const FocalLossArgs& args, std::int32_t level, const Test& test) {
  return test(args.logits[level]) && (args.targets == nullptr || test(args.targets[level])) &&
         (args.losses == nullptr || test(args.losses[level])) &&
         (args.gradient == nullptr || test(args.gradient[level]));
}

template <class View>
auto array_of(const View* levels, std::int32_t level) {
  FocalArray<decltype(levels->data)> array;
  if (levels != nullptr) {
    const View& view = levels[level];
    array = {view.data, view.stride_batch, view.stride_y, view.stride_x, view.stride_channel};
  }
  return array;
}

template <class Real>
FocalArguments<Real> arguments_of(const FocalLossArgs& args) {
  const bool weighted = args.alpha >= 0.0;
  FocalArguments<Real> result = {
      {},
      static_cast<std::int32_t>(args.num_classes),
      Divisor(static_cast<std::uint32_t>(std::max<std::int64_t>(args.num_classes, 1))),
      args.labels,
      args.label_dtype,
      static_cast<const Real*>(args.weight),
      args.normalizer,
      static_cast<Real>(args.scale * (weighted ? args.alpha : 1.0)),
      static_cast<Real>(args.scale * (weighted ? 1.0 - args.alpha : 1.0)),
      static_cast<Real>(args.gamma),
      static_cast<const Real*>(args.gradient_scale),
      args.gradient_dtype != args.dtype};
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    result.level[i] = {args.logits[i].width,
                       all_arrays(args, i, [](const auto& view) { return has_planes(view); }),
                       array_of(args.logits, i),
                       array_of(args.targets, i),
                       array_of(args.losses, i),
                       array_of(args.gradient, i)};
  }
  return result;
}

// A block a tile, but not more than there is room for sums.
template <class... Parameters, class... Arguments>
Status launch_and_sum(const char* name, void (*kernel)(Parameters...), std::int64_t tiles,
                      const FocalLossArgs& args, double* partials, const Context& context,
                      const Arguments&... arguments) {
  const std::int64_t blocks = std::min(tiles, kMaxPartials);
  const Status status = launch(name, kernel, static_cast<unsigned>(blocks), kThreads, context,
                               arguments..., partials);
  if (!status.ok() || args.loss_sum == nullptr) return status;
  const char* const finish = "sigmoid_focal_loss: finish_sum";
  const double* const sums = partials;
  if (args.dtype == DType::kFloat64) {
    return launch(finish, finish_sum<double>, 1, kFinishThreads, context, sums, blocks,
                  static_cast<double*>(args.loss_sum));
  }
  return launch(finish, finish_sum<float>, 1, kFinishThreads, context, sums, blocks,
                static_cast<float*>(args.loss_sum));
}

template <class T, Gamma kGamma, bool kDense>
Status run(const FocalLossArgs& args, double* partials, const Context& context) {
  const auto arguments = arguments_of<math::Real<T>>(args);
  std::int64_t rows = 0;
  bool all_rows = true;
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    rows += args.batch * args.logits[i].height * args.logits[i].width;
    all_rows = all_rows && all_arrays(args, i, [&](const auto& view) {
                 return has_rows(view, args.num_classes);
               });
  }
  const std::int32_t elements =
      rows * args.num_classes >= kLargeProblem ? kManyElements : kFewElements;
  if (all_rows) {
    LevelView lines[kMaxLevels];  // of elements, for tiles of them
    for (std::int32_t i = 0; i < args.num_levels; ++i) {
      lines[i].height = args.logits[i].height * args.logits[i].width;
      lines[i].width = args.num_classes;
    }
    const Tiles tiles(lines, args.num_levels, args.batch, kThreads * elements);
    return launch_and_sum("sigmoid_focal_loss: rows_kernel", rows_kernel<T, kGamma, kDense>,
                          tiles.count(), args, partials, context, tiles, arguments);
  }
  constexpr auto kCount = kVector<T>;
  const Tiles tiles(args.logits, args.num_levels, args.batch, kThreads * kCount);
  const std::int32_t channels = elements / kCount;
  const std::int64_t chunks = (args.num_classes + channels - 1) / channels;
  constexpr std::int64_t kLimit = std::int64_t{1} << 31;
  if (tiles.count() * chunks >= kLimit || tiles.rows() >= kLimit) {
    return too_large("sigmoid_focal_loss: too many logits that are not rows");
  }
  return launch_and_sum("sigmoid_focal_loss: planes_kernel", planes_kernel<T, kGamma, kDense>,
                        tiles.count() * chunks, args, partials, context, tiles,
                        Divisor(static_cast<std::uint32_t>(std::max<std::int64_t>(chunks, 1))),
                        channels, arguments);
}

template <class T>
Status dispatch_gamma(const FocalLossArgs& args, double* partials, const Context& context) {
  if (args.targets != nullptr) return run<T, Gamma::kAny, true>(args, partials, context);
  if (args.gamma == 0.0) return run<T, Gamma::kZero, false>(args, partials, context);
  if (args.gamma == 1.0) return run<T, Gamma::kOne, false>(args, partials, context);
  if (args.gamma == 2.0) return run<T, Gamma::kTwo, false>(args, partials, context);
  return run<T, Gamma::kAny, false>(args, partials, context);
}

}  // namespace

std::size_t sigmoid_focal_loss_workspace_size(const FocalLossArgs&) {
  return kMaxPartials * sizeof(double);
}

Status sigmoid_focal_loss(const FocalLossArgs& args, Workspace workspace, const Context& context) {
  if (args.num_classes > 0x7fff0000) return too_large("sigmoid_focal_loss: too many classes");
  const DeviceGuard guard(context.device);
  if (!guard.status().ok()) return guard.status();
  const char* const bad_dtype = "sigmoid_focal_loss: dtype must be a floating one";
  return math::dispatch_floating(args.dtype, bad_dtype, [&](auto t) {
    return dispatch_gamma<typename decltype(t)::type>(args, static_cast<double*>(workspace.data),
                                                      context);
  });
}

}  // namespace fcos_ops::cuda
