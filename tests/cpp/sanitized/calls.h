// Calls of an op with valid arguments, or, if is_hostile, with broken ones.
#pragma once

#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <typeinfo>

#include "breaks.h"

namespace fuzz {

inline constexpr unsigned kSeconds = 20;  // until a call that does not return ends the program

[[noreturn]] inline void fail(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::abort();
}

inline void require(const fcos_ops::Status& status) {
  if (!status.ok()) fail("unexpected status " + std::to_string(status.code) + status.message);
}

inline void break_workspace(Breaks& breaks, fcos_ops::Workspace& workspace) {
  if (workspace.size == 0) return;
  breaks.pointer("workspace", workspace.data, true);
  breaks.add("workspace is short", true, [&workspace] { workspace.size -= 1; });
  breaks.add("workspace is misaligned", true, [&workspace] {
    workspace.data = reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(workspace.data) | 1);
  });
}

// One to three of the breaks, what is ruled out last, so that none of it is made good again. Their
// names, and whether any is ruled out.
inline Break apply_some(Random& random, const Breaks& breaks) {
  std::vector<Break> chosen;
  for (std::int64_t i = random.chance(0.7) ? 1 : random.integer(2, 3); i > 0; --i) {
    const auto last = static_cast<std::int64_t>(breaks.list.size()) - 1;
    chosen.push_back(breaks.list[static_cast<std::size_t>(random.integer(0, last))]);
  }
  std::partition(chosen.begin(), chosen.end(), [](const Break& one) { return !one.ruled_out; });
  Break all = {"", chosen.back().ruled_out, nullptr};
  for (const Break& one : chosen) {
    one.apply();
    all.name += one.name + "; ";
  }
  return all;
}

template <class Args, class Query, class Op>
void call_broken(Random& random, const Args& valid, const Query& query, const Op& op,
                 fcos_ops::Context context) {
  constexpr std::int32_t kThreads[] = {0, -7, INT32_MIN, 16};  // which are all right
  if (random.chance(0.2)) context.num_threads = kThreads[random.integer(0, 3)];
  Args args = valid;
  Breaks breaks(random);
  list_breaks(breaks, args);
#if !defined(FCOS_OPS_SIMT)  // where any device is the host
  breaks.field("device", context.device, {3, -2, INT32_MAX, INT32_MIN});
#endif
  Scratch scratch(query(args, context) + 16);  // the last bytes are for one that is misaligned
  fcos_ops::Workspace workspace = {scratch.memory.data(), scratch.memory.size() - 16};
  break_workspace(breaks, workspace);
  const Break broken = apply_some(random, breaks);
  alarm(kSeconds);
  const std::size_t size = query(args, context);
  if (size != 0 && size != query(valid, context))
    fail(typeid(Args).name() + (" asks for another workspace: " + broken.name));
  const fcos_ops::Status status = op(args, workspace, context);
  alarm(0);
  if (status.ok() && broken.ruled_out) fail(typeid(Args).name() + (" accepted: " + broken.name));
}

// `list_breaks(breaks, args)` lists what breaks the arguments.
template <class Args, class Query, class Op>
void call(Random& random, const Args& args, const Query& query, const Op& op) {
  const fcos_ops::Context context = random.context();
  if (is_hostile) {
    for (int i = 0; i < 8; ++i) call_broken(random, args, query, op, context);
    return;
  }
  Scratch scratch(query(args, context));
  require(op(args, scratch.workspace(), context));
}

// Calls an op again and again while another thread writes its offsets, wild numbers and right ones.
// What it returns then is of no interest.
template <class Args, class Query, class Op>
void call_while_written(const Args& args, const Query& query, const Op& op, Array& offsets) {
  std::vector<std::int64_t> right;
  for (std::int64_t i = 0; i < offsets.count(); ++i) right.push_back(offsets.get_integer(i));
  std::atomic<bool> done = false;
  std::thread writer([&] {
    constexpr std::int64_t kWild[] = {INT32_MAX, -1, 1 << 20, 0};
    for (std::int64_t round = 0; !done; ++round) {
      const std::int64_t i = round % offsets.count();
      offsets.set_integer(i, kWild[round % 4]);
      std::this_thread::yield();
      offsets.set_integer(i, right[static_cast<std::size_t>(i)]);
      std::this_thread::yield();
    }
  });
  const fcos_ops::Context context = {kDevice, nullptr, 2};
  Scratch scratch(query(args, context));
  for (int i = 0; i < 30; ++i) op(args, scratch.workspace(), context);
  done = true;
  writer.join();
}

// Of an op that has no workspace.
template <class Args, class Op>
void call(Random& random, const Args& args, const Op& op) {
  call(
      random, args, [](const Args&, const fcos_ops::Context&) { return std::size_t{0}; },
      [&](const Args& broken, fcos_ops::Workspace, const fcos_ops::Context& context) {
        return op(broken, context);
      });
}

}  // namespace fuzz
