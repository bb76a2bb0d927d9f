// The arguments that Python hands over to the native library: by position, in the order of
// `_C.pyi`, with the names that errors give. Sizes come from the tensors themselves, once, and are
// checked here for every caller: public functions, exported programs, backward passes, whatever ran
// in between.
#pragma once

#include <Python.h>

#include <array>
#include <string>
#include <utility>

#include "bindings/tensor.h"
#include "fcos_ops/assign_targets.h"
#include "fcos_ops/types.h"

namespace fcos_ops::bindings {

// A reference to a Python object, or to none.
class Reference {
 public:
  Reference() = default;
  explicit Reference(PyObject* object) : object_(object) {}
  Reference(Reference&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Reference& operator=(Reference&& other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Reference() { Py_XDECREF(object_); }
  PyObject* get() const { return object_; }

 private:
  PyObject* object_ = nullptr;
};

// The positional arguments of a call, read one after another. They are borrowed: the caller keeps
// them alive, and with them the memory of their tensors. The last four are context and workspace:
// a tensor, a function that makes one of so many bytes on the device of a tensor, or None.
class Arguments {
 public:
  explicit Arguments(PyObject* tuple);

  const Context& context() const { return context_; }
  const Workspace& workspace() const { return workspace_; }

  // Calls the function that makes a workspace; false where there is none. Such a call is made once
  // all arguments have been read, instead of the whole call again.
  bool make_workspace(std::size_t size, Workspace& workspace, Reference& owner) const;

  // Every tensor must be on the device of the first.
  Tensor tensor(const char* name);
  Tensor optional_tensor(const char* name);  // or None
  Tensors tensors(const char* name);         // a tuple or list of them, at most kMaxLevels

  // The address of contiguous elements of one dtype, so many of them.
  template <class T = void>
  T* values(const char* name, DType dtype, std::int64_t count) {
    return static_cast<T*>(checked_data(tensor(name), dtype, count));
  }
  template <class T = void>
  T* optional_values(const char* name, DType dtype, std::int64_t count) {  // null for None
    return static_cast<T*>(checked_data(optional_tensor(name), dtype, count));
  }

  std::int64_t integer(const char* name);
  std::int64_t optional_integer(const char* name, std::int64_t absent);  // or None
  double number(const char* name);
  bool boolean(const char* name);

  // The enumerator that counts as many as the argument does among `words`.
  template <class Enum, std::size_t kCount>
  Enum word(const char* name, const char* const (&words)[kCount]) {
    return static_cast<Enum>(word(name, words, static_cast<int>(kCount)));
  }

  // A tensor of one number of any dtype, or None; then its floor, and the scale of the losses.
  Normalizer normalizer(double& scale);

  // How `count` losses are reduced: "mean" divides their scale by their number. Returns whether the
  // loss is their sum, not each of them ("none").
  bool reduction(std::int64_t count, double& scale);

  // (height, width, stride_y, stride_x) of every level, then (scale, lower, upper) of every level.
  std::int32_t levels(std::array<AssignmentLevel, kMaxLevels>& levels);

  // Every argument has been read.
  void finish() const;

 private:
  static void* checked_data(const Tensor& tensor, DType dtype, std::int64_t count);
  PyObject* next();
  int word(const char* name, const char* const* words, int count);
  Tensor placed(PyObject* value, const char* name, int index = -1);

  PyObject* tuple_;
  Py_ssize_t position_ = 0, end_;
  Tensor first_;
  PyObject* first_object_ = nullptr;
  Context context_;
  Workspace workspace_;
  PyObject* make_workspace_ = nullptr;
};

// The outputs of a head: [B, C, H, W], [B, 4, H, W] and [B, 1, H, W] for the H, W of each level.
struct HeadLevels {
  // Raises unless they are so, of one batch and number of classes, each head of one floating dtype.
  explicit HeadLevels(Arguments& in);

  Tensors class_logits, ltrb, centerness;
  std::array<LevelView, kMaxLevels> class_views, ltrb_views, centerness_views;
  std::array<AssignmentLevel, kMaxLevels> levels;
  std::int32_t num_levels;
};

// One tensor for each of `like`, which an error calls `items`, of its sizes and dtype; null where
// there are none.
template <class View>
const View* read_like(Arguments& in, const char* name, const Tensors& like, const char* items,
                      std::array<View, kMaxLevels>& views) {
  const Tensors tensors = in.tensors(name);
  if (tensors.count != 0 && tensors.count != like.count) {
    raise(PyExc_ValueError, std::string(name) + " must hold one tensor for each of " +
                                std::to_string(like.count) + " " + items + ", got " +
                                std::to_string(tensors.count));
  }
  for (std::int32_t i = 0; i < tensors.count; ++i) {
    tensors.levels[i].expect_sizes_of(like.levels[i]);
    tensors.levels[i].expect_dtype(only(like.levels[i].dtype()));
  }
  return map_views(tensors, views);
}

// Sets the arguments that an op takes of a head.
template <class Args>
void set_heads(HeadLevels& heads, Args& args) {
  args.num_levels = heads.num_levels;
  args.class_logits = map_views(heads.class_logits, heads.class_views);
  args.ltrb = map_views(heads.ltrb, heads.ltrb_views);
  args.centerness = map_views(heads.centerness, heads.centerness_views);
  args.class_dtype = heads.class_logits.levels[0].dtype();
  args.ltrb_dtype = heads.ltrb.levels[0].dtype();
  args.centerness_dtype = heads.centerness.levels[0].dtype();
  args.batch = heads.class_logits.levels[0].size(0);
  args.num_classes = heads.class_logits.levels[0].size(1);
}

// Locations of an image over all levels. Raises where they cannot be counted.
inline constexpr std::int64_t kMaxLocations = std::int64_t{1} << 40;  // MAX_LOCATIONS in Python
std::int64_t count_locations(const std::array<AssignmentLevel, kMaxLevels>& levels,
                             std::int32_t num_levels);

// Sets the arguments that an op takes of ground truth: boxes [M, 4] and labels [M].
template <class Args>
void set_boxes(const Tensor& boxes, const Tensor& labels, Args& args) {
  boxes.expect_dtype(kFloating);
  boxes.expect_rank(2);
  boxes.expect_shape({boxes.size(0), 4});
  labels.expect_dtype(kIntegers);
  labels.expect_shape({boxes.size(0)});
  args.boxes = boxes.data();
  args.num_boxes = boxes.size(0);
  args.box_dtype = boxes.dtype();
  args.labels = labels.data();
  args.label_dtype = labels.dtype();
}

// On a CPU: raises unless `offsets`, [B + 1], run from 0 to `total` and never fall. Elsewhere they
// are not read.
void expect_offsets(const Tensor& offsets, std::int64_t total);

// Calls an op, which throws nothing, while other Python threads may run. ValueError for what the
// checks of the library refuse, RuntimeError for what CUDA does.
template <class Op>
void run_without_gil(const Op& op) {
  PyThreadState* const state = PyEval_SaveThread();
  const Status status = op();
  PyEval_RestoreThread(state);
  if (status.ok()) return;
  if (status.code == kInvalidArgument) raise(PyExc_ValueError, status.message);
  raise(PyExc_RuntimeError,
        std::string(status.message) + " (status " + std::to_string(status.code) + ")");
}

// Runs an op, whose arguments have been read. Returns 0; or, where the op needs a larger workspace
// than was given and none can be made, does nothing but return the size. On a CPU small ones need
// not be given.
template <class Args>
std::size_t run(const Arguments& in, const Args& args,
                std::size_t (*workspace_size)(const Args&, const Context&),
                Status (*op)(const Args&, Workspace, const Context&)) {
  in.finish();
  const Context& context = in.context();
  Workspace workspace = in.workspace();
  Reference owner;
  alignas(16) std::array<unsigned char, 16384> small;
  if (const std::size_t size = workspace_size(args, context); workspace.size < size) {
    if (context.device == kCpuDevice && size <= small.size()) {
      workspace = {small.data(), small.size()};
    } else if (!in.make_workspace(size, workspace, owner)) {
      return size;
    }
  }
  run_without_gil([&] { return op(args, workspace, context); });
  return 0;
}

// The same for an op that takes no workspace.
template <class Args>
std::size_t run(const Arguments& in, const Args& args, Status (*op)(const Args&, const Context&)) {
  in.finish();
  run_without_gil([&] { return op(args, in.context()); });
  return 0;
}

// One per op, bound by module.cpp.
std::size_t bound_assign_targets(Arguments& in);
std::size_t bound_centerness_loss(Arguments& in);
std::size_t bound_centerness_target(Arguments& in);
std::size_t bound_fcos_loss(Arguments& in);
std::size_t bound_group_norm(Arguments& in);
std::size_t bound_group_norm_backward(Arguments& in);
std::size_t bound_iou_loss(Arguments& in);
std::size_t bound_nms(Arguments& in);
std::size_t bound_postprocess(Arguments& in);
std::size_t bound_scale_gradients(Arguments& in);
std::size_t bound_sigmoid_focal_loss(Arguments& in);

}  // namespace fcos_ops::bindings
