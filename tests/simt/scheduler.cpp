// Runs the blocks of a grid: fibers, barriers and warp primitives. See simt/runtime.h.
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "simt/fiber.h"
#include "simt/runtime.h"

namespace simt {
namespace {

constexpr unsigned kWarp = 32;

std::atomic<std::uint64_t> seed_value{[] {
  const char* const text = std::getenv("FCOS_OPS_SIMT_SEED");
  return text == nullptr ? 0u : std::strtoull(text, nullptr, 10);
}()};
std::atomic<std::int64_t> launch_count{0};

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  std::uint32_t below(std::size_t bound) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::uint32_t>(((state_ >> 32) * bound) >> 32);
  }

 private:
  std::uint64_t state_;
};

enum class State { kReady, kAtBarrier, kAtWarpOp, kDone };

struct Fiber {
  Context context;
  std::unique_ptr<std::byte[]> stack;
  uint3 index;
  unsigned rank;  // in the block
  State state;
  int line;  // where it waits
  WarpOp op;
  unsigned mask, source;
  std::uint64_t value;  // that it gives to a warp primitive, then gets from it
};

struct SharedArray {
  const void* key;
  std::size_t size;
  std::unique_ptr<std::byte[]> memory;
  bool poisoned;
};

// What one thread of the operating system runs on: one block at a time.
class Machine {
 public:
  const char* run(const char* name, dim3 grid, dim3 block, void (*thread)(const void*),
                  const void* arguments);
  bool sync_threads(int line, bool predicate);
  std::uint64_t warp_op(WarpOp op, unsigned mask, std::uint64_t value, unsigned source, int line);
  void maybe_yield();
  void* shared_memory(const void* key, std::size_t size);
  unsigned lane() const { return current_->rank % kWarp; }
  void enter();

 private:
  void start_block(dim3 block);
  bool run_block();
  void resume(Fiber& fiber);
  void wait(State state, int line);
  void arrive_at_warp_op(Fiber& fiber);
  void complete_warp_op(unsigned first, unsigned mask);
  bool release_barrier();
  void fail(const std::string& what);
  void fail_stuck();

  Context scheduler_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> ready_;
  std::vector<unsigned> arrived_;  // of each warp: lanes that wait at a warp primitive
  std::vector<SharedArray> shared_;
  Fiber* current_ = nullptr;
  // True for one of the threads that wait at the barrier; and at the last one that was released.
  bool predicate_ = false, released_predicate_ = false;
  unsigned threads_ = 0, done_ = 0, at_barrier_ = 0;
  Random random_{0};
  const char* name_ = "";
  void (*thread_)(const void*) = nullptr;
  const void* arguments_ = nullptr;
  std::string error_;
};

thread_local Machine machine;

void enter_fiber() { machine.enter(); }

void Machine::enter() {
  current_->context.resumed();
  thread_(arguments_);
  current_->state = State::kDone;
  current_->context.switch_to(scheduler_, true);
}

void Machine::start_block(dim3 block) {
  threads_ = block.x * block.y * block.z;
  done_ = at_barrier_ = 0;
  predicate_ = false;
  while (fibers_.size() < threads_) {
    fibers_.push_back(std::make_unique<Fiber>());
    fibers_.back()->stack.reset(new std::byte[kStackSize]);
  }
  arrived_.assign((threads_ + kWarp - 1) / kWarp, 0);
  for (SharedArray& array : shared_) array.poisoned = false;
  ready_.clear();
  for (unsigned rank = 0; rank < threads_; ++rank) {
    Fiber& fiber = *fibers_[rank];
    fiber.rank = rank;
    fiber.index = {rank % block.x, rank / block.x % block.y, rank / (block.x * block.y)};
    fiber.state = State::kReady;
    fiber.context.start(&enter_fiber, fiber.stack.get());
    ready_.push_back(&fiber);
  }
}

