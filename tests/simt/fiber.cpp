#include "simt/fiber.h"

#include <cstdint>
#include <cstring>

namespace simt {

#if defined(__x86_64__)
// Pushes what the System V calling convention makes a function keep, changes stacks, pops.
extern "C" void simt_switch(void** from, void* to);
asm(R"(
.text
.globl simt_switch
.hidden simt_switch
.type simt_switch, @function
simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size simt_switch, .-simt_switch
)");
#endif

namespace {

#if defined(__SANITIZE_ADDRESS__)
// The stack of the operating system's thread, learned when a fiber first runs.
thread_local const void* thread_stack = nullptr;
thread_local std::size_t thread_stack_size = 0;
#endif

}  // namespace

void Context::start(void (*entry)(), std::byte* stack) {
  stack_ = stack;
  fake_stack_ = nullptr;
#if defined(__x86_64__)
  // As if simt_switch had been called from a function whose return address is `entry`; on entry to
  // a function the stack is 8 bytes off a multiple of 16.
  auto top = reinterpret_cast<std::uintptr_t>(stack + kStackSize) & ~std::uintptr_t{15};
  void* frame[8] = {};  // six registers, the entry, and the return address of the entry
  std::memcpy(&frame[6], &entry, sizeof(entry));
  stack_pointer_ = reinterpret_cast<void*>(top - sizeof(frame));
  std::memcpy(stack_pointer_, frame, sizeof(frame));
#else
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack;
  context_.uc_stack.ss_size = kStackSize;
  context_.uc_link = nullptr;
  makecontext(&context_, entry, 0);
#endif
}

void Context::switch_to(Context& next, [[maybe_unused]] bool last) {
#if defined(__SANITIZE_ADDRESS__)
  const void* const stack = next.stack_ ? static_cast<const void*>(next.stack_) : thread_stack;
  const std::size_t size = next.stack_ ? kStackSize : thread_stack_size;
  __sanitizer_start_switch_fiber(last ? nullptr : &fake_stack_, stack, size);
#endif
#if defined(__x86_64__)
  simt_switch(&stack_pointer_, next.stack_pointer_);
#else
  swapcontext(&context_, &next.context_);
#endif
  resumed();
}

void Context::resumed() {
#if defined(__SANITIZE_ADDRESS__)
  const void* from = nullptr;
  std::size_t size = 0;
  __sanitizer_finish_switch_fiber(fake_stack_, &from, &size);
  if (stack_ != nullptr && thread_stack == nullptr) {
    thread_stack = from;
    thread_stack_size = size;
  }
#endif
}

}  // namespace simt
