// A tensor as Python hands it over: its memory, dtype, sizes and strides, read once through
// DLPack's C exchange interface, which needs no header of torch, and checked by name before
// anything uses it.
#pragma once

#include <Python.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "fcos_ops/types.h"

namespace fcos_ops::bindings {

// Thrown when a Python error has been set.
struct PythonError {};

[[noreturn]] void raise(PyObject* type, const std::string& message);

// Raises BufferError where what lies in memory is the negative of the elements (torch's is_neg) of
// a tensor, or of one in a tuple or list. A mode of torch functions may run any code when it is
// asked, so it is asked of all arguments before the address of one is read.
void expect_elements_in_memory(PyObject* value);

// Sets of dtypes, as bits.
using DTypes = unsigned;
constexpr DTypes only(DType dtype) { return 1u << static_cast<int>(dtype); }
inline constexpr DTypes kFloating =
    only(DType::kFloat32) | only(DType::kFloat64) | only(DType::kFloat16) | only(DType::kBFloat16);
inline constexpr DTypes kIntegers = only(DType::kInt32) | only(DType::kInt64);

class Tensor {
 public:
  Tensor() = default;  // one that was not given: null, of no dimensions

  // `value` is borrowed: the caller keeps it alive, and with it memory, sizes and strides. Raises
  // TypeError where it is no tensor, and BufferError where its elements do not lie in its memory:
  // the dispatcher of torch resolves some such tensors, so a second call may succeed.
  Tensor(PyObject* value, const char* name, int index = -1);

  bool given() const { return rank_ >= 0; }
  void* data() const { return data_; }
  DType dtype() const { return dtype_; }
  bool is(DTypes dtypes) const { return (only(dtype_) & dtypes) != 0; }
  int rank() const { return rank_; }
  std::int64_t size(int dimension) const { return sizes_[dimension]; }
  std::int64_t stride(int dimension) const { return strides_[dimension]; }
  std::int64_t count() const;  // elements
  bool is_contiguous() const;
  bool is_on_cpu() const;
  bool shares_device(const Tensor& other) const;

  // Each raises unless it holds; all hold for a tensor that was not given.
  void expect_dtype(DTypes dtypes) const;
  void expect_rank(int rank) const;
  void expect_sizes(std::initializer_list<std::int64_t> sizes) const;
  void expect_sizes_of(const Tensor& other) const;
  void expect_shape(std::initializer_list<std::int64_t> sizes) const;  // and contiguous
  void expect_count(std::int64_t count) const;                         // and contiguous
  void expect_contiguous() const;

  // "labels" or "ltrb[2]".
  std::string name() const;
  std::string shape() const;  // "[2, 3]"

 private:
  void raise_shape(const std::string& expected) const;

  const char* name_ = "";
  int index_ = -1;
  int rank_ = -1;
  int device_type_ = 0, device_ = 0;
  void* data_ = nullptr;
  DType dtype_ = DType::kFloat32;
  const std::int64_t* sizes_ = nullptr;
  const std::int64_t* strides_ = nullptr;
};

// One tensor a level.
struct Tensors {
  std::array<Tensor, kMaxLevels> levels;
  std::int32_t count = 0;
};

// The rows of [..., C] tensors as one level that covers them all: one long line where each of them
// is contiguous, else the dimensions of the first, of which there may be four.
struct Rows {
  std::int64_t batch = 1, height = 1, width = 0;
  bool is_line = true;

  explicit Rows(std::initializer_list<const Tensor*> tensors);
  std::int64_t count() const { return batch * height * width; }
};

// The view of a tensor under rows that were made of it; null where it was not given.
template <class View>
const View* row_view(const Tensor& tensor, const Rows& rows, View& view) {
  if (!tensor.given()) return nullptr;
  const int channel = tensor.rank() - 1;
  view.data = tensor.data();
  view.height = rows.height;
  view.width = rows.width;
  if (rows.is_line) {
    tensor.expect_contiguous();
    view.stride_x = tensor.size(channel);
    view.stride_channel = 1;
    return &view;
  }
  std::int64_t* const strides[] = {&view.stride_channel, &view.stride_x, &view.stride_y,
                                   &view.stride_batch};
  for (int i = 0; i <= channel; ++i) *strides[i] = tensor.stride(channel - i);
  return &view;
}

// The numbers of a contiguous tensor as one level of one channel; null where it was not given.
template <class View>
const View* line_view(const Tensor& tensor, View& view) {
  if (!tensor.given()) return nullptr;
  view.data = tensor.data();
  view.height = 1;
  view.width = tensor.count();
  view.stride_x = view.stride_channel = 1;
  return &view;
}

// The views of [B, C, H, W] tensors; null where there are none.
template <class View>
const View* map_views(const Tensors& maps, std::array<View, kMaxLevels>& views) {
  for (std::int32_t i = 0; i < maps.count; ++i) {
    const Tensor& map = maps.levels[i];
    map.expect_rank(4);
    views[i] = {map.data(),    map.size(2),   map.size(3),  map.stride(0),
                map.stride(2), map.stride(3), map.stride(1)};
  }
  return maps.count > 0 ? views.data() : nullptr;
}

}  // namespace fcos_ops::bindings