void Machine::resume(Fiber& fiber) {
  current_ = &fiber;
  threadIdx = fiber.index;
  scheduler_.switch_to(fiber.context);
  switch (fiber.state) {
    case State::kReady:
      ready_.push_back(&fiber);
      break;
    case State::kAtBarrier:
      ++at_barrier_;
      break;
    case State::kAtWarpOp:
      arrive_at_warp_op(fiber);
      break;
    case State::kDone:
      ++done_;
  }
}

bool Machine::run_block() {
  while (done_ < threads_) {
    if (ready_.empty() && !release_barrier()) return false;
    const std::uint32_t pick = random_.below(ready_.size());
    std::swap(ready_[pick], ready_.back());
    Fiber& fiber = *ready_.back();
    ready_.pop_back();
    resume(fiber);
    if (!error_.empty()) return false;
  }
  return true;
}

// All threads that are left wait. They may go on if they are all threads, at the same barrier.
bool Machine::release_barrier() {
  const int line = fibers_[0]->line;
  for (unsigned i = 0; i < threads_; ++i) {
    if (fibers_[i]->state != State::kAtBarrier || fibers_[i]->line != line) {
      fail_stuck();
      return false;
    }
  }
  for (unsigned i = 0; i < threads_; ++i) {
    fibers_[i]->state = State::kReady;
    ready_.push_back(fibers_[i].get());
  }
  at_barrier_ = 0;
  released_predicate_ = std::exchange(predicate_, false);
  return true;
}

void Machine::wait(State state, int line) {
  current_->state = state;
  current_->line = line;
  current_->context.switch_to(scheduler_);
}

bool Machine::sync_threads(int line, bool predicate) {
  predicate_ |= predicate;
  wait(State::kAtBarrier, line);
  return released_predicate_;
}

std::uint64_t Machine::warp_op(WarpOp op, unsigned mask, std::uint64_t value, unsigned source,
                               int line) {
  Fiber& fiber = *current_;
  fiber.op = op;
  fiber.mask = mask;
  fiber.value = value;
  fiber.source = source;
  wait(State::kAtWarpOp, line);
  return fiber.value;
}

void Machine::arrive_at_warp_op(Fiber& fiber) {
  const unsigned first = fiber.rank / kWarp * kWarp, bit = 1u << (fiber.rank % kWarp);
  if (!(fiber.mask & bit)) return fail("a warp primitive's mask lacks the lane that calls it");
  unsigned& arrived = arrived_[first / kWarp];
  arrived |= bit;
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if (!(fiber.mask >> lane & 1)) continue;
    if (first + lane >= threads_ || fibers_[first + lane]->state == State::kDone) {
      return fail("a warp primitive's mask names a lane that has left or never was");
    }
  }
  if ((arrived & fiber.mask) != fiber.mask) return;
  arrived &= ~fiber.mask;
  complete_warp_op(first, fiber.mask);
}

void Machine::complete_warp_op(unsigned first, unsigned mask) {
  std::array<std::uint64_t, kWarp> values = {};
  const Fiber* sample = nullptr;
  std::uint64_t ballot = 0;
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if (!(mask >> lane & 1)) continue;
    const Fiber& fiber = *fibers_[first + lane];
    if (sample == nullptr) sample = &fiber;
    if (fiber.mask != mask || fiber.op != sample->op || fiber.line != sample->line) {
      return fail("lanes of a warp called different warp primitives, or with different masks");
    }
    values[lane] = fiber.value;
    ballot |= fiber.value << lane;
  }
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if (!(mask >> lane & 1)) continue;
    Fiber& fiber = *fibers_[first + lane];
    if (fiber.op == WarpOp::kBallot) fiber.value = ballot;
    if (fiber.op == WarpOp::kShuffle) {
      if (!(mask >> fiber.source & 1)) return fail("a shuffle reads a lane outside its mask");
      fiber.value = values[fiber.source];
    }
    fiber.state = State::kReady;
    ready_.push_back(&fiber);
  }
}

