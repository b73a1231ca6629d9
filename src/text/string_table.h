#pragma once

#include <algorithm>
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

// From strings to their index in a list that outlives the table. A slot holds the first bytes of
// its key, so that looking up a short one touches nothing else.
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

  // Starts loading the slot of a key that will be looked up soon.
  void prefetch(std::string_view key) const {
    __builtin_prefetch(&slots_[hash_bytes(key) & mask_]);
  }

  int32_t find(std::string_view key) const {  // -1 when absent
    const uint64_t hash = hash_bytes(key);
    const Slot wanted = make_slot(key, hash, -1);
    for (size_t i = hash & mask_;; i = (i + 1) & mask_) {
      const Slot& slot = slots_[i];
      if (slot.index < 0 || is_key(slot, wanted, key)) return slot.index;
    }
  }

 private:
  static constexpr size_t kPrefixSize = 8;

  struct Slot {
    uint32_t tag = 0;  // 24 bits of the hash, then the size up to 255
    int32_t index = -1;
    uint64_t prefix = 0;  // first bytes of the key, then zeros
  };

  static Slot make_slot(std::string_view key, uint64_t hash, int32_t index) {
    const auto size = static_cast<uint32_t>(std::min<size_t>(key.size(), 255));
    return {static_cast<uint32_t>(hash >> 32 & 0xFFFFFF00u) | size, index, load_prefix(key)};
  }

  static uint64_t load_prefix(std::string_view key) {
    uint64_t prefix = 0;
    if (key.size() >= kPrefixSize) {
      std::memcpy(&prefix, key.data(), kPrefixSize);
    } else {
      for (size_t i = 0; i < key.size(); ++i) {
        prefix |= static_cast<uint64_t>(static_cast<uint8_t>(key[i])) << (8 * i);
      }
    }
    return prefix;
  }

  bool is_key(const Slot& slot, const Slot& wanted, std::string_view key) const {
    return slot.tag == wanted.tag && slot.prefix == wanted.prefix &&
           (key.size() <= kPrefixSize || keys_[slot.index] == key);
  }

  void insert(int32_t index) {
    const std::string_view key = keys_[index];
    const uint64_t hash = hash_bytes(key);
    const Slot wanted = make_slot(key, hash, index);
    size_t probes = 0;
    for (size_t i = hash & mask_;; i = (i + 1) & mask_) {
      Slot& slot = slots_[i];
      if (slot.index < 0) {
        slot = wanted;
        return;
      }
      if (is_key(slot, wanted, key)) return;
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

  void prefetch(int32_t left, int32_t right) const {
    __builtin_prefetch(&slots_[mix(key_of(left, right)) & mask_]);
  }

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
