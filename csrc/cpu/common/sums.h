// Sums of losses. A long sum of many equal floats would round each partial sum the same way.
#pragma once

#include <cstdint>

#include "cpu/common/isa.h"
#include "cpu/common/levels.h"
#include "cpu/common/parallel.h"
#include "math/qualifiers.h"

namespace fcos_ops::cpu {

// Loops add up losses in their own type by blocks of this many, and blocks in double: each lane of
// a vector of floats then adds 32.
inline std::int32_t sum_block() {
  switch (instruction_set()) {
    case InstructionSet::kAvx512:
      return 512;
    case InstructionSet::kAvx2:
      return 256;
    case InstructionSet::kBaseline:
      break;
  }
  return 128;
}

struct SumLoop {
  template <class Real>
  static FCOS_HD double run(const Real* __restrict__ values, std::int32_t count) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int32_t i = 0; i < count; ++i) sum += values[i];
    return sum;
  }
};

// The sum of an array, for loops that leave their losses in one anyway.
template <class Real>
double sum_of(const Real* values, std::int32_t count) {
  return run_best<SumLoop>(values, count);
}

// Threads take the runs: body(run, its first row among those of all images) returns the loss of
// one, which goes to `partials`. Their sum goes to `loss_sum`, a Real, unless that is null.
template <class Real, class Runs, class Body>
void sum_over_runs(const Runs& runs, std::int32_t num_threads, double* partials, void* loss_sum,
                   const Body& body) {
  parallel_for(runs.count(), num_threads, [&](std::int64_t i) {
    const LocationRun run = runs[i];
    partials[i] = body(run, run.batch * runs.rows() + run.first_row);
  });
  if (loss_sum == nullptr) return;
  double total = 0;
  for (std::int64_t i = 0; i < runs.count(); ++i) total += partials[i];
  *static_cast<Real*>(loss_sum) = static_cast<Real>(total);
}

}  // namespace fcos_ops::cpu
