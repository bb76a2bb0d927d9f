// How Python hands over what the native library takes: by position, in the order of `_C.pyi`.
// A tensor stands for its address, None for null, an enumeration for its number.
#pragma once

#include <Python.h>

#include <array>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "fcos_ops/assign_targets.h"
#include "fcos_ops/types.h"

namespace fcos_ops::bindings {

// Thrown when a Python error has been set.
struct PythonError {};

// The level views of one tensor or of one pyramid.
template <class View>
struct Levels {
  std::array<View, kMaxLevels> views;
  std::int32_t count = 0;
};

// The views of a head's three outputs.
struct HeadLevels {
  Levels<LevelView> class_logits, ltrb, centerness;
};

// The positional arguments of a call, read one after another. They are borrowed: the caller keeps
// them alive, and with them the memory of their tensors.
class Arguments {
 public:
  explicit Arguments(PyObject* tuple) : tuple_(tuple) {}

  template <class... Fields>
  void read(Fields&... fields) {
    (convert(next(), fields), ...);
  }

  // A sequence of (tensor, height, width, four strides) for every level; or (tensor, rows,
  // channels) for one level of contiguous rows; or None for no levels. `field` then points to the
  // views, or is null.
  template <class View>
  void read_levels(Levels<View>& levels, const View*& field) {
    if (PyObject* const value = next(); value != Py_None) convert(Sequence(value), levels);
    field = levels.count > 0 ? levels.views.data() : nullptr;
  }

  // Levels and dtype of each output of a head.
  template <class Args>
  void read_heads(HeadLevels& heads, Args& args) {
    read_levels(heads.class_logits, args.class_logits);
    read(args.class_dtype);
    read_levels(heads.ltrb, args.ltrb);
    read(args.ltrb_dtype);
    read_levels(heads.centerness, args.centerness);
    read(args.centerness_dtype);
    args.num_levels = heads.class_logits.count;
    if (heads.ltrb.count != args.num_levels || heads.centerness.count != args.num_levels) {
      throw std::invalid_argument("levels: unequal lengths");
    }
  }

  // Items of a tuple or list that hold one number or `per_level` numbers for every level.
  class Sequence {
   public:
    explicit Sequence(PyObject* value) : value_(value) {
      if (!PyTuple_Check(value) && !PyList_Check(value)) {
        PyErr_Format(PyExc_TypeError, "expected a tuple or list, got %R", value);
        throw PythonError();
      }
    }
    Py_ssize_t size() const { return PySequence_Fast_GET_SIZE(value_); }
    PyObject* operator[](Py_ssize_t i) const { return PySequence_Fast_GET_ITEM(value_, i); }

    std::int32_t groups_of(Py_ssize_t per_level) const {
      if (size() % per_level != 0 || size() / per_level > kMaxLevels) {
        throw std::invalid_argument("levels: wrong number of items");
      }
      return static_cast<std::int32_t>(size() / per_level);
    }

   private:
    PyObject* value_;
  };

  Sequence read_sequence() { return Sequence(next()); }

  static void convert(PyObject* value, std::int64_t& result) {
    result = PyLong_AsLongLong(value);
    if (result == -1 && PyErr_Occurred()) throw PythonError();
  }

  static void convert(PyObject* value, std::int32_t& result) {
    std::int64_t wide = 0;
    convert(value, wide);
    result = static_cast<std::int32_t>(wide);
  }

  static void convert(PyObject* value, std::size_t& result) {
    std::int64_t number = 0;
    convert(value, number);
    result = static_cast<std::size_t>(number);
  }

  static void convert(PyObject* value, double& result) {
    result = PyFloat_AsDouble(value);
    if (result == -1.0 && PyErr_Occurred()) throw PythonError();
  }

  static void convert(PyObject* value, bool& result) {
    const int truth = PyObject_IsTrue(value);
    if (truth < 0) throw PythonError();
    result = truth != 0;
  }

  template <class T>
  static void convert(PyObject* value, T& result) {
    if constexpr (std::is_enum_v<T>) {
      std::int32_t number = 0;
      convert(value, number);
      result = static_cast<T>(number);
    } else {
      static_assert(std::is_pointer_v<T>);
      result = static_cast<T>(address(value));
    }
  }

  static void convert(PyObject* value, Normalizer& result) {
    const Sequence items(value);
    if (items.size() != 3) throw std::invalid_argument("normalizer: expected three items");
    convert(items[0], result.data);
    convert(items[1], result.dtype);
    convert(items[2], result.floor);
  }

  // Every argument has been read.
  void finish() const {
    if (position_ != PyTuple_GET_SIZE(tuple_)) throw std::invalid_argument("too many arguments");
  }

