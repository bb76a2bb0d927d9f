// The qualifier of every function in math/: inlined into whatever loop or kernel calls it, so that
// one text serves the baseline and the AVX2 loops of a CPU, a CUDA kernel, and its run on the host.
#pragma once

#if defined(__CUDACC__)
#define FCOS_HD __host__ __device__ __forceinline__
#else
#define FCOS_HD inline __attribute__((always_inline))
#endif
