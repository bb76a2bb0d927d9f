// Arrays of any dtype for the fuzzers, in heap blocks that end where they end.
#pragma once

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/dtypes.h"
#include "random.h"

namespace fuzz {

using fcos_ops::DType;

inline DType floating(Random& random) { return static_cast<DType>(random.integer(0, 3)); }

inline DType integer(Random& random) { return random.chance(0.5) ? DType::kInt32 : DType::kInt64; }

// The dtype of a gradient by values of `dtype`: theirs, or that of the maths.
inline DType gradient_of(Random& random, DType dtype) {
  return random.chance(0.5) ? dtype : maths_of(dtype);
}

// Dtypes of values that are computed together: all or none kFloat64.
inline std::vector<DType> floating_together(Random& random, std::size_t count) {
  std::vector<DType> dtypes(count, DType::kFloat64);
  if (random.chance(0.25)) return dtypes;
  constexpr DType kOthers[] = {DType::kFloat32, DType::kFloat16, DType::kBFloat16};
  for (DType& dtype : dtypes) dtype = kOthers[random.integer(0, 2)];
  return dtypes;
}

// Starts up to three elements into its block, as a slice of a tensor may. What nobody sets must not
// matter.
class Array {
 public:
  Array(Random& random, DType dtype, std::int64_t count)
      : Array(dtype, count, random.integer(0, 3)) {}
  Array(DType dtype, std::int64_t count, std::int64_t offset)
      : dtype_(dtype), count_(count), offset_(count == 0 ? 0 : offset) {
    memory_.assign(static_cast<std::size_t>((offset_ + count) * element_size()), '\x7f');
  }

  DType dtype() const { return dtype_; }
  std::int64_t count() const { return count_; }
  void* at(std::int64_t index) { return memory_.data() + (offset_ + index) * element_size(); }
  void* data() { return at(0); }

  double get(std::int64_t index) { return fcos_ops::math::read_number(at(index), dtype_); }
  void set(std::int64_t index, double value) {
    fcos_ops::math::write_real(value, data(), dtype_, index);
  }
  std::int64_t get_integer(std::int64_t index) {
    return fcos_ops::math::read_integer(data(), dtype_, index);
  }
  void set_integer(std::int64_t index, std::int64_t value) {
    std::memcpy(at(index), &value, static_cast<std::size_t>(element_size()));  // little-endian
  }
  Array& fill(Random& random, float low, float high) {
    for (std::int64_t i = 0; i < count_; ++i) set(i, random.nasty(low, high));
    return *this;
  }
  Array& fill_integers(Random& random, std::int64_t low, std::int64_t high) {
    for (std::int64_t i = 0; i < count_; ++i) set_integer(i, random.integer(low, high));
    return *this;
  }

 private:
  std::int64_t element_size() const {
    switch (dtype_) {
      case DType::kUInt8:
        return 1;
      case DType::kFloat16:
      case DType::kBFloat16:
        return 2;
      case DType::kFloat32:
      case DType::kInt32:
        return 4;
      default:
        return 8;
    }
  }

  DType dtype_;
  std::int64_t count_, offset_;
  std::vector<char> memory_;  // of the heap: moves with the array
};

inline Array numbers(Random& random, DType dtype, std::int64_t count, float low, float high) {
  return std::move(Array(random, dtype, count).fill(random, low, high));
}

inline Array integers(Random& random, DType dtype, std::int64_t count, std::int64_t low,
                      std::int64_t high) {
  return std::move(Array(random, dtype, count).fill_integers(random, low, high));
}

// [count, 4] boxes, as random.boxes has them.
inline Array boxes(Random& random, DType dtype, std::int64_t count, float extent) {
  Array array(random, dtype, 4 * count);
  const std::vector<float> corners = random.boxes(count, extent);
  for (std::int64_t i = 0; i < array.count(); ++i) array.set(i, corners[i]);
  return array;
}

inline Array offsets(Random& random, DType dtype, std::int64_t images, std::int64_t count) {
  const std::vector<std::int64_t> values = random.offsets(images, count);
  Array array(random, dtype, static_cast<std::int64_t>(values.size()));
  for (std::int64_t i = 0; i < array.count(); ++i) array.set_integer(i, values[i]);
  return array;
}

// How the maps of a problem lie in memory: kernels take the best path only where all lie well.
struct Style {
  explicit Style(Random& random)
      : is_mixed(random.chance(0.3)),
        is_channels_last(random.chance(0.5)),
        has_gaps(random.chance(0.3)),
        is_aligned(random.chance(0.5)) {}
  bool is_mixed, is_channels_last, has_gaps, is_aligned;
};

// A [batch, channels, height, width] array: NCHW or channels_last, dense or with gaps.
class Map {
 public:
  Map(Random& random, const Style& style, DType dtype, std::int64_t batch, std::int64_t channels,
      std::int64_t height, std::int64_t width)
      : Map(dtype, style.is_aligned ? 0 : random.integer(0, 3),
            layout(random, style, batch, channels, height, width)) {}

