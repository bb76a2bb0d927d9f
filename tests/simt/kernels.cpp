// Small kernels by which tests/test_simt.py sees what the scheduler does with right and wrong ones.
// Runs the one that is named, and prints "ok", or the code and message of its launch.
#include <cstdio>
#include <string>
#include <vector>

#include "cuda/common/flags.cuh"

namespace {

using fcos_ops::Context;
using fcos_ops::Status;
using fcos_ops::cuda::block_shared;
using fcos_ops::cuda::launch;
using fcos_ops::cuda::launch_cooperative;
using fcos_ops::cuda::raise_flag;
using fcos_ops::cuda::wait_for_flag;

constexpr unsigned kBlocks = 4, kThreads = 64;
constexpr int kRounds = 5;

struct Memory {
  std::uint32_t flag[kBlocks * kRounds];
  unsigned written[kBlocks * kRounds], seen[kBlocks * kRounds];
};

struct Shared {
  unsigned of_thread[kThreads];
};

// In every round a block writes a number and raises its flag, then waits for that of its neighbour,
// whose number it reads. `skipped`: the flag that is forgotten, if any.
void ring_kernel(Memory* memory, unsigned skipped) {
  auto& shared = block_shared<Shared>();
  const unsigned own = blockIdx.x, next = (own + 1) % gridDim.x;
  for (int round = 0; round < kRounds; ++round) {
    const unsigned first = round * gridDim.x;
    shared.of_thread[threadIdx.x] = 100 * own + round;
    __syncthreads();
    const unsigned neighbour = shared.of_thread[(threadIdx.x + 1) % kThreads];
    const unsigned sum = __shfl_sync(0xffffffffu, neighbour, 3);
    if (threadIdx.x == 0) {
      memory->written[first + own] = sum + 1;
      if (first + own != skipped) raise_flag(&memory->flag[first + own]);
      wait_for_flag(&memory->flag[first + next]);
      memory->seen[first + own] = memory->written[first + next];
    }
    __syncthreads();
  }
}

// The first thread of a block never comes to the barrier where the others are.
void barrier_kernel() {
  if (blockIdx.x == 1 && threadIdx.x == 0) __syncwarp(1);
  if (blockIdx.x != 1 || threadIdx.x != 0) __syncthreads();
}

// A thread waits for what its own block does behind a barrier.
void self_kernel(std::uint32_t* flag) {
  if (threadIdx.x == 0) wait_for_flag(flag);
  __syncthreads();
  if (threadIdx.x == 1) raise_flag(flag);
}

Status ring(unsigned blocks, unsigned skipped) {
  Memory memory = {};
  const Status status =
      launch_cooperative("ring", ring_kernel, blocks, kThreads, Context{}, &memory, skipped);
  for (unsigned i = 0; status.ok() && i < blocks * kRounds; ++i) {
    const unsigned own = i % blocks, round = i / blocks;
    if (memory.seen[i] != 100 * ((own + 1) % blocks) + round + 1) return {1, "wrong number"};
  }
  return status;
}

Status run(const std::string& name) {
  std::uint32_t flag = 0;
  if (name == "ring") return ring(kBlocks, ~0u);
  if (name == "missing flag") return ring(kBlocks, 6);
  if (name == "one flag missing at the end") return ring(kBlocks, kBlocks * kRounds - 1);
  if (name == "too many blocks") return ring(kBlocks + 1, ~0u);
  if (name == "barrier") return launch_cooperative("barrier", barrier_kernel, 3, 32, Context{});
  if (name == "own flag") return launch_cooperative("own", self_kernel, 2, 32, Context{}, &flag);
  if (name == "ordinary launch") {
    Memory memory = {};
    return launch("ring", ring_kernel, kBlocks, kThreads, Context{}, &memory, ~0u);
  }
  return {2, "no such case"};
}

}  // namespace

int main(int count, char** arguments) {
  for (int i = 1; i < count; ++i) {
    const Status status = run(arguments[i]);
    if (status.ok()) {
      std::printf("ok\n");
    } else {
      std::printf("%d %s\n", status.code, status.message);
    }
  }
}