 private:
  template <class View>
  static void convert(const Sequence& items, Levels<View>& levels) {
    if (items.size() == 3) {
      std::int64_t channels = 0;
      View& view = levels.views[0];
      convert(items[0], view.data);
      convert(items[1], view.width);
      convert(items[2], channels);
      view.height = 1;
      view.stride_x = channels;
      view.stride_channel = 1;
      levels.count = 1;
      return;
    }
    levels.count = items.groups_of(7);
    for (std::int32_t i = 0; i < levels.count; ++i) {
      View& view = levels.views[i];
      convert(items[7 * i], view.data);
      std::int64_t* const numbers[] = {&view.height,   &view.width,    &view.stride_batch,
                                       &view.stride_y, &view.stride_x, &view.stride_channel};
      for (int k = 0; k < 6; ++k) convert(items[7 * i + 1 + k], *numbers[k]);
    }
  }

  PyObject* next() {
    if (position_ == PyTuple_GET_SIZE(tuple_)) throw std::invalid_argument("too few arguments");
    return PyTuple_GET_ITEM(tuple_, position_++);
  }

  // read(value.method())
  template <class Read>
  static auto call(PyObject* value, PyObject* method, const Read& read) {
    PyObject* const returned = PyObject_CallMethodNoArgs(value, method);
    if (returned == nullptr) throw PythonError();
    const auto result = read(returned);
    Py_DECREF(returned);
    return result;
  }

  static void* address(PyObject* value) {
    if (value == Py_None) return nullptr;
    if (PyLong_Check(value)) return as_address(value);
    static PyObject* const is_neg = PyUnicode_InternFromString("is_neg");
    static PyObject* const data_ptr = PyUnicode_InternFromString("data_ptr");
    if (call(value, is_neg, [](PyObject* negated) { return negated == Py_True; })) {
      PyErr_SetString(PyExc_ValueError,
                      "a tensor argument is the negation of what lies in its memory (is_neg()): "
                      "pass tensor.resolve_neg()");
      throw PythonError();
    }
    return call(value, data_ptr, [](PyObject* number) { return PyLong_AsVoidPtr(number); });
  }

  static void* as_address(PyObject* value) {
    void* const result = PyLong_AsVoidPtr(value);
    if (result == nullptr && PyErr_Occurred()) throw PythonError();
    return result;
  }

  PyObject* tuple_;
  Py_ssize_t position_ = 0;
};

// Other Python threads may run while it lives.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() { PyEval_RestoreThread(state_); }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_;
};

// Errors that only a mistake inside fcos_ops can cause (its Python functions check what users
// pass), and CUDA errors.
inline void raise_unless_ok(const Status& status) {
  if (status.ok()) return;
  throw std::runtime_error(std::string(status.message) + " (status " + std::to_string(status.code) +
                           ")");
}

// Runs an op, whose arguments have been read but for the last five: device, stream, threads,
// workspace, and its size. Returns 0; or, where the op needs a larger workspace than was given,
// does nothing but return the size. On a CPU small ones need not be given.
template <class Args>
std::size_t run(Arguments& in, const Args& args,
                std::size_t (*workspace_size)(const Args&, const Context&),
                Status (*op)(const Args&, Workspace, const Context&)) {
  Context context;
  Workspace workspace;
  in.read(context.device, context.stream, context.num_threads, workspace.data, workspace.size);
  in.finish();
  alignas(16) std::array<unsigned char, 16384> small;
  if (const std::size_t size = workspace_size(args, context); workspace.size < size) {
    if (context.device != kCpuDevice || size > small.size()) return size;
    workspace = {small.data(), small.size()};
  }
  Status status;
  {
    const WithoutGil without_gil;
    status = op(args, workspace, context);
  }
  raise_unless_ok(status);
  return 0;
}

// (height, width, stride_y, stride_x) of every level, then (scale, lower, upper) of every level.
// Returns how many levels there are.
std::int32_t read_assignment_levels(Arguments& in, std::array<AssignmentLevel, kMaxLevels>& levels);

// One per op, bound by module.cpp.
std::size_t bound_assign_targets(Arguments& in);
std::size_t bound_centerness_loss(Arguments& in);
std::size_t bound_centerness_target(Arguments& in);
std::size_t bound_fcos_loss(Arguments& in);
std::size_t bound_fcos_scale_gradients(Arguments& in);
std::size_t bound_iou_loss(Arguments& in);
std::size_t bound_nms(Arguments& in);
std::size_t bound_postprocess(Arguments& in);
std::size_t bound_sigmoid_focal_loss(Arguments& in);

}  // namespace fcos_ops::bindings