  Map& fill(Random& random, float low, float high) {
    array_.fill(random, low, high);
    return *this;
  }
  void set(std::int64_t channel, std::int64_t x, double value) {  // of the first row
    array_.set(channel * view_.stride_channel + x * view_.stride_x, value);
  }
  DType dtype() const { return array_.dtype(); }
  fcos_ops::LevelView view() {
    return {array_.data(),  view_.height,   view_.width,         view_.stride_batch,
            view_.stride_y, view_.stride_x, view_.stride_channel};
  }
  fcos_ops::MutableLevelView mutable_view() {
    fcos_ops::MutableLevelView view = view_;
    view.data = array_.data();
    return view;
  }

 private:
  struct Layout {
    fcos_ops::MutableLevelView view;
    std::int64_t elements;  // from the first to the last
  };

  Map(DType dtype, std::int64_t offset, const Layout& layout)
      : view_(layout.view), array_(dtype, layout.elements, offset) {}

  static Layout layout(Random& random, const Style& style, std::int64_t batch,
                       std::int64_t channels, std::int64_t height, std::int64_t width) {
    fcos_ops::MutableLevelView view = {nullptr, height, width};
    struct Axis {
      std::int64_t size;
      std::int64_t* stride;
    };
    Axis axes[] = {{width, &view.stride_x},  // from the innermost on
                   {height, &view.stride_y},
                   {channels, &view.stride_channel},
                   {batch, &view.stride_batch}};
    const bool is_last = style.is_mixed ? random.chance(0.5) : style.is_channels_last;
    if (is_last) std::rotate(axes, axes + 2, axes + 3);
    std::int64_t next = 1, elements = 1;
    for (const Axis& axis : axes) {
      *axis.stride = next + (style.has_gaps && random.chance(0.5) ? random.integer(1, 5) : 0);
      next = *axis.stride * std::max<std::int64_t>(axis.size, 1);
      elements += (axis.size - 1) * *axis.stride;
    }
    return {view, batch * channels * height * width == 0 ? 0 : elements};
  }

  fcos_ops::MutableLevelView view_;  // without data
  Array array_;
};

// The views of several levels. Maps keep their memory where they are moved.
struct Maps {
  std::vector<Map> maps;
  std::vector<fcos_ops::LevelView> views;
  std::vector<fcos_ops::MutableLevelView> mutable_views;
  Map& add(Map map) {
    maps.push_back(std::move(map));
    views.push_back(maps.back().view());
    mutable_views.push_back(maps.back().mutable_view());
    return maps.back();
  }
};

// Nothing, or a number of any dtype to divide by; `array` is its memory.
inline fcos_ops::Normalizer normalizer(Random& random, Array* array) {
  if (random.chance(0.4)) return {};
  const auto dtype = static_cast<DType>(random.integer(0, 6));
  *array = dtype <= DType::kBFloat16 ? numbers(random, dtype, 1, 0, 50)
                                     : integers(random, dtype, 1, 0, 50);
  return {array->data(), dtype, random.chance(0.5) ? 1.0 : 0.0};
}

}  // namespace fuzz
