// The part of CUDA that the kernels of csrc/cuda use, on a CPU: included in place of
// <cuda_runtime.h> where FCOS_OPS_SIMT is defined, so that a host compiler takes the same sources.
//
// The threads of a block are fibers. Which of those that can go on does so is drawn at random (from
// FCOS_OPS_SIMT_SEED, so a failure repeats), and it runs until it waits for others or does
// something atomic: what only works while threads happen to advance in step, fails here. Blocks run
// one after the other, in random order; those of a cooperative launch all at once, and of all their
// threads one is drawn: a device that holds few of them, so that each has several shares in small
// tests. A launch fails, with a message, when
//   - the threads of a block wait at different barriers, or some for one that others never reach;
//   - a warp primitive is called with a mask whose lanes do not all call it;
//   - threads wait for flags that no thread is left to set.
// Shared memory is filled with NaN (huge integers) when a block starts, and is allocated to its
// exact size, so that AddressSanitizer sees an access out of range.
//
// Not covered: weak memory order, the timing of anything, and the rounding of fast intrinsics.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct uint3 {
  unsigned x, y, z;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
inline thread_local uint3 threadIdx, blockIdx;
inline thread_local dim3 blockDim, gridDim;

using cudaError_t = int;
using cudaStream_t = void*;
inline constexpr cudaError_t cudaSuccess = 0, cudaErrorLaunchFailure = 719,
                             cudaErrorCooperativeLaunchTooLarge = 720;
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount, cudaDevAttrCooperativeLaunch };
cudaError_t cudaMemsetAsync(void* data, int value, std::size_t size, cudaStream_t);

// For tests, which find them by name: sets the seed; kernels and memsets started so far.
extern "C" [[gnu::visibility("default")]] void simt_set_seed(std::uint64_t seed);
extern "C" [[gnu::visibility("default")]] std::int64_t simt_launches();
// Blocks of a cooperative launch: as many as the query tells (0: the device has no such launch),
// and as a launch is given, which fails if it asks for more.
extern "C" [[gnu::visibility("default")]] void simt_set_cooperative_blocks(int told, int held);

namespace simt {

inline constexpr int kCooperativeBlocks = 4;  // unless a test sets another number

// What a warp primitive does once all of its lanes have called it.
enum class WarpOp { kSync, kShuffle, kBallot };

// For kernels, through the names below.
bool sync_threads(int line, bool predicate = false);  // returns whether one of them is true
std::uint64_t warp_op(WarpOp op, unsigned mask, std::uint64_t value, unsigned source, int line);
void wait_for(const std::uint32_t* flag, int line);  // until another thread has set it
void maybe_yield();
void* shared_memory(const void* key, std::size_t size);
unsigned lane();
int blocks_per_multiprocessor();

// What comes of a launch. The message lasts until the next one of this thread.
struct Result {
  cudaError_t error;
  const char* message;
};

// For the launcher.
Result run(const char* name, dim3 grid, dim3 block, bool cooperative, void (*thread)(const void*),
           const void* arguments);

template <class T>
inline constexpr char kSharedKey = 0;

// Calls kernel(arguments...) in every thread of the grid.
template <class... Parameters, class... Arguments>
Result start(const char* name, bool cooperative, void (*kernel)(Parameters...), dim3 grid,
             dim3 block, const Arguments&... arguments) {
  using Call = std::tuple<void (*)(Parameters...), std::decay_t<Parameters>...>;
  const Call call(kernel, arguments...);
  const auto thread = [](const void* data) {
    std::apply([](auto function, const auto&... a) { function(a...); },
               *static_cast<const Call*>(data));
  };
  return run(name, grid, block, cooperative, thread, &call);
}

template <class T>
std::uint64_t to_bits(T value) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}
template <class T>
T from_bits(std::uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

template <class T>
T shuffle(unsigned mask, T value, unsigned source, int line) {
  return from_bits<T>(warp_op(WarpOp::kShuffle, mask, to_bits(value), source, line));
}

// An atomic operation: nothing runs at the same time, but another thread may come next.
template <class T, class Update>
T atomic(T* address, const Update& update) {
  const T old = *address;
  *address = update(old);
  maybe_yield();
  return old;
}

}  // namespace simt

// The names of CUDA. One multiprocessor, so that the blocks of a grid that fills the device have
// several shares in small tests.
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  const bool is_cooperative = simt::blocks_per_multiprocessor() > 0;
  *value = attribute == cudaDevAttrCooperativeLaunch ? is_cooperative : 1;
  return cudaSuccess;
}
template <class Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Kernel, int, std::size_t) {
  return *blocks = simt::blocks_per_multiprocessor(), cudaSuccess;
}

// `line` tells barriers apart.
inline void __syncthreads(int line = __builtin_LINE()) { simt::sync_threads(line); }
inline int __syncthreads_or(int predicate, int line = __builtin_LINE()) {
  return simt::sync_threads(line, predicate != 0);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, int line = __builtin_LINE()) {
  simt::warp_op(simt::WarpOp::kSync, mask, 0, 0, line);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int line = __builtin_LINE()) {
  return simt::shuffle(mask, value, static_cast<unsigned>(source) & 31u, line);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int line = __builtin_LINE()) {
  return simt::shuffle(mask, value, simt::lane() ^ static_cast<unsigned>(lanes), line);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int line = __builtin_LINE()) {
  const unsigned source = simt::lane() + delta;
  return simt::shuffle(mask, value, source < 32 ? source : simt::lane(), line);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int line = __builtin_LINE()) {
  const unsigned lane = simt::lane();
  return simt::shuffle(mask, value, delta <= lane ? lane - delta : lane, line);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
  return static_cast<unsigned>(simt::warp_op(simt::WarpOp::kBallot, mask, predicate != 0, 0, line));
}
inline int __any_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
  return __ballot_sync(mask, predicate, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
  return __ballot_sync(mask, predicate, line) == mask;
}
inline void __threadfence() { simt::maybe_yield(); }
template <class T>
T __ldg(const T* address) {
  return *address;
}
template <class T>
T __ldcs(const T* address) {
  return *address;
}
template <class T>
void __stcs(T* address, T value) {
  *address = value;
}
#define __builtin_assume(condition) static_cast<void>(condition)
inline unsigned __isGlobal(const void*) { return 1; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline int __clzll(long long x) {
  return x == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(x));
}

// On int, unsigned and unsigned long long, as CUDA has them; never on floats.
template <class T>
T atomicAdd(T* address, T value) {
  static_assert(std::is_integral_v<T>, "sums of floats depend on the order");
  return simt::atomic(address, [&](T old) { return static_cast<T>(old + value); });
}
template <class T>
T atomicMin(T* address, T value) {
  return simt::atomic(address, [&](T old) { return value < old ? value : old; });
}
template <class T>
T atomicMax(T* address, T value) {
  return simt::atomic(address, [&](T old) { return old < value ? value : old; });
}
template <class T>
T atomicOr(T* address, T value) {
  return simt::atomic(address, [&](T old) { return static_cast<T>(old | value); });
}
template <class T>
T atomicExch(T* address, T value) {
  return simt::atomic(address, [&](T) { return value; });
}
template <class T>
T atomicCAS(T* address, T expected, T value) {
  return simt::atomic(address, [&](T old) { return old == expected ? value : old; });
}
