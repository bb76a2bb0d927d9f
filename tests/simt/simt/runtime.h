// The part of CUDA that the kernels of csrc/cuda use, on a CPU: included in place of
// <cuda_runtime.h> where FCOS_OPS_SIMT is defined, so that a host compiler takes the same sources.
//
// The threads of a block are fibers. Which of those that can go on does so is drawn at random (from
// FCOS_OPS_SIMT_SEED, so a failure repeats), and it runs until it waits for others or does
// something atomic: what only works while threads happen to advance in step, fails here. Blocks run
// one after the other, in random order. A launch fails, with a message, when
//   - the threads of a block wait at different barriers, or some for one that others never reach;
//   - a warp primitive is called with a mask whose lanes do not all call it.
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
inline constexpr cudaError_t cudaSuccess = 0;
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
// One, so that the blocks of a grid that fills the device have several shares in small tests.
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount };
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  return *value = 1, cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* data, int value, std::size_t size, cudaStream_t);

// For tests, which find them by name: sets the seed; kernels and memsets started so far.
extern "C" [[gnu::visibility("default")]] void simt_set_seed(std::uint64_t seed);
extern "C" [[gnu::visibility("default")]] std::int64_t simt_launches();

namespace simt {

// What a warp primitive does once all of its lanes have called it.
enum class WarpOp { kSync, kShuffle, kBallot };

// For kernels, through the names below.
bool sync_threads(int line, bool predicate = false);  // returns whether one of them is true
std::uint64_t warp_op(WarpOp op, unsigned mask, std::uint64_t value, unsigned source, int line);
void maybe_yield();
void* shared_memory(const void* key, std::size_t size);
unsigned lane();

// For the launcher. Returns null, or what went wrong (until the next launch of this thread).
const char* run(const char* name, dim3 grid, dim3 block, void (*thread)(const void*),
                const void* arguments);

template <class T>
inline constexpr char kSharedKey = 0;

// Calls kernel(arguments...) in every thread of the grid.
template <class... Parameters, class... Arguments>
const char* start(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                  const Arguments&... arguments) {
  using Call = std::tuple<void (*)(Parameters...), std::decay_t<Parameters>...>;
  const Call call(kernel, arguments...);
  const auto thread = [](const void* data) {
    std::apply([](auto function, const auto&... a) { function(a...); },
               *static_cast<const Call*>(data));
  };
  return run(name, grid, block, thread, &call);
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

// The names of CUDA. `line` tells barriers apart.
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
