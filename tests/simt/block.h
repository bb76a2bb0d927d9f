// A block of threads: fibers, and what they share. See simt/runtime.h.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "simt/fiber.h"
#include "simt/runtime.h"

namespace simt {

inline constexpr unsigned kWarp = 32;

enum class State { kReady, kAtFlag, kAtBarrier, kAtWarpOp, kDone };

class Block;

struct Fiber {
  Context context;
  std::unique_ptr<std::byte[]> stack;
  Block* block;
  uint3 index;
  unsigned rank;  // in the block
  State state;
  int line;                         // where it waits
  const std::uint32_t* flag;        // that it waits for
  std::uint64_t asked_in_turn = 0;  // when that flag was last seen unset
  WarpOp op;                        // of a warp primitive
  unsigned mask, source;
  std::uint64_t value;  // that it gives to one, then gets from it
};

// Why a launch fails.
struct Failure {
  const Fiber* fiber;
  std::string what;
};

class Block {
 public:
  // Makes the fibers, which run enter(), and puts them into `ready`: those that can go on, or ask
  // whether they can.
  void start(uint3 index, dim3 size, void (*enter)(), std::vector<Fiber*>* ready);

  // What follows from the state in which a fiber has stopped. May throw a Failure.
  void stopped(Fiber& fiber);

  // At a barrier: `predicate` is true for one of the threads that wait; and, once they go on, was
  // true for one of them.
  void add_predicate(bool predicate) { predicate_ |= predicate; }
  bool released_predicate() const { return released_predicate_; }

  void* shared_memory(const void* key, std::size_t size);

  uint3 index() const { return index_; }

 private:
  struct SharedArray {
    const void* key;
    std::size_t size;
    std::unique_ptr<std::byte[]> memory;
    bool poisoned;
  };

  void make_ready(Fiber& fiber);
  void arrive_at_warp_op(Fiber& fiber);
  void complete_warp_op(unsigned first, unsigned mask);
  void release_barrier(const Fiber& last);
  std::string places() const;

  uint3 index_ = {};
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*>* ready_ = nullptr;
  std::vector<unsigned> arrived_;  // of each warp: lanes that wait at a warp primitive
  std::vector<SharedArray> shared_;
  bool predicate_ = false, released_predicate_ = false;
  unsigned threads_ = 0, num_ready_ = 0, num_done_ = 0;
};

}  // namespace simt