void Machine::maybe_yield() {
  if (random_.below(4) == 0) wait(State::kReady, 0);
}

void* Machine::shared_memory(const void* key, std::size_t size) {
  SharedArray* array = nullptr;
  for (SharedArray& candidate : shared_) {
    if (candidate.key == key) array = &candidate;
  }
  if (array == nullptr) {
    shared_.push_back({key, size, std::unique_ptr<std::byte[]>(new std::byte[size]), false});
    array = &shared_.back();
  }
  if (!array->poisoned) {
    constexpr std::uint32_t kNanAndHuge = 0x7fc7c7c7;
    for (std::size_t i = 0; i < size; ++i) {
      array->memory[i] = static_cast<std::byte>(kNanAndHuge >> (8 * (i % 4)));
    }
    array->poisoned = true;
  }
  return array->memory.get();
}

void Machine::fail(const std::string& what) {
  error_ = std::string(name_) + ": block (" + std::to_string(blockIdx.x) + ", " +
           std::to_string(blockIdx.y) + "), thread " + std::to_string(current_->rank) + ", line " +
           std::to_string(current_->line) + ": " + what;
}

void Machine::fail_stuck() {
  std::string waiting;
  for (unsigned i = 0; i < threads_ && waiting.size() < 400; ++i) {
    const Fiber& fiber = *fibers_[i];
    const Fiber* const previous = i > 0 ? fibers_[i - 1].get() : nullptr;
    if (previous && previous->state == fiber.state && previous->line == fiber.line) continue;
    waiting += " from thread " + std::to_string(i) +
               (fiber.state == State::kDone        ? " finished"
                : fiber.state == State::kAtBarrier ? " at the barrier of line "
                                                   : " at the warp primitive of line ");
    if (fiber.state != State::kDone) waiting += std::to_string(fiber.line);
    waiting += ";";
  }
  fail("the threads of a block wait for each other in different places:" + waiting);
}

const char* Machine::run(const char* name, dim3 grid, dim3 block, void (*thread)(const void*),
                         const void* arguments) {
  const std::int64_t launch = launch_count.fetch_add(1);
  random_ = Random(seed_value.load() * 1000003 + static_cast<std::uint64_t>(launch));
  name_ = name;
  thread_ = thread;
  arguments_ = arguments;
  error_.clear();
  gridDim = grid;
  blockDim = block;
  const std::size_t blocks = std::size_t{grid.x} * grid.y * grid.z;
  std::vector<std::uint32_t> order(blocks);
  std::iota(order.begin(), order.end(), 0u);
  for (std::size_t i = blocks; i > 1; --i) std::swap(order[i - 1], order[random_.below(i)]);
  for (const std::uint32_t i : order) {
    blockIdx = {i % grid.x, i / grid.x % grid.y, i / (grid.x * grid.y)};
    start_block(block);
    if (!run_block()) return error_.c_str();
  }
  return nullptr;
}

}  // namespace

bool sync_threads(int line, bool predicate) { return machine.sync_threads(line, predicate); }
std::uint64_t warp_op(WarpOp op, unsigned mask, std::uint64_t value, unsigned source, int line) {
  return machine.warp_op(op, mask, value, source, line);
}
void maybe_yield() { machine.maybe_yield(); }
void* shared_memory(const void* key, std::size_t size) { return machine.shared_memory(key, size); }
unsigned lane() { return machine.lane(); }
const char* run(const char* name, dim3 grid, dim3 block, void (*thread)(const void*),
                const void* arguments) {
  return machine.run(name, grid, block, thread, arguments);
}
}  // namespace simt

void simt_set_seed(std::uint64_t seed) { simt::seed_value = seed; }
std::int64_t simt_launches() { return simt::launch_count; }

cudaError_t cudaMemsetAsync(void* data, int value, std::size_t size, cudaStream_t) {
  ++simt::launch_count;
  std::memset(data, value, size);
  return cudaSuccess;
}
