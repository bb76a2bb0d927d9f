// Runs the blocks of a grid, one after the other or, of a cooperative launch, all at once. See
// simt/runtime.h.
#include <atomic>
#include <cstdlib>
#include <numeric>
#include <string>
#include <utility>

#include "block.h"

namespace simt {
namespace {

std::atomic<std::uint64_t> seed_value{[] {
  const char* const text = std::getenv("FCOS_OPS_SIMT_SEED");
  return text == nullptr ? 0u : std::strtoull(text, nullptr, 10);
}()};
std::atomic<std::int64_t> launch_count{0};
// Blocks of a cooperative launch: what the query says, and what a launch is given.
std::atomic<int> blocks_told{kCooperativeBlocks}, blocks_held{kCooperativeBlocks};

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

// What one thread of the operating system runs on.
class Machine {
 public:
  const char* run(const char* name, dim3 grid, dim3 block, bool cooperative,
                  void (*thread)(const void*), const void* arguments);
  bool sync_threads(int line, bool predicate);
  std::uint64_t warp_op(WarpOp op, unsigned mask, std::uint64_t value, unsigned source, int line);
  void wait_for(const std::uint32_t* flag, int line);
  void maybe_yield();
  void* shared_memory(const void* key, std::size_t size) {
    return current_->block->shared_memory(key, size);
  }
  unsigned lane() const { return current_->rank % kWarp; }
  void enter();

 private:
  void run_blocks(bool cooperative);
  void finish_started();
  void resume(Fiber& fiber);
  void leave_waiting(Fiber& fiber);
  void wait(State state, int line);

  Context scheduler_;
  std::vector<std::unique_ptr<Block>> blocks_;  // as many as were ever alive together
  std::vector<Fiber*> ready_;                   // of all blocks that are alive
  Fiber* current_ = nullptr;
  std::uint64_t turn_ = 0;     // times that a fiber has run, since the thread began
  std::size_t num_asked_ = 0;  // fibers whose flag was seen unset since one has run
  Random random_{0};
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

void Machine::resume(Fiber& fiber) {
  current_ = &fiber;
  threadIdx = fiber.index;
  blockIdx = fiber.block->index();
  ++turn_;
  num_asked_ = 0;
  scheduler_.switch_to(fiber.context);
  fiber.block->stopped(fiber);
}

// Nothing changes while no fiber runs: when all that are left have found their flags unset, they
// will for ever.
void Machine::leave_waiting(Fiber& fiber) {
  if (std::exchange(fiber.asked_in_turn, turn_) == turn_) return;
  if (++num_asked_ == ready_.size()) {
    throw Failure{&fiber, "waits for a flag that no thread is left to set: " +
                              std::to_string(ready_.size()) + " wait for one"};
  }
}

void Machine::finish_started() {
  while (!ready_.empty()) {
    std::swap(ready_[random_.below(ready_.size())], ready_.back());
    Fiber& fiber = *ready_.back();
    if (fiber.state == State::kAtFlag && *fiber.flag == 0) {
      leave_waiting(fiber);
    } else {
      ready_.pop_back();
      resume(fiber);
    }
  }
}

void Machine::run_blocks(bool cooperative) {
  const std::size_t count = std::size_t{gridDim.x} * gridDim.y * gridDim.z;
  std::vector<std::uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0u);
  for (std::size_t i = count; i > 1; --i) std::swap(order[i - 1], order[random_.below(i)]);
  const std::size_t alive = cooperative ? count : 1;
  while (blocks_.size() < alive) blocks_.push_back(std::make_unique<Block>());
  ready_.clear();
  for (std::size_t i = 0; i < count; ++i) {
    const uint3 index = {order[i] % gridDim.x, order[i] / gridDim.x % gridDim.y,
                         order[i] / (gridDim.x * gridDim.y)};
    blocks_[i % alive]->start(index, blockDim, &enter_fiber, &ready_);
    if (!cooperative) finish_started();
  }
  finish_started();
}

void Machine::wait(State state, int line) {
  current_->state = state;
  current_->line = line;
  current_->context.switch_to(scheduler_);
}

bool Machine::sync_threads(int line, bool predicate) {
  current_->block->add_predicate(predicate);
  wait(State::kAtBarrier, line);
  return current_->block->released_predicate();
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

void Machine::wait_for(const std::uint32_t* flag, int line) {
  current_->flag = flag;
  wait(State::kAtFlag, line);
}

void Machine::maybe_yield() {
  if (random_.below(4) == 0) wait(State::kReady, 0);
}

const char* Machine::run(const char* name, dim3 grid, dim3 block, bool cooperative,
                         void (*thread)(const void*), const void* arguments) {
  const std::int64_t launch = launch_count.fetch_add(1);
  random_ = Random(seed_value.load() * 1000003 + static_cast<std::uint64_t>(launch));
  thread_ = thread;
  arguments_ = arguments;
  gridDim = grid;
  blockDim = block;
  try {
    run_blocks(cooperative);
  } catch (const Failure& failure) {
    const Fiber& fiber = *failure.fiber;
    const uint3 index = fiber.block->index();
    error_ = std::string(name) + ": block (" + std::to_string(index.x) + ", " +
             std::to_string(index.y) + "), thread " + std::to_string(fiber.rank) + ", line " +
             std::to_string(fiber.line) + ": " + failure.what;
    return error_.c_str();
  }
  return nullptr;
}

}  // namespace

bool sync_threads(int line, bool predicate) { return machine.sync_threads(line, predicate); }
std::uint64_t warp_op(WarpOp op, unsigned mask, std::uint64_t value, unsigned source, int line) {
  return machine.warp_op(op, mask, value, source, line);
}
void wait_for(const std::uint32_t* flag, int line) { machine.wait_for(flag, line); }
void maybe_yield() { machine.maybe_yield(); }
void* shared_memory(const void* key, std::size_t size) { return machine.shared_memory(key, size); }
unsigned lane() { return machine.lane(); }
int blocks_per_multiprocessor() { return blocks_told; }

Result run(const char* name, dim3 grid, dim3 block, bool cooperative, void (*thread)(const void*),
           const void* arguments) {
  if (cooperative && std::int64_t{grid.x} * grid.y * grid.z > blocks_held) {
    return {cudaErrorCooperativeLaunchTooLarge, name};
  }
  const char* const error = machine.run(name, grid, block, cooperative, thread, arguments);
  return {error == nullptr ? cudaSuccess : cudaErrorLaunchFailure, error};
}
}  // namespace simt

void simt_set_seed(std::uint64_t seed) { simt::seed_value = seed; }
std::int64_t simt_launches() { return simt::launch_count; }
void simt_set_cooperative_blocks(int told, int held) {
  simt::blocks_told = told;
  simt::blocks_held = held;
}

cudaError_t cudaMemsetAsync(void* data, int value, std::size_t size, cudaStream_t) {
  ++simt::launch_count;
  std::memset(data, value, size);
  return cudaSuccess;
}
