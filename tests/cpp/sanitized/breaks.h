// What a hostile caller does to the arguments of a call: fields that hold what no header allows.
#pragma once

#include <deque>
#include <functional>
#include <string>

#include "arrays.h"
#include "fcos_ops/assign_targets.h"

namespace fuzz {

// One way to break arguments. `ruled_out`: by the header, so that the call must be refused; else it
// need only do no harm.
struct Break {
  std::string name;
  bool ruled_out;
  std::function<void()> apply;
};

// Collects the ways to break arguments that are valid as yet, and keeps the memory of what takes
// the place of their arrays.
class Breaks {
 public:
  explicit Breaks(Random& random) : random_(random) {}

  std::vector<Break> list;

  void add(const std::string& name, bool ruled_out, std::function<void()> apply) {
    list.push_back({name, ruled_out, std::move(apply)});
  }

  template <class T>
  void field(const std::string& name, T& field, std::initializer_list<T> values) {
    add(name, true, [&field, value = pick(values)] { field = value; });
  }
  void size(const std::string& name, std::int64_t& size) {
    add(name, true, [&size, value = bad_size()] { size = value; });
  }
  void limit(const std::string& name, std::int64_t& limit) {
    field<std::int64_t>(name, limit, {-1, -4, INT64_MIN});
  }
  void num_levels(std::int32_t& count) {
    field("num_levels", count, {-1, INT32_MIN, fcos_ops::kMaxLevels + 1, 1000, INT32_MAX});
  }
  template <class Enum>
  void enumerator(const std::string& name, Enum& value) {
    field(name, value, {Enum{-1}, Enum{7}, Enum{99}, Enum{INT32_MAX}, Enum{INT32_MIN}});
  }
  void floating(const std::string& name, DType& dtype) {
    field(name, dtype, {DType::kInt32, DType::kInt64, DType::kUInt8, DType{7}, DType{-1}});
  }
  void integral(const std::string& name, DType& dtype) {
    field(name, dtype, {DType::kFloat32, DType::kBFloat16, DType::kUInt8, DType{7}, DType{-1}});
  }
  void normalizer(fcos_ops::Normalizer& normalizer) {
    if (normalizer.data) enumerator("normalizer.dtype", normalizer.dtype);
  }

  // Memory that is taken away, where the call needs it.
  template <class T>
  void pointer(const std::string& name, T*& pointer, bool needed) {
    if (needed) add(name + " is null", true, [&pointer] { pointer = nullptr; });
  }

  // One of the levels, which may be views, is changed.
  template <class Level>
  void level(const std::string& name, const Level*& levels, std::int32_t count,
             std::function<void(Level&)> change) {
    if (levels == nullptr || count == 0) return;
    auto* const copy = static_cast<Level*>(copy_of(levels, count * std::int64_t{sizeof(Level)}));
    add(name, true, [&levels, copy, change, i = random_.integer(0, count - 1)] {
      change(copy[i]);
      levels = copy;
    });
  }
  template <class Level>
  void sizes(const std::string& name, const Level*& levels, std::int32_t count) {
    const std::int64_t bad = bad_size();
    level<Level>(name + ".height", levels, count, [bad](Level& level) { level.height = bad; });
    level<Level>(name + ".width", levels, count, [bad](Level& level) { level.width = bad; });
    level<Level>(name + " wraps", levels, count,
                 [](Level& level) { level.height = level.width = std::int64_t{1} << 32; });
  }
  void levels(const fcos_ops::AssignmentLevel*& levels, std::int32_t count) {
    using Level = fcos_ops::AssignmentLevel;
    const std::int64_t bad = pick<std::int64_t>({0, -1, INT64_MIN});
    pointer("levels", levels, count > 0);
    sizes("levels", levels, count);
    level<Level>("levels.stride_y", levels, count, [bad](Level& level) { level.stride_y = bad; });
    level<Level>("levels.stride_x", levels, count, [bad](Level& level) { level.stride_x = bad; });
  }

  // Views with `elements` (batch times channels) at a location.
  template <class View>
  void optional_views(const std::string& name, const View*& views, std::int32_t count,
                      std::int64_t elements) {
    sizes(name, views, count);
    const bool filled = views != nullptr && elements > 0 &&
                        std::all_of(views, views + count,
                                    [](const View& view) { return view.height * view.width > 0; });
    if (!filled) return;
    level<View>(name + ".data", views, count, [](View& view) { view.data = nullptr; });
  }
  template <class View>
  void views(const std::string& name, const View*& views, std::int32_t count,
             std::int64_t elements) {
    pointer(name, views, count > 0);
    optional_views(name, views, count, elements);
  }
  // Views whose sizes must be those of others.
  template <class View>
  void same_size(const std::string& name, const View*& views, std::int32_t count) {
    level<View>(name + " is higher", views, count, [](View& view) { view.height += 1; });
    level<View>(name + " is narrower", views, count, [](View& view) { view.width -= 1; });
  }

  // Of an array of `count` kInt32 or kInt64 one becomes extreme.
  void integers(const std::string& name, const void*& data, DType dtype, std::int64_t count,
                bool ruled_out) {
    if (data == nullptr || count == 0) return;
    const std::int64_t size = dtype == DType::kInt64 ? 8 : 4;
    auto* const copy = static_cast<char*>(copy_of(data, size * count));
    const std::int64_t wide = pick<std::int64_t>({INT64_MIN, INT64_MAX, -1, 1 << 30});
    const std::int32_t narrow = pick({INT32_MIN, INT32_MAX, -1, 1 << 30});
    const void* const value = size == 8 ? static_cast<const void*>(&wide) : &narrow;
    std::memcpy(copy + size * random_.integer(0, count - 1), value, static_cast<std::size_t>(size));
    add(name, ruled_out, [&data, copy] { data = copy; });
  }

 private:
  template <class T>
  T pick(std::initializer_list<T> values) {
    return values.begin()[random_.integer(0, static_cast<std::int64_t>(values.size()) - 1)];
  }
  std::int64_t bad_size() {
    constexpr std::int64_t kTooMany = fcos_ops::kMaxElements + 1;
    return pick<std::int64_t>({-1, -4, INT64_MIN, kTooMany, INT64_MAX / 4 + 1, INT64_MAX});
  }
  void* copy_of(const void* data, std::int64_t size) {
    const auto* const bytes = static_cast<const char*>(data);
    return copies_.emplace_back(bytes, bytes + size).data();
  }

  Random& random_;
  std::deque<std::vector<char>> copies_;
};

}  // namespace fuzz
