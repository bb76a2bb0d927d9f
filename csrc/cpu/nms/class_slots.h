// Numbers the distinct class ids among some candidates 0, 1, 2, ...
#pragma once

#include <algorithm>
#include <cstdint>

namespace fcos_ops::cpu::suppression {

// The finaliser of MurmurHash3: neighbouring ids spread over all 64 bits.
inline std::uint64_t mixed(std::uint64_t id) {
  id = (id ^ (id >> 33)) * 0xff51afd7ed558ccdu;
  id = (id ^ (id >> 33)) * 0xc4ceb9fe1a85ec53u;
  return id ^ (id >> 33);
}

// slots[k] becomes the number of the id of candidate order[k], sizes[slot] how many candidates have
// it; returns how many ids there are. A hash table with linear probing, of 2 * count entries in
// `table`; an entry is 1 + the first candidate k with that id. count < 2^31.
template <class Id>
std::int32_t number_classes(const Id* ids, const std::int32_t* order, std::int64_t count,
                            std::int32_t* table, std::int32_t* slots, std::int32_t* sizes) {
  const auto table_size = static_cast<std::uint64_t>(2 * count);
  std::fill(table, table + table_size, 0);
  std::int32_t found = 0;
  for (std::int64_t k = 0; k < count; ++k) {
    const Id id = ids[order[k]];
    std::uint64_t entry = ((mixed(static_cast<std::uint64_t>(id)) >> 32) * table_size) >> 32;
    while (table[entry] != 0 && ids[order[table[entry] - 1]] != id) {
      if (++entry == table_size) entry = 0;
    }
    if (table[entry] == 0) {
      table[entry] = static_cast<std::int32_t>(k) + 1;
      slots[k] = found;
      sizes[found++] = 0;
    } else {
      slots[k] = slots[table[entry] - 1];
    }
    ++sizes[slots[k]];
  }
  return found;
}

}  // namespace fcos_ops::cpu::suppression
