#include "bindings/tensor.h"

#include <algorithm>
#include <iterator>

#include "bindings/dlpack.h"

namespace fcos_ops::bindings {
namespace {

// The exchange interface of a type, which holds for the life of the process. The two types that
// nearly every call has, torch.Tensor and torch.nn.Parameter, are remembered.
const dlpack::ExchangeApi* exchange_api(PyTypeObject* type) {
  struct Entry {
    PyTypeObject* type = nullptr;
    const dlpack::ExchangeApi* api = nullptr;
  };
  static Entry remembered[2];
  for (const Entry& entry : remembered) {
    if (entry.type == type) return entry.api;
  }
  PyObject* const capsule =
      PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), "__dlpack_c_exchange_api__");
  if (capsule == nullptr) {
    PyErr_Clear();
    return nullptr;
  }
  const auto* api =
      static_cast<const dlpack::ExchangeApi*>(PyCapsule_GetPointer(capsule, "dlpack_exchange_api"));
  Py_DECREF(capsule);
  while (api != nullptr && api->header.version.major > 1) {
    api = reinterpret_cast<const dlpack::ExchangeApi*>(api->header.previous);
  }
  if (api == nullptr || api->tensor_from_object == nullptr) {
    PyErr_Clear();
    return nullptr;
  }
  for (Entry& entry : remembered) {
    if (entry.type == nullptr) {
      Py_INCREF(type);  // so that no other type can come to lie at its address
      entry = {type, api};
      break;
    }
  }
  return api;
}

bool read_dtype(const dlpack::DataType& type, DType& result) {
  struct Known {
    dlpack::DataTypeCode code;
    int bits;
    DType dtype;
  };
  constexpr Known known[] = {
      {dlpack::kFloat, 32, DType::kFloat32}, {dlpack::kFloat, 64, DType::kFloat64},
      {dlpack::kFloat, 16, DType::kFloat16}, {dlpack::kBfloat, 16, DType::kBFloat16},
      {dlpack::kInt, 32, DType::kInt32},     {dlpack::kInt, 64, DType::kInt64},
      {dlpack::kUnsigned, 8, DType::kUInt8}, {dlpack::kBool, 8, DType::kUInt8},
  };
  for (const Known& k : known) {
    if (type.code == k.code && type.bits == k.bits && type.lanes == 1) {
      result = k.dtype;
      return true;
    }
  }
  return false;
}

// The names in the order of DType, as torch has them.
constexpr const char* kDtypeNames[] = {"float32", "float64", "float16",      "bfloat16",
                                       "int32",   "int64",   "uint8 or bool"};

std::string joined(const std::int64_t* numbers, int count) {
  std::string text = "[";
  for (int i = 0; i < count; ++i) text += (i > 0 ? ", " : "") + std::to_string(numbers[i]);
  return text + "]";
}

// A view into a freed storage reports its offset in bytes as its address. Only an address below
// 2^40 can be such an offset, so only then is torch asked.
bool is_offset_from_null(PyObject* tensor, std::uintptr_t address, int bits) {
  if (address >= std::uintptr_t{1} << 40) return false;
  static PyObject* const storage_offset = PyUnicode_InternFromString("storage_offset");
  PyObject* const answer = PyObject_CallMethodNoArgs(tensor, storage_offset);
  if (answer == nullptr) throw PythonError();
  const std::size_t offset = PyLong_AsSize_t(answer);
  Py_DECREF(answer);
  return address == offset * static_cast<std::size_t>(bits / 8);
}

}  // namespace

void raise(PyObject* type, const std::string& message) {
  PyErr_SetString(type, message.c_str());
  throw PythonError();
}

void expect_elements_in_memory(PyObject* value) {
  if (PyTuple_Check(value) || PyList_Check(value)) {
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(value); ++i) {
      expect_elements_in_memory(PySequence_Fast_GET_ITEM(value, i));
    }
    return;
  }
  if (value == Py_None || PyFloat_Check(value) || PyLong_Check(value) || PyUnicode_Check(value) ||
      PyFunction_Check(value) || exchange_api(Py_TYPE(value)) == nullptr) {
    return;
  }
  static PyObject* const is_neg = PyUnicode_InternFromString("is_neg");
  PyObject* const answer = PyObject_CallMethodNoArgs(value, is_neg);
  if (answer == nullptr) throw PythonError();
  Py_DECREF(answer);
  if (answer == Py_True) {
    raise(PyExc_BufferError, "a tensor argument is the negative of what lies in its memory");
  }
}

