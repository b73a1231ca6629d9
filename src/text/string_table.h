#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace sluice::text {

// Hash tables of a vocabulary: built once, then read by many threads. Open addressing, at most half
// full. The keys come from a model file, so a chain that only a crafted file can have is an error.
inline constexpr size_t kMaxProbes = 1024;

inline uint64_t mix(uint64_t value) {
  value *= 0x9E3779B97F4A7C15u;
  return value ^ value >> 32;
}

inline uint64_t hash_bytes(std::string_view bytes) {
  const auto load = [&bytes](auto word, size_t offset) -> uint64_t {
    std::memcpy(&word, bytes.data() + offset, sizeof(word));
    return word;
  };
  const size_t size = bytes.size();
  uint64_t hash = size;
  size_t i = 0;
  for (; i + 8 <= size; i += 8) hash = mix(hash ^ load(uint64_t{}, i));
  const size_t rest = size - i;
  if (rest >= 4) {
    hash = mix(hash ^ (load(uint32_t{}, i) | load(uint32_t{}, size - 4) << 32));
  } else if (rest > 0) {
    hash = mix(hash ^ (load(uint8_t{}, i) | load(uint8_t{}, i + rest / 2) << 8 |
                       load(uint8_t{}, size - 1) << 16));
  }
  return mix(hash);
}

// From strings to their index in a list that outlives the table.
class StringTable {
 public:
  StringTable() = default;
  // Of equal strings the first counts; empty ones are left out. Throws Error(kCorruptData).
  explicit StringTable(const std::vector<std::string_view>& keys)
      : keys_(keys.data()), slots_(std::bit_ceil(keys.size() * 2 + 2)), mask_(slots_.size() - 1) {
    for (size_t i = 0; i < keys.size(); ++i) {
      if (!keys[i].empty()) insert(static_cast<int32_t>(i));
    }
  }

  int32_t find(std::string_view key) const {  // -1 when absent
    const uint64_t hash = hash_bytes(key);
    for (size_t i = hash & mask_;; i = (i + 1) & mask_) {
      const Slot slot = slots_[i];
      if (slot.index < 0) return -1;
      if (slot.tag == tag_of(hash) && keys_[slot.index] == key) return slot.index;
    }
  }

 private:
  struct Slot {
    uint32_t tag = 0;
    int32_t index = -1;
  };
  static uint32_t tag_of(uint64_t hash) { return static_cast<uint32_t>(hash >> 32); }

  void insert(int32_t index) {
    const uint64_t hash = hash_bytes(keys_[index]);
    size_t probes = 0;
    for (size_t i = hash & mask_;; i = (i + 1) & mask_) {
      Slot& slot = slots_[i];
      if (slot.index < 0) {
        slot = {tag_of(hash), index};
        return;
      }
      if (slot.tag == tag_of(hash) && keys_[slot.index] == keys_[index]) return;
      if (++probes > kMaxProbes) {
        throw Error(ErrorCode::kCorruptData, "the vocabulary's tokens collide: not a real one");
      }
    }
  }

  const std::string_view* keys_ = nullptr;
  std::vector<Slot> slots_ = std::vector<Slot>(1);
  size_t mask_ = 0;
};

// What two adjacent symbols merge into: smaller priority first; id -1 when they do not merge.
struct Merge {
  uint32_t priority = 0;
  int32_t id = -1;
};

// From pairs of token ids to their merge.
class MergeTable {
 public:
  explicit MergeTable(size_t num_merges)
      : slots_(std::bit_ceil(num_merges * 2 + 2)), mask_(slots_.size() - 1) {}

  // Of equal pairs the first counts. Throws Error(kCorruptData).
  void insert(int32_t left, int32_t right, Merge merge) {
    const uint64_t key = key_of(left, right);
    size_t probes = 0;
    for (size_t i = mix(key) & mask_;; i = (i + 1) & mask_) {
      Slot& slot = slots_[i];
      if (slot.merge.id < 0) slot = {key, merge};
      if (slot.key == key) return;
      if (++probes > kMaxProbes) {
        throw Error(ErrorCode::kCorruptData, "the vocabulary's merges collide: not a real one");
      }
    }
  }

  Merge find(int32_t left, int32_t right) const {  // ids of tokens, or -1
    const uint64_t key = key_of(left, right);
    for (size_t i = mix(key) & mask_;; i = (i + 1) & mask_) {
      const Slot& slot = slots_[i];
      if (slot.merge.id < 0 || slot.key == key) return slot.merge;
    }
  }

 private:
  struct Slot {
    uint64_t key = 0;
    Merge merge;
  };
  static uint64_t key_of(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }

  std::vector<Slot> slots_;
  size_t mask_;
};

}  // namespace sluice::text
