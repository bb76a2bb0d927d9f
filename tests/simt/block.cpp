#include "block.h"

#include <array>
#include <utility>

namespace simt {

void Block::start(uint3 index, dim3 size, void (*enter)(), std::vector<Fiber*>* ready) {
  index_ = index;
  ready_ = ready;
  threads_ = size.x * size.y * size.z;
  num_ready_ = num_done_ = 0;
  predicate_ = false;
  while (fibers_.size() < threads_) {
    fibers_.push_back(std::make_unique<Fiber>());
    fibers_.back()->stack.reset(new std::byte[kStackSize]);
    fibers_.back()->block = this;
  }
  arrived_.assign((threads_ + kWarp - 1) / kWarp, 0);
  for (SharedArray& array : shared_) array.poisoned = false;
  for (unsigned rank = 0; rank < threads_; ++rank) {
    Fiber& fiber = *fibers_[rank];
    fiber.rank = rank;
    fiber.index = {rank % size.x, rank / size.x % size.y, rank / (size.x * size.y)};
    fiber.context.start(enter, fiber.stack.get());
    make_ready(fiber);
  }
}

void Block::make_ready(Fiber& fiber) {
  fiber.state = State::kReady;
  ready_->push_back(&fiber);
  ++num_ready_;
}

void Block::stopped(Fiber& fiber) {
  --num_ready_;
  switch (fiber.state) {
    case State::kReady:
      make_ready(fiber);
      break;
    case State::kAtFlag:
      ready_->push_back(&fiber);
      ++num_ready_;
      break;
    case State::kAtBarrier:
      break;
    case State::kAtWarpOp:
      arrive_at_warp_op(fiber);
      break;
    case State::kDone:
      ++num_done_;
  }
  if (num_ready_ == 0 && num_done_ < threads_) release_barrier(fiber);
}

// All threads that are left wait. They may go on if they are all threads, at the same barrier.
void Block::release_barrier(const Fiber& last) {
  const int line = fibers_[0]->line;
  for (unsigned i = 0; i < threads_; ++i) {
    if (fibers_[i]->state != State::kAtBarrier || fibers_[i]->line != line) {
      throw Failure{&last,
                    "the threads of a block wait for each other in different places:" + places()};
    }
  }
  for (unsigned i = 0; i < threads_; ++i) make_ready(*fibers_[i]);
  released_predicate_ = std::exchange(predicate_, false);
}

std::string Block::places() const {
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
  return waiting;
}

void Block::arrive_at_warp_op(Fiber& fiber) {
  const unsigned first = fiber.rank / kWarp * kWarp, bit = 1u << (fiber.rank % kWarp);
  if (!(fiber.mask & bit)) {
    throw Failure{&fiber, "a warp primitive's mask lacks the lane that calls it"};
  }
  unsigned& arrived = arrived_[first / kWarp];
  arrived |= bit;
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if (!(fiber.mask >> lane & 1)) continue;
    if (first + lane >= threads_ || fibers_[first + lane]->state == State::kDone) {
      throw Failure{&fiber, "a warp primitive's mask names a lane that has left or never was"};
    }
  }
  if ((arrived & fiber.mask) != fiber.mask) return;
  arrived &= ~fiber.mask;
  complete_warp_op(first, fiber.mask);
}

void Block::complete_warp_op(unsigned first, unsigned mask) {
  std::array<std::uint64_t, kWarp> values = {};
  const Fiber* sample = nullptr;
  std::uint64_t ballot = 0;
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if (!(mask >> lane & 1)) continue;
    const Fiber& fiber = *fibers_[first + lane];
    if (sample == nullptr) sample = &fiber;
    if (fiber.mask != mask || fiber.op != sample->op || fiber.line != sample->line) {
      throw Failure{&fiber,
                    "lanes of a warp called different warp primitives, or with different masks"};
    }
    values[lane] = fiber.value;
    ballot |= fiber.value << lane;
  }
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if (!(mask >> lane & 1)) continue;
    Fiber& fiber = *fibers_[first + lane];
    if (fiber.op == WarpOp::kBallot) fiber.value = ballot;
    if (fiber.op == WarpOp::kShuffle) {
      if (!(mask >> fiber.source & 1)) {
        throw Failure{&fiber, "a shuffle reads a lane outside its mask"};
      }
      fiber.value = values[fiber.source];
    }
    make_ready(fiber);
  }
}

void* Block::shared_memory(const void* key, std::size_t size) {
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

}  // namespace simt
