// Arrays of a workspace that start on cache lines, wherever the workspace starts.
#pragma once

#include "common/workspace.h"

namespace fcos_ops::cpu {

class CacheLineArena : public WorkspaceArena<64> {
 public:
  explicit CacheLineArena(void* memory) : WorkspaceArena(next_line(memory)) {}

  // Bytes that suffice wherever the memory starts.
  std::size_t used() const { return size() + kLine; }

 private:
  static constexpr std::size_t kLine = 64;

  static void* next_line(void* memory) {
    const std::size_t beyond = reinterpret_cast<std::uintptr_t>(memory) % kLine;
    return static_cast<std::byte*>(memory) + (kLine - beyond) % kLine;
  }
};

}  // namespace fcos_ops::cpu
