#include "text/special_matcher.h"

#include <algorithm>
#include <utility>

namespace sluice::text {

SpecialMatcher::SpecialMatcher(std::vector<Token> tokens) {
  std::erase_if(tokens, [](const Token& t) { return t.text.empty() || t.text.size() > kMaxSize; });
  if (tokens.empty()) return;
  std::sort(tokens.begin(), tokens.end(), [](const Token& a, const Token& b) {
    return std::pair(a.text, a.id) < std::pair(b.text, b.id);
  });

  // Breadth first: a node is a range of the sorted tokens that share `depth` bytes.
  struct Range {
    size_t begin;
    size_t end;
    size_t depth;
  };
  std::vector<Range> ranges = {{0, tokens.size(), 0}};
  nodes_.emplace_back();
  for (size_t i = 0; i < ranges.size(); ++i) {
    auto [begin, end, depth] = ranges[i];
    if (tokens[begin].text.size() == depth) {
      nodes_[i].id = tokens[begin].id;
      nodes_[i].is_user_defined = tokens[begin].is_user_defined;
    }
    while (begin < end && tokens[begin].text.size() == depth) ++begin;
    nodes_[i].first_edge = static_cast<uint32_t>(edges_.size());
    while (begin < end) {
      const char byte = tokens[begin].text[depth];
      size_t next = begin;
      while (next < end && tokens[next].text[depth] == byte) ++next;
      edges_.push_back({static_cast<uint8_t>(byte), static_cast<uint32_t>(nodes_.size())});
      nodes_.emplace_back();
      ranges.push_back({begin, next, depth + 1});
      begin = next;
    }
    nodes_[i].num_edges = static_cast<uint32_t>(edges_.size()) - nodes_[i].first_edge;
  }
  for (size_t i = 0; i < nodes_[0].num_edges; ++i) starts_[edges_[i].byte] = true;
}

const SpecialMatcher::Edge* SpecialMatcher::find_edge(const Node& node, uint8_t byte) const {
  const Edge* begin = edges_.data() + node.first_edge;
  const Edge* end = begin + node.num_edges;
  const Edge* edge =
      std::lower_bound(begin, end, byte, [](const Edge& e, uint8_t b) { return e.byte < b; });
  return edge != end && edge->byte == byte ? edge : nullptr;
}

SpecialMatcher::Match SpecialMatcher::match_at(std::string_view text, size_t begin,
                                               size_t trusted_end) const {
  Match match;
  const Node* node = &nodes_[0];
  for (size_t i = begin; i < text.size(); ++i) {
    const Edge* edge = find_edge(*node, static_cast<uint8_t>(text[i]));
    if (!edge) break;
    node = &nodes_[edge->node];
    if (node->id >= 0 && (node->is_user_defined || i < trusted_end)) {
      match = {begin, i + 1 - begin, node->id};
    }
  }
  return match;
}

}  // namespace sluice::text
