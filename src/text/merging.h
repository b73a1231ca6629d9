#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "text/string_table.h"

namespace sluice::text {

// A stretch of a piece that is one token so far (id -1: none yet).
struct Symbol {
  uint32_t begin = 0;
  uint32_t size = 0;
  int32_t id = -1;
  int32_t previous = -1;  // used while merging only
  int32_t next = -1;
};

// Byte-pair merging: of all adjacent symbols the pair with the smallest priority merges, the
// leftmost of equals, until none does. `find(left, right)` gives the Merge of two symbols.
// Pieces of a few symbols are searched directly; long ones with a heap, in O(n log n).
class Merger {
 public:
  std::vector<Symbol> symbols;  // in: the first symbols; out: the merged ones

  template <typename Find>
  void run(Find find) {
    if (symbols.size() <= kShort) {
      merge_short(find);
    } else {
      merge_long(find);
    }
  }

 private:
  static constexpr size_t kShort = 32;

  struct Candidate {
    uint64_t order;  // priority, then position of the left symbol
    uint32_t size;   // of both: differs once either has merged with another
    int32_t id;
    bool operator<(const Candidate& other) const { return order > other.order; }  // min-heap
  };

  template <typename Find>
  void merge_short(Find find) {
    std::array<Merge, kShort> merges;
    size_t count = symbols.size();
    for (size_t i = 0; i + 1 < count; ++i) merges[i] = find(symbols[i], symbols[i + 1]);
    while (count > 1) {
      size_t best = count;
      for (size_t i = 0; i + 1 < count; ++i) {
        if (merges[i].id < 0) continue;
        if (best == count || merges[i].priority < merges[best].priority) best = i;
      }
      if (best == count) break;
      symbols[best].size += symbols[best + 1].size;
      symbols[best].id = merges[best].id;
      std::copy(symbols.begin() + best + 2, symbols.begin() + count, symbols.begin() + best + 1);
      std::copy(merges.begin() + best + 1, merges.begin() + count - 1, merges.begin() + best);
      --count;
      if (best > 0) merges[best - 1] = find(symbols[best - 1], symbols[best]);
      if (best + 1 < count) merges[best] = find(symbols[best], symbols[best + 1]);
    }
    symbols.resize(count);
  }

  template <typename Find>
  void push(int32_t left, Find find) {
    if (left < 0 || symbols[left].next < 0) return;
    const Symbol& right = symbols[symbols[left].next];
    const Merge merge = find(symbols[left], right);
    if (merge.id < 0) return;
    heap_.push_back({static_cast<uint64_t>(merge.priority) << 32 | static_cast<uint32_t>(left),
                     symbols[left].size + right.size, merge.id});
    std::push_heap(heap_.begin(), heap_.end());
  }

  template <typename Find>
  void merge_long(Find find) {
    const auto count = static_cast<int32_t>(symbols.size());
    for (int32_t i = 0; i < count; ++i) {
      symbols[i].previous = i - 1;
      symbols[i].next = i + 1 < count ? i + 1 : -1;
    }
    heap_.clear();
    for (int32_t i = 0; i + 1 < count; ++i) push(i, find);
    while (!heap_.empty()) {
      const Candidate candidate = heap_.front();
      std::pop_heap(heap_.begin(), heap_.end());
      heap_.pop_back();
      const auto position = static_cast<int32_t>(candidate.order & UINT32_MAX);
      Symbol& left = symbols[position];
      if (left.size == 0 || left.next < 0) continue;
      Symbol& right = symbols[left.next];
      if (left.size + right.size != candidate.size) continue;
      left.size = candidate.size;
      left.id = candidate.id;
      left.next = right.next;
      right.size = 0;
      if (left.next >= 0) symbols[left.next].previous = position;
      push(left.previous, find);
      push(position, find);
    }
    std::erase_if(symbols, [](const Symbol& symbol) { return symbol.size == 0; });
  }

  std::vector<Candidate> heap_;
};

}  // namespace sluice::text
