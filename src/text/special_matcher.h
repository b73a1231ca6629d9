#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace sluice::text {

// Finds the special tokens written in a text: leftmost first, and of those the longest.
// User-defined ones may stand anywhere, the others only in trusted text. A trie; time is linear in
// the text, times the longest special token (kMaxSize) at worst.
class SpecialMatcher {
 public:
  static constexpr size_t kMaxSize = 1024;  // longer texts are left out

  struct Token {
    std::string_view text;
    int32_t id = 0;
    bool is_user_defined = false;
  };
  struct Match {
    size_t begin = 0;
    size_t size = 0;
    int32_t id = -1;  // -1: none up to the end
  };

  SpecialMatcher() = default;
  explicit SpecialMatcher(std::vector<Token> tokens);

  // The first match at or after `from`. `trusted_end(position)`: where the trusted text that
  // `position` lies in ends; `position` itself when it lies in none.
  template <typename TrustedEnd>
  Match find(std::string_view text, size_t from, TrustedEnd trusted_end) const {
    for (size_t begin = from; !nodes_.empty() && begin < text.size(); ++begin) {
      if (!starts_[static_cast<uint8_t>(text[begin])]) continue;
      const Match match = match_at(text, begin, trusted_end(begin));
      if (match.id >= 0) return match;
    }
    return {text.size(), 0, -1};
  }

 private:
  struct Node {
    uint32_t first_edge = 0;
    uint32_t num_edges = 0;
    int32_t id = -1;
    bool is_user_defined = false;
  };
  struct Edge {
    uint8_t byte;
    uint32_t node;
  };

  Match match_at(std::string_view text, size_t begin, size_t trusted_end) const;
  const Edge* find_edge(const Node& node, uint8_t byte) const;

  std::vector<Node> nodes_;            // root first
  std::vector<Edge> edges_;            // of one node: adjacent, by byte
  std::array<bool, 256> starts_ = {};  // bytes that some token starts with
};

}  // namespace sluice::text
