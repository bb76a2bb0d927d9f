// Types that every op of the library shares: dtypes, statuses, where to run, and strided views.
//
// The contract of every function declared beside this file:
//   - it works on memory that the caller owns, allocates nothing, keeps none of its arguments;
//   - it throws nothing; several threads may call it at once; no call changes another's results;
//   - it returns a Status; scratch memory comes from the caller, who asks `..._workspace_size`;
//   - what its header rules out is kInvalidArgument, before anything is read or written. For all:
//     unknown enumerators, sizes and counts below 0, products of them beyond kMaxElements, and null
//     pointers where there are elements. (That pointers reach as far as the sizes say is up to the
//     caller.)
// A query looks at sizes, dtypes and context, never at data, so pointers to data may be set later.
// Where the op would refuse the sizes or dtypes, the query returns 0, and the op says why.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fcos_ops {

enum class DType : std::int32_t {
  kFloat32 = 0,
  kFloat64 = 1,
  kFloat16 = 2,
  kBFloat16 = 3,
  kInt32 = 4,
  kInt64 = 5,
  kUInt8 = 6,  // also bool
};

enum StatusCode : std::int32_t {
  kOk = 0,
  kInvalidArgument = -1,
  kWorkspaceTooSmall = -2,
  kNotImplementedForDevice = -3,
};

// "The dtype of the maths" on values of a floating dtype.
constexpr DType maths_of(DType dtype) {
  return dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
}

// `code` is a StatusCode, or a positive cudaError_t. `message` is a string with static lifetime
// that names the argument or the kernel; it is empty when all went well.
struct Status {
  std::int32_t code = kOk;
  const char* message = "";
  bool ok() const { return code == kOk; }
};

inline constexpr std::int32_t kCpuDevice = -1;

// The device, stream and threads that a function runs on.
struct Context {
  std::int32_t device = kCpuDevice;  // kCpuDevice, or a CUDA device index
  void* stream = nullptr;            // the cudaStream_t to launch on; unused on a CPU
  // CPU threads, at most: one that shares its core with other processes, so that all others had to
  // wait for it, is left out of what is called in the next moments. 1 never enters an OpenMP
  // region.
  std::int32_t num_threads = 1;
};

// Scratch memory, aligned to 16 bytes. May be null where the query returns 0.
struct Workspace {
  void* data = nullptr;
  std::size_t size = 0;  // bytes
};

// More elements than any memory holds. The sizes of an array (of a level: batch, height, width and
// channels) multiply to at most this, a 0 among them counted as 1: then no sum of them overflows.
inline constexpr std::int64_t kMaxElements = std::int64_t{1} << 48;

// More levels than any published pyramid; fixed so that level views can travel as kernel arguments.
inline constexpr std::int32_t kMaxLevels = 16;

// The most classes that 32-bit arithmetic of kernels has room for.
inline constexpr std::int64_t kMaxClasses = 0x7fff0000;

// One level of a dense [batch, height, width, channels] quantity, anywhere in memory. Strides are
// in elements. NCHW, channels_last and a plain [rows, channels] matrix (batch 1, height 1, width
// rows) are all instances.
template <class Pointer>
struct BasicLevelView {
  Pointer data = nullptr;
  std::int64_t height = 0, width = 0;
  std::int64_t stride_batch = 0, stride_y = 0, stride_x = 0, stride_channel = 0;
};
using LevelView = BasicLevelView<const void*>;
using MutableLevelView = BasicLevelView<void*>;

// A number in memory of the device (so that nothing waits for it), divided by after a clamp:
// everything is divided by max(*data, floor). No data: no division.
struct Normalizer {
  const void* data = nullptr;
  DType dtype = DType::kFloat32;  // any DType
  double floor = 0.0;
};

}  // namespace fcos_ops
