// The best k of a stream of scored candidates, in memory for about 2k.
#pragma once

#include <algorithm>
#include <cstdint>

namespace fcos_ops::cpu::detection {

template <class Real>
struct Scored {
  Real key;
  std::int64_t index;
};

// A total order, so that the best k do not depend on the order of arrival.
struct Better {
  template <class Real>
  bool operator()(const Scored<Real>& a, const Scored<Real>& b) const {
    return a.key > b.key || (a.key == b.key && a.index < b.index);
  }
};

// Drops all but the best k; returns how many are left, the last of them the worst.
template <class Real>
std::int64_t select_best(Scored<Real>* candidates, std::int64_t count, std::int64_t k) {
  if (count <= k) return count;
  std::nth_element(candidates, candidates + (k - 1), candidates + count, Better());
  return k;
}

template <class Real>
class TopCandidates {
 public:
  // The room, in candidates, that the best `k` of `total` need. The slack keeps selections rare
  // even for a small k.
  static std::int64_t capacity(std::int64_t k, std::int64_t total) {
    const std::int64_t wanted = std::min(k, total);
    return std::min(total, wanted + std::max<std::int64_t>(wanted, 1024));
  }

  // 0 < k.
  TopCandidates(Scored<Real>* memory, std::int64_t k, std::int64_t total)
      : candidates_(memory), k_(k), capacity_(capacity(k, total)) {}

  // True if candidates may have been dropped: then one worse than `worst` has no chance.
  bool full() const { return full_; }
  const Scored<Real>& worst() const { return worst_; }

  // True if `worst` has just risen.
  bool push(const Scored<Real>& candidate) {
    if (full_ && !Better()(candidate, worst_)) return false;
    candidates_[count_++] = candidate;
    if (count_ < capacity_ || count_ <= k_) return false;
    select();
    return true;
  }

  // Leaves the best k, in any order, at the start of the memory.
  std::int64_t select() {
    if (count_ > k_) {
      count_ = select_best(candidates_, count_, k_);
      worst_ = candidates_[k_ - 1];
      full_ = true;
    }
    return count_;
  }

 private:
  Scored<Real>* candidates_;
  std::int64_t k_, capacity_, count_ = 0;
  Scored<Real> worst_ = {};
  bool full_ = false;
};

}  // namespace fcos_ops::cpu::detection
