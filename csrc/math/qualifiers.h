// The qualifier of every function in math/: inlined into whatever loop or kernel calls it, so that
// one source serves a CPU's loops for every instruction set, a CUDA kernel, and its run on the
// host.
#pragma once

#if defined(__CUDACC__)
#define FCOS_HD __host__ __device__ __forceinline__
#else
#define FCOS_HD inline __attribute__((always_inline))
#endif

// Before a template that calls its caller's lambda, which may be for the host or the device alone.
#if defined(__CUDACC__)
#define FCOS_ANY_BODY _Pragma("nv_exec_check_disable")
#else
#define FCOS_ANY_BODY
#endif
