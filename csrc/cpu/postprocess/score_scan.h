// Finds the logits that reach the bound of their location, and scores them.
//
// Nearly all logits of a detector stay below it: comparing is all that is done for them, in blocks
// that a compiler vectorises and that are looked at one by one only if something in them passes.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>

#include "cpu/common/isa.h"
#include "math/order.h"
#include "math/score.h"

namespace fcos_ops::cpu::detection {

// True if one of kCount values reaches its bound; kOneBound: they all have the same one.
template <std::int32_t kCount, bool kOneBound, class T>
FCOS_HD bool any_reaches(const T* __restrict__ values,
                         const math::Comparable<T>* __restrict__ bounds) {
  // The sum is as wide as the values compared, so that it stays in the same vectors.
  using Count = std::conditional_t<sizeof(T) == 2, std::int16_t,
                                   std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>>;
  Count count = 0;
#pragma omp simd reduction(+ : count)
  for (std::int32_t i = 0; i < kCount; ++i) {
    count = static_cast<Count>(count + (math::comparable(values[i]) >= bounds[kOneBound ? 0 : i]));
  }
  return count != 0;
}

// A bit for each of kCount <= 64 values: 1 where it reaches its bound.
template <std::int32_t kCount, bool kOneBound, class T>
FCOS_HD std::uint64_t which_reach(const T* __restrict__ values,
                                  const math::Comparable<T>* __restrict__ bounds) {
  static_assert(kCount % 8 == 0 && kCount <= 64);
  std::uint8_t reaches[kCount];  // 0 or 1
#pragma omp simd
  for (std::int32_t i = 0; i < kCount; ++i) {
    reaches[i] = math::comparable(values[i]) >= bounds[kOneBound ? 0 : i];
  }
  std::uint64_t bits = 0;
  for (std::int32_t i = 0; i < kCount; i += 8) {
    std::uint64_t eight;
    __builtin_memcpy(&eight, reaches + i, 8);
    // Adds byte k, shifted by 7 (8 - k), for every k: the lowest bit of byte k becomes bit 56 + k.
    bits |= ((eight * 0x0102040810204080u) >> 56) << i;
  }
  return bits;
}

// The address of the next hit, and the offset that is added to its index.
struct Hits {
  std::int32_t* next;
  std::int32_t offset;
};

// Appends the hits of as many whole blocks as lie in [first, count); returns where they end.
template <std::int32_t kBlock, bool kOneBound, class T>
FCOS_HD std::int32_t scan_blocks(const T* __restrict__ values,
                                 const math::Comparable<T>* __restrict__ bounds, std::int32_t first,
                                 std::int32_t count, Hits& hits) {
  for (; first + kBlock <= count; first += kBlock) {
    const auto* const block_bounds = bounds + (kOneBound ? 0 : first);
    if (!any_reaches<kBlock, kOneBound>(values + first, block_bounds)) continue;
    auto bits = which_reach<kBlock, kOneBound>(values + first, block_bounds);
    for (; bits != 0; bits &= bits - 1) {
      *hits.next++ = hits.offset + first + __builtin_ctzll(bits);
    }
  }
  return first;
}

inline constexpr std::int32_t kShortBlock = 16;  // for what whole blocks leave of a line

// Appends the index of every value of a line that reaches its bound. May write one place beyond
// the last hit.
template <std::int32_t kBlock, bool kOneBound, class T>
FCOS_HD void scan_line(const T* __restrict__ values, const math::Comparable<T>* __restrict__ bounds,
                       std::int32_t count, Hits& hits) {
  std::int32_t first = scan_blocks<kBlock, kOneBound>(values, bounds, 0, count, hits);
  first = scan_blocks<kShortBlock, kOneBound>(values, bounds, first, count, hits);
  for (; first < count; ++first) {
    *hits.next = hits.offset + first;
    hits.next += math::comparable(values[first]) >= bounds[kOneBound ? 0 : first];
  }
}

// One channel of `count` locations, contiguous in memory: hits are locations.
struct ScanChannel {
  template <class T>
  static FCOS_HD std::int32_t run(const T* logits, const math::Comparable<T>* bounds,
                                  std::int32_t count, std::int32_t* hits) {
    Hits found = {hits, 0};
    scan_line<64, false>(logits, bounds, count, found);
    return static_cast<std::int32_t>(found.next - hits);
  }
};

// `width` channels, contiguous in memory, of each of `count` locations `stride` apart: hits are
// location * width + channel.
struct ScanRows {
  template <class T>
  static FCOS_HD std::int32_t run(const T* logits, std::int64_t stride,
                                  const math::Comparable<T>* bounds, std::int32_t count,
                                  std::int32_t width, std::int32_t* hits) {
    const auto unreachable =
        math::comparable_bound<T>(std::numeric_limits<math::Real<T>>::infinity());
    Hits found = {hits, 0};
    for (std::int32_t i = 0; i < count; ++i) {
      if (bounds[i] == unreachable) continue;  // its logits need not be read
      found.offset = i * width;
      scan_line<32, true>(logits + i * stride, bounds + i, width, found);
    }
    return static_cast<std::int32_t>(found.next - hits);
  }
};

struct SigmoidLoop {
  template <class Real>
  static FCOS_HD int run(const Real* __restrict__ logits, std::int32_t count,
                         Real* __restrict__ scores) {
#pragma omp simd
    for (std::int32_t i = 0; i < count; ++i) scores[i] = math::sigmoid_of_score(logits[i]);
    return 0;
  }
};

template <class T>
struct BoundLoop {
  static FCOS_HD int run(const math::Real<T>* __restrict__ center_scores, std::int32_t count,
                         const math::MinScore<math::Real<T>>& min_score,
                         math::Comparable<T>* __restrict__ bounds) {
#pragma omp simd
    for (std::int32_t i = 0; i < count; ++i) {
      const auto bound = math::class_logit_bound(min_score, center_scores[i]);
      bounds[i] = math::comparable_bound<T>(bound);
    }
    return 0;
  }
};

struct CombineLoop {
  template <class Real>
  static FCOS_HD int run(const Real* __restrict__ class_scores,
                         const Real* __restrict__ center_scores, std::int32_t count, ScoreKind kind,
                         Real* __restrict__ scores) {
#pragma omp simd
    for (std::int32_t i = 0; i < count; ++i) {
      scores[i] = math::combined_score(kind, class_scores[i], center_scores[i]);
    }
    return 0;
  }
};

}  // namespace fcos_ops::cpu::detection
