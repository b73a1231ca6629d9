#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::text {

// Finds the special tokens written in a text: leftmost first, and of those the longest. A trie;
// time is linear in the text, times the longest special token (kMaxSize) at worst.
class SpecialMatcher {
 public:
  static constexpr size_t kMaxSize = 1024;  // longer texts are left out

  struct Match {
    size_t begin = 0;
    size_t size = 0;
    int32_t id = -1;  // -1: none up to the end
  };

  SpecialMatcher() = default;
  explicit SpecialMatcher(std::vector<std::pair<std::string_view, int32_t>> tokens);

  // The first match at or after `from`.
  Match find(std::string_view text, size_t from) const;
  bool empty() const { return nodes_.empty(); }

 private:
  struct Node {
    uint32_t first_edge = 0;
    uint32_t num_edges = 0;
    int32_t id = -1;
  };
  struct Edge {
    uint8_t byte;
    uint32_t node;
  };

  const Edge* find_edge(const Node& node, uint8_t byte) const;

  std::vector<Node> nodes_;            // root first
  std::vector<Edge> edges_;            // of one node: adjacent, by byte
  std::array<bool, 256> starts_ = {};  // bytes that some token starts with
};

}  // namespace sluice::text
