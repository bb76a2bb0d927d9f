// Threads of execution that switch to each other where they say so: what a CUDA thread is here.
#pragma once

#include <cstddef>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace simt {

#if defined(__SANITIZE_ADDRESS__)
inline constexpr std::size_t kStackSize = 256 * 1024;
#else
inline constexpr std::size_t kStackSize = 32 * 1024;
#endif

// The point where a fiber, or the scheduler, stopped. swapcontext saves the signal mask with two
// system calls a switch, fifty times what the registers cost; so they are saved here.
class Context {
 public:
  // Makes a context that runs entry() on the given stack. `entry` must not return.
  void start(void (*entry)(), std::byte* stack);

  // Saves the running context in *this and continues in `next`; `last` if this one never resumes.
  void switch_to(Context& next, bool last = false);

  // The first thing that a context does when it runs again.
  void resumed();

 private:
#if defined(__x86_64__)
  void* stack_pointer_ = nullptr;
#else
  ucontext_t context_;
#endif
  std::byte* stack_ = nullptr;  // null: that of the operating system's thread
  void* fake_stack_ = nullptr;
};

}  // namespace simt
