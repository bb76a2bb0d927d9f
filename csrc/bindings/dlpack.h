// DLPack's C exchange interface, version 1, as far as it is used here: the layout of these structs
// is fixed by https://dmlc.github.io/dlpack/latest/c_api.html. torch has it since version 2.11.
#pragma once

#include <cstdint>

namespace fcos_ops::bindings::dlpack {

inline constexpr std::int32_t kCpu = 1;  // a type of device

struct Device {
  std::int32_t type, index;
};

enum DataTypeCode : std::uint8_t {
  kInt = 0,
  kUnsigned = 1,
  kFloat = 2,
  kBfloat = 4,
  kBool = 6,
};

struct DataType {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  std::int32_t rank;
  DataType dtype;
  std::int64_t* sizes;
  std::int64_t* strides;  // in elements
  std::uint64_t byte_offset;
};

struct Version {
  std::uint32_t major, minor;
};

struct ExchangeHeader {
  Version version;
  ExchangeHeader* previous;  // an interface of an older version, or null
};

struct ExchangeApi {
  ExchangeHeader header;
  void* unused[3];  // functions that hand over ownership
  // Fills in what stays owned by the object; 0, or -1 and a Python error.
  int (*tensor_from_object)(void* object, Tensor* tensor);
};

}  // namespace fcos_ops::bindings::dlpack