Tensor::Tensor(PyObject* value, const char* name, int index) : name_(name), index_(index) {
  const dlpack::ExchangeApi* const api = exchange_api(Py_TYPE(value));
  if (api == nullptr) {
    raise(PyExc_TypeError,
          this->name() + " must be a torch.Tensor, got " + Py_TYPE(value)->tp_name);
  }
  dlpack::Tensor tensor;
  if (api->tensor_from_object(value, &tensor) != 0) {
    // Sparse, nested, of a device without memory, or inside of a function transform.
    PyErr_Clear();
    raise(PyExc_BufferError, this->name() + " must be a dense tensor with memory that can be read");
  }
  if (!read_dtype(tensor.dtype, dtype_)) {
    raise(PyExc_TypeError, this->name() + " must have one of the dtypes that fcos_ops knows");
  }
  rank_ = tensor.rank;
  device_type_ = tensor.device.type;
  device_ = tensor.device.index;
  sizes_ = tensor.sizes;
  strides_ = tensor.strides;
  data_ = static_cast<char*>(tensor.data) + tensor.byte_offset;
  const auto address = reinterpret_cast<std::uintptr_t>(data_);
  if (count() > 0 && is_offset_from_null(value, address, tensor.dtype.bits)) {
    raise(PyExc_BufferError, this->name() + " must have memory, got a tensor of shape " + shape() +
                                 " whose data is not allocated");
  }
}

std::int64_t Tensor::count() const {
  std::int64_t product = given() ? 1 : 0;
  for (int i = 0; i < rank_; ++i) product *= sizes_[i];
  return product;
}

bool Tensor::is_contiguous() const {
  if (count() == 0) return true;
  std::int64_t expected = 1;
  for (int i = rank_ - 1; i >= 0; --i) {
    if (sizes_[i] != 1 && strides_[i] != expected) return false;
    expected *= sizes_[i];
  }
  return true;
}

bool Tensor::is_on_cpu() const { return device_type_ == dlpack::kCpu; }

bool Tensor::shares_device(const Tensor& other) const {
  return device_type_ == other.device_type_ && device_ == other.device_;
}

void Tensor::expect_dtype(DTypes dtypes) const {
  if (!given() || is(dtypes)) return;
  std::string expected;
  for (int i = 0; i < static_cast<int>(std::size(kDtypeNames)); ++i) {
    if ((dtypes >> i & 1) != 0)
      expected += (expected.empty() ? "" : ", ") + std::string(kDtypeNames[i]);
  }
  raise(PyExc_TypeError,
        name() + " must have dtype " + expected + ", got " + kDtypeNames[static_cast<int>(dtype_)]);
}

void Tensor::expect_rank(int rank) const {
  if (given() && rank_ != rank) raise_shape("of " + std::to_string(rank) + " dimensions");
}

void Tensor::expect_sizes(std::initializer_list<std::int64_t> sizes) const {
  if (!given()) return;
  const int count = static_cast<int>(sizes.size());
  if (rank_ != count || !std::equal(sizes.begin(), sizes.end(), sizes_)) {
    raise_shape(joined(sizes.begin(), count));
  }
}

void Tensor::expect_sizes_of(const Tensor& other) const {
  if (!given()) return;
  if (rank_ != other.rank_ || !std::equal(sizes_, sizes_ + rank_, other.sizes_)) {
    raise_shape(other.shape() + ", that of " + other.name());
  }
}

void Tensor::expect_shape(std::initializer_list<std::int64_t> sizes) const {
  expect_sizes(sizes);
  expect_contiguous();
}

void Tensor::expect_count(std::int64_t count) const {
  if (!given()) return;
  if (this->count() != count) raise_shape("of " + std::to_string(count) + " elements");
  expect_contiguous();
}

void Tensor::expect_contiguous() const {
  if (given() && !is_contiguous()) {
    raise(PyExc_ValueError, name() + " must be contiguous, got strides " + joined(strides_, rank_));
  }
}

void Tensor::raise_shape(const std::string& expected) const {
  raise(PyExc_ValueError, name() + " must have shape " + expected + ", got " + shape());
}

std::string Tensor::name() const {
  return index_ < 0 ? name_ : std::string(name_) + "[" + std::to_string(index_) + "]";
}

std::string Tensor::shape() const { return joined(sizes_, rank_); }

Rows::Rows(std::initializer_list<const Tensor*> tensors) {
  const Tensor& first = **tensors.begin();
  for (const Tensor* tensor : tensors) {
    if (tensor->given() && !tensor->is_contiguous()) is_line = false;
  }
  const int dimensions = first.rank() - 1;  // without channels
  if (dimensions < 0 || (!is_line && dimensions > 3)) {
    raise(
        PyExc_ValueError,
        first.name() + " must have 1 to 4 dimensions or be contiguous, got shape " + first.shape());
  }
  width = 1;
  std::int64_t* const sizes[] = {&width, &height, &batch};
  for (int i = 0; i < dimensions; ++i) {
    *sizes[is_line ? 0 : i] *= first.size(dimensions - 1 - i);
  }
}

}  // namespace fcos_ops::bindings
