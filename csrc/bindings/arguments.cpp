#include "bindings/arguments.h"

#include <algorithm>
#include <array>

namespace fcos_ops::bindings {
namespace {

// Items of a tuple or list.
class Sequence {
 public:
  Sequence(PyObject* value, const char* name) : value_(value) {
    if (!PyTuple_Check(value) && !PyList_Check(value)) {
      raise(PyExc_TypeError,
            std::string(name) + " must be a tuple or list, got " + Py_TYPE(value)->tp_name);
    }
  }
  Py_ssize_t size() const { return PySequence_Fast_GET_SIZE(value_); }
  PyObject* operator[](Py_ssize_t i) const { return PySequence_Fast_GET_ITEM(value_, i); }

 private:
  PyObject* value_;
};

// Raises for a number that Python could not convert.
[[noreturn]] void raise_unlike(const char* name, const char* expected, PyObject* value) {
  const bool is_out_of_range = PyErr_ExceptionMatches(PyExc_OverflowError) != 0;
  PyErr_Clear();
  PyErr_Format(is_out_of_range ? PyExc_ValueError : PyExc_TypeError, "%s must be %s, got %R", name,
               expected, value);
  throw PythonError();
}

std::int64_t as_integer(PyObject* value, const char* name) {
  const std::int64_t result = PyLong_AsLongLong(value);
  if (result == -1 && PyErr_Occurred()) raise_unlike(name, "an int of 64 bits", value);
  return result;
}

Workspace as_workspace(PyObject* value) {
  const Tensor workspace(value, "workspace");
  workspace.expect_dtype(only(DType::kUInt8));
  workspace.expect_contiguous();
  return {workspace.data(), static_cast<std::size_t>(workspace.count())};
}

double as_number(PyObject* value, const char* name) {
  const double result = PyFloat_AsDouble(value);
  if (result == -1.0 && PyErr_Occurred()) raise_unlike(name, "a number", value);
  return result;
}

}  // namespace

Arguments::Arguments(PyObject* tuple) : tuple_(tuple), end_(PyTuple_GET_SIZE(tuple) - 4) {
  if (end_ < 0) raise(PyExc_TypeError, "too few arguments");
  expect_elements_in_memory(tuple);
  context_.device = static_cast<std::int32_t>(as_integer(PyTuple_GET_ITEM(tuple, end_), "device"));
  context_.stream = PyLong_AsVoidPtr(PyTuple_GET_ITEM(tuple, end_ + 1));
  if (context_.stream == nullptr && PyErr_Occurred()) {
    raise_unlike("stream", "an int of 64 bits", PyTuple_GET_ITEM(tuple, end_ + 1));
  }
  context_.num_threads =
      static_cast<std::int32_t>(as_integer(PyTuple_GET_ITEM(tuple, end_ + 2), "num_threads"));
  if (PyObject* const value = PyTuple_GET_ITEM(tuple, end_ + 3); PyFunction_Check(value)) {
    make_workspace_ = value;
  } else if (value != Py_None) {
    workspace_ = as_workspace(value);
  }
}

bool Arguments::make_workspace(std::size_t size, Workspace& workspace, Reference& owner) const {
  if (make_workspace_ == nullptr || first_object_ == nullptr) return false;
  const Reference bytes(PyLong_FromSize_t(size));
  owner =
      Reference(PyObject_CallFunctionObjArgs(make_workspace_, bytes.get(), first_object_, nullptr));
  if (owner.get() == nullptr) throw PythonError();
  workspace = as_workspace(owner.get());
  return true;
}

PyObject* Arguments::next() {
  if (position_ == end_) raise(PyExc_TypeError, "too few arguments");
  return PyTuple_GET_ITEM(tuple_, position_++);
}

void Arguments::finish() const {
  if (position_ != end_) raise(PyExc_TypeError, "too many arguments");
}

Tensor Arguments::placed(PyObject* value, const char* name, int index) {
  const Tensor tensor(value, name, index);
  if (!first_.given()) first_ = tensor, first_object_ = value;
  if (!tensor.shares_device(first_)) {
    raise(PyExc_ValueError, tensor.name() + " must be on the device of " + first_.name());
  }
  return tensor;
}

Tensor Arguments::tensor(const char* name) { return placed(next(), name); }

Tensor Arguments::optional_tensor(const char* name) {
  PyObject* const value = next();
  return value == Py_None ? Tensor() : placed(value, name);
}

Tensors Arguments::tensors(const char* name) {
  const Sequence items(next(), name);
  if (items.size() > kMaxLevels) {
    raise(PyExc_ValueError, std::string(name) + " must hold at most " + std::to_string(kMaxLevels) +
                                " tensors, got " + std::to_string(items.size()));
  }
  Tensors result;
  result.count = static_cast<std::int32_t>(items.size());
  for (std::int32_t i = 0; i < result.count; ++i) {
    result.levels[i] = placed(items[i], name, i);
  }
  return result;
}

void* Arguments::checked_data(const Tensor& tensor, DType dtype, std::int64_t count) {
  tensor.expect_dtype(only(dtype));
  tensor.expect_count(count);
  return tensor.data();
}

std::int64_t Arguments::optional_integer(const char* name, std::int64_t absent) {
  if (position_ < end_ && PyTuple_GET_ITEM(tuple_, position_) == Py_None) {
    next();
    return absent;
  }
  return integer(name);
}

std::int64_t Arguments::integer(const char* name) { return as_integer(next(), name); }

double Arguments::number(const char* name) { return as_number(next(), name); }

bool Arguments::boolean(const char* name) {
  PyObject* const value = next();
  if (!PyBool_Check(value)) {
    raise(PyExc_TypeError, std::string(name) + " must be a bool, got " + Py_TYPE(value)->tp_name);
  }
  return value == Py_True;
}

int Arguments::word(const char* name, const char* const* words, int count) {
  PyObject* const value = next();
  if (PyUnicode_Check(value)) {
    for (int i = 0; i < count; ++i) {
      if (PyUnicode_CompareWithASCIIString(value, words[i]) == 0) return i;
    }
  }
  std::string expected;
  for (int i = 0; i < count; ++i) {
    expected += (i > 0 ? ", '" : "'") + std::string(words[i]) + "'";
  }
  PyErr_Format(PyExc_ValueError, "%s must be one of (%s), got %R", name, expected.c_str(), value);
  throw PythonError();
}

Normalizer Arguments::normalizer(double& scale) {
  const Tensor value = optional_tensor("normalizer");
  value.expect_count(1);
  Normalizer result;
  result.data = value.data();
  result.dtype = value.dtype();
  result.floor = number("normalizer_floor");
  scale = number("scale");
  return result;
}

bool Arguments::reduction(std::int64_t count, double& scale) {
  static constexpr const char* kReductions[] = {"none", "sum", "mean"};
  const int choice = word<int>("reduction", kReductions);
  if (choice == 2) scale /= static_cast<double>(std::max<std::int64_t>(count, 1));
  return choice != 0;
}

std::int32_t Arguments::levels(std::array<AssignmentLevel, kMaxLevels>& levels) {
  constexpr const char* kGrids = "level_sizes_and_strides";
  constexpr const char* kLengths = "level_scales_and_ranges";
  const Sequence grids(next(), kGrids), lengths(next(), kLengths);
  const Py_ssize_t count = grids.size() / 4;
  if (count < 1 || count > kMaxLevels || grids.size() != 4 * count || lengths.size() != 3 * count) {
    raise(PyExc_ValueError, "levels must be 1 to " + std::to_string(kMaxLevels) +
                                ", of four integers and three numbers each, got " +
                                std::to_string(grids.size()) + " and " +
                                std::to_string(lengths.size()));
  }
  for (Py_ssize_t i = 0; i < count; ++i) {
    AssignmentLevel& level = levels[i];
    std::int64_t* const grid[] = {&level.height, &level.width, &level.stride_y, &level.stride_x};
    double* const length[] = {&level.scale, &level.lower, &level.upper};
    for (int k = 0; k < 4; ++k) *grid[k] = as_integer(grids[4 * i + k], kGrids);
    for (int k = 0; k < 3; ++k) *length[k] = as_number(lengths[3 * i + k], kLengths);
  }
  return static_cast<std::int32_t>(count);
}

std::int64_t count_locations(const std::array<AssignmentLevel, kMaxLevels>& levels,
                             std::int32_t num_levels) {
  std::int64_t total = 0;
  for (std::int32_t i = 0; i < num_levels; ++i) {
    const std::int64_t height = levels[i].height, width = levels[i].width;
    // The bound of one side, which the library has, keeps the product within 64 bits.
    if (std::min(height, width) < 0 || std::max(height, width) > INT32_MAX) {
      raise(PyExc_ValueError, "levels must have sizes in [0, 2^31), got " + std::to_string(height) +
                                  " x " + std::to_string(width));
    }
    total += height * width;
  }
  if (total > kMaxLocations) {
    raise(PyExc_ValueError,
          "levels must have at most 2^40 locations together, got " + std::to_string(total));
  }
  return total;
}

HeadLevels::HeadLevels(Arguments& in)
    : class_logits(in.tensors("cls_logits")),
      ltrb(in.tensors("ltrb")),
      centerness(in.tensors("centerness")),
      num_levels(in.levels(levels)) {
  for (const Tensors* head : {&class_logits, &ltrb, &centerness}) {
    if (head->count != num_levels) {
      raise(PyExc_ValueError, "cls_logits, ltrb and centerness must hold one tensor for each of " +
                                  std::to_string(num_levels) + " levels, got " +
                                  std::to_string(head->count));
    }
  }
  const Tensor& first = class_logits.levels[0];
  first.expect_rank(4);
  const std::int64_t batch = first.size(0), num_classes = first.size(1);
  for (std::int32_t i = 0; i < num_levels; ++i) {
    const std::int64_t height = levels[i].height, width = levels[i].width;
    class_logits.levels[i].expect_sizes({batch, num_classes, height, width});
    ltrb.levels[i].expect_sizes({batch, 4, height, width});
    centerness.levels[i].expect_sizes({batch, 1, height, width});
    for (const Tensors* head : {&class_logits, &ltrb, &centerness}) {
      head->levels[0].expect_dtype(kFloating);
      head->levels[i].expect_dtype(only(head->levels[0].dtype()));
    }
  }
}

void expect_offsets(const Tensor& offsets, std::int64_t total) {
  offsets.expect_dtype(kIntegers);
  offsets.expect_rank(1);
  if (offsets.size(0) < 1) raise(PyExc_ValueError, "offsets must have shape [B + 1], got [0]");
  offsets.expect_count(offsets.size(0));
  if (!offsets.is_on_cpu()) return;
  const auto value = [&](std::int64_t i) -> std::int64_t {
    return offsets.dtype() == DType::kInt64 ? static_cast<const std::int64_t*>(offsets.data())[i]
                                            : static_cast<const std::int32_t*>(offsets.data())[i];
  };
  const std::int64_t count = offsets.size(0);
  std::int64_t last = 0;
  bool rises = value(0) == 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t current = value(i);
    rises = rises && current >= last;
    last = current;
  }
  if (rises && last == total) return;
  std::string shown = "[";
  for (std::int64_t i = 0; i < count && i < 8; ++i) {
    shown += (i > 0 ? ", " : "") + std::to_string(value(i));
  }
  raise(PyExc_ValueError, "offsets must rise from 0 to " + std::to_string(total) +
                              " and never fall, got " + shown + (count > 8 ? "]..." : "]"));
}

}  // namespace fcos_ops::bindings
