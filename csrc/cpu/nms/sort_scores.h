// Sorts candidates by score, high to low; equal scores stay in their order.
#pragma once

#include <cstdint>
#include <utility>

#include "math/half.h"
#include "math/suppress.h"

namespace fcos_ops::cpu::suppression {

template <class Score>
using ScoreKey = decltype(math::descending_key(math::Real<Score>()));

template <class Key>
struct ScoredIndex {
  Key key;
  std::uint32_t index;
};

// Radix sort from the lowest byte up, between `entries` and `spare`; returns the one that holds the
// result. Bytes in which all keys agree (most of the exponent) cost nothing.
template <class Key>
ScoredIndex<Key>* sort_by_key(ScoredIndex<Key>* entries, ScoredIndex<Key>* spare,
                              std::int64_t count) {
  constexpr int kBytes = sizeof(Key);
  std::uint32_t position[kBytes][256] = {};
  for (std::int64_t i = 0; i < count; ++i) {
    for (int b = 0; b < kBytes; ++b) ++position[b][(entries[i].key >> (8 * b)) & 255];
  }
  for (int b = 0; b < kBytes; ++b) {
    if (position[b][(entries[0].key >> (8 * b)) & 255] == count) continue;
    std::uint32_t start = 0;
    for (std::uint32_t& p : position[b]) start += std::exchange(p, start);
    for (std::int64_t i = 0; i < count; ++i) {
      spare[position[b][(entries[i].key >> (8 * b)) & 255]++] = entries[i];
    }
    std::swap(entries, spare);
  }
  return entries;
}

// Writes to `order` the indices of the scores above `threshold` (NaN: of all), best first, and
// returns how many there are. NaN scores are left out. count < 2^31; `entries` and `spare` hold
// `count` entries each.
template <class Score>
std::int64_t order_by_score(const Score* scores, std::int64_t count, double threshold,
                            ScoredIndex<ScoreKey<Score>>* entries,
                            ScoredIndex<ScoreKey<Score>>* spare, std::int32_t* order) {
  const auto limit = static_cast<math::Real<Score>>(threshold);
  std::int64_t found = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto score = math::to_real(scores[i]);
    entries[found] = {math::descending_key(score), static_cast<std::uint32_t>(i)};
    found += score == score && !(score <= limit);
  }
  if (found == 0) return 0;
  const auto* sorted = sort_by_key(entries, spare, found);
  for (std::int64_t i = 0; i < found; ++i) order[i] = static_cast<std::int32_t>(sorted[i].index);
  return found;
}

}  // namespace fcos_ops::cpu::suppression
