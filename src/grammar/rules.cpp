#include "grammar/rules.h"

#include <algorithm>

#include "base/error.h"
#include "grammar/regex.h"

namespace sluice::grammar {
namespace {

constexpr size_t kMaxRulesBytes = 32u << 20;
constexpr uint32_t kMaxMembers = 60'000;  // index and count share a number on the stack
constexpr int kMaxChain = 1000;           // rules that begin with one another

[[noreturn]] void refuse(const std::string& what) { throw Error(ErrorCode::kUnsupported, what); }

uint32_t one_more(uint32_t depth) { return depth == kNoLimit ? kNoLimit : depth + 1; }

}  // namespace

size_t Rules::size_bytes() const {
  size_t size = sizeof(*this) + nodes.size() * sizeof(Node) + children.size() * sizeof(NodeId);
  for (const std::string& literal : literals) size += literal.size() + sizeof(literal);
  for (const Dfa& dfa : dfas) size += dfa.size_bytes();
  for (const Members& list : members) {
    size += sizeof(list) + list.named.size() * sizeof(Members::Named) +
            list.others.size() * sizeof(Members::Pair);
  }
  for (const Elements& list : elements) {
    size += sizeof(list) + list.first.size() * sizeof(Members::Pair);
  }
  return size;
}

NodeId RulesBuilder::add(Node node) {
  work_->charge(sizeof(Node) + node.count * sizeof(NodeId));
  size_ += sizeof(Node) + node.count * sizeof(NodeId);
  if (size_ > kMaxRulesBytes) refuse("the grammar is too large; make it simpler");
  rules_.nodes.push_back(node);
  return static_cast<NodeId>(rules_.nodes.size() - 1);
}

NodeId RulesBuilder::literal(std::string_view bytes) {
  if (bytes.empty()) return empty();
  size_ += bytes.size();
  work_->charge(bytes.size());
  rules_.literals.emplace_back(bytes);
  return add(
      {.kind = NodeKind::kLiteral, .index = static_cast<uint32_t>(rules_.literals.size() - 1)});
}

NodeId RulesBuilder::regular(Dfa dfa) {
  if (dfa.is_empty()) return choice({});
  dfa.find_runs(*work_);
  size_ += dfa.size_bytes();
  rules_.dfas.push_back(std::move(dfa));
  return add({.kind = NodeKind::kRegular, .index = static_cast<uint32_t>(rules_.dfas.size() - 1)});
}

NodeId RulesBuilder::sequence(const std::vector<NodeId>& parts) {
  if (parts.size() == 1) return parts[0];
  const auto index = static_cast<uint32_t>(rules_.children.size());
  rules_.children.insert(rules_.children.end(), parts.begin(), parts.end());
  return add(
      {.kind = NodeKind::kSequence, .index = index, .count = static_cast<uint32_t>(parts.size())});
}

NodeId RulesBuilder::choice(const std::vector<NodeId>& parts) {
  if (parts.size() == 1) return parts[0];
  const auto index = static_cast<uint32_t>(rules_.children.size());
  rules_.children.insert(rules_.children.end(), parts.begin(), parts.end());
  return add(
      {.kind = NodeKind::kChoice, .index = index, .count = static_cast<uint32_t>(parts.size())});
}

NodeId RulesBuilder::repeat(NodeId part, uint32_t min, uint32_t max, bool is_text) {
  const auto index = static_cast<uint32_t>(rules_.children.size());
  rules_.children.push_back(part);
  return add({.kind = NodeKind::kRepeat,
              .is_text = is_text,
              .index = index,
              .count = 1,
              .min = min,
              .max = max});
}

NodeId RulesBuilder::members(Members members) {
  size_ += members.named.size() * sizeof(Members::Named);
  if (members.named.size() > kMaxMembers || members.min > kMaxMembers) {
    refuse("an object of the schema has too many members");
  }
  if (members.max != kNoLimit) members.max = std::min(members.max, kMaxMembers);
  uint32_t num_required = 0;
  for (size_t i = members.named.size(); i-- > 0;) {
    if (members.named[i].is_required) ++num_required;
    members.named[i].num_required = num_required;
  }
  rules_.members.push_back(std::move(members));
  return add(
      {.kind = NodeKind::kMembers, .index = static_cast<uint32_t>(rules_.members.size() - 1)});
}

NodeId RulesBuilder::elements(Elements elements) {
  size_ += elements.first.size() * sizeof(Members::Pair);
  rules_.elements.push_back(std::move(elements));
  return add(
      {.kind = NodeKind::kElements, .index = static_cast<uint32_t>(rules_.elements.size() - 1)});
}

NodeId RulesBuilder::reference() { return add({.kind = NodeKind::kReference, .index = kNoLimit}); }

void RulesBuilder::bind(NodeId reference, NodeId target) { rules_.nodes[reference].index = target; }

NodeId RulesBuilder::text_characters(uint32_t min, uint32_t max) {
  if (character_ == kNoLimit) {
    Nfa nfa(*work_);
    const int from = nfa.add_state();
    const int to = nfa.add_state();
    nfa.add_characters(from, CodeSet{{0x20, kLastCode}}.without({{'"', '"'}, {'\\', '\\'}}),
                       CharSpelling::kPlain, to);
    constexpr std::string_view kEscapes =
        R"(\\(["\\/bfnrt]|u([0-9A-CEFa-cef][0-9A-Fa-f]{3}|[Dd][0-7][0-9A-Fa-f]{2}|)"
        R"([Dd][89ABab][0-9A-Fa-f]{2}\\u[Dd][C-Fc-f][0-9A-Fa-f]{2})))";
    add_regex(nfa, parse_regex(kEscapes, *work_), CharSpelling::kPlain, from, to);
    character_ = regular(Dfa::from_nfa(nfa, to));
  }
  return repeat(character_, min, max, true);
}

uint32_t RulesBuilder::depth_of(const Node& node) const {
  const auto depth = [&](NodeId id) { return rules_.nodes[id].min_depth; };
  const auto child = [&](uint32_t i) { return rules_.children[node.index + i]; };
  switch (node.kind) {
    case NodeKind::kLiteral:
      return 1;
    case NodeKind::kRegular:
      return rules_.dfas[node.index].is_accepting(0) ? 0 : 1;
    case NodeKind::kReference:
      return node.index == kNoLimit ? kNoLimit : depth(node.index);
    case NodeKind::kSequence: {
      uint32_t most = 0;
      for (uint32_t i = 0; i < node.count; ++i) most = std::max(most, depth(child(i)));
      return most == 0 ? 0 : one_more(most);
    }
    case NodeKind::kChoice: {
      uint32_t least = kNoLimit;
      for (uint32_t i = 0; i < node.count; ++i) least = std::min(least, depth(child(i)));
      return least;
    }
    case NodeKind::kRepeat: {
      if (node.min == 0) return 0;
      const uint32_t once = depth(child(0));
      return once == 0 ? 0 : one_more(once);
    }
    case NodeKind::kMembers: {
      const Members& members = rules_.members[node.index];
      uint32_t most = 0, num_required = 0, most_of_all = 0;
      for (const Members::Named& member : members.named) {
        const uint32_t own = std::max(depth(member.nodes.first), depth(member.nodes.next));
        if (member.is_required) most = std::max(most, own);
        if (member.is_required) ++num_required;
        most_of_all = std::max(most_of_all, own);
      }
      for (const Members::Pair& pair : members.others) {
        most_of_all = std::max(most_of_all, std::max(depth(pair.first), depth(pair.next)));
      }
      if (members.min > num_required) most = most_of_all;
      return most == 0 ? 0 : one_more(most);
    }
    case NodeKind::kElements: {
      const Elements& elements = rules_.elements[node.index];
      uint32_t most = 0;
      for (size_t i = 0; i < std::min<size_t>(elements.min, elements.first.size()); ++i) {
        most = std::max(most, depth(i == 0 ? elements.first[i].first : elements.first[i].next));
      }
      if (elements.min > elements.first.size()) {
        if (elements.rest.empty()) return kNoLimit;
        most = std::max(most, depth(elements.rest[0].next));
      }
      return most == 0 ? 0 : one_more(most);
    }
  }
  return kNoLimit;
}

// From the leaves up, again for those that name what has become less.
void RulesBuilder::find_depths() {
  std::vector<std::vector<NodeId>> users(rules_.nodes.size());
  for (NodeId id = 0; id < rules_.nodes.size(); ++id) {
    for_each_child(rules_, rules_.nodes[id], [&](NodeId child) { users[child].push_back(id); });
  }
  std::vector<NodeId> queue(rules_.nodes.size());
  std::vector<bool> is_queued(rules_.nodes.size(), true);
  for (NodeId id = 0; id < queue.size(); ++id) queue[id] = id;
  for (size_t i = 0; i < queue.size(); ++i) {
    const NodeId id = queue[i];
    is_queued[id] = false;
    Node& node = rules_.nodes[id];
    work_->charge(32 + node.count * 8);
    const uint32_t depth = depth_of(node);
    if (depth >= node.min_depth) continue;
    node.min_depth = depth;
    for (const NodeId user : users[id]) {
      if (is_queued[user]) continue;
      is_queued[user] = true;
      queue.push_back(user);
    }
  }
}

// A rule that begins with itself would be entered for ever.
void RulesBuilder::check_recursion() const {
  enum class Mark : uint8_t { kNew, kOpen, kDone };
  std::vector<Mark> marks(rules_.nodes.size());
  std::vector<int> chains(rules_.nodes.size());  // longest chain of nodes that begin with the next
  struct Visit {
    NodeId id;
    std::vector<NodeId> next;
  };
  std::vector<Visit> stack;
  const auto open = [&](NodeId id) {
    const Node& node = rules_.nodes[id];
    Visit visit{id, {}};
    if (node.kind == NodeKind::kSequence) {
      for (uint32_t i = 0; i < node.count; ++i) {
        visit.next.push_back(rules_.children[node.index + i]);
        if (rules_.nodes[visit.next.back()].min_depth != 0) break;
      }
    } else {
      for_each_child(rules_, node, [&](NodeId child) { visit.next.push_back(child); });
    }
    marks[id] = Mark::kOpen;
    work_->charge(32 + visit.next.size() * 8);
    stack.push_back(std::move(visit));
  };
  for (NodeId root = 0; root < rules_.nodes.size(); ++root) {
    if (marks[root] == Mark::kNew) open(root);
    while (!stack.empty()) {
      Visit& visit = stack.back();
      if (visit.next.empty()) {
        const int chain = chains[visit.id] + 1;
        if (chain > kMaxChain) refuse("the grammar's rules name one another too deeply");
        marks[visit.id] = Mark::kDone;
        stack.pop_back();
        if (!stack.empty()) {
          chains[stack.back().id] = std::max(chains[stack.back().id], chain);
        }
        continue;
      }
      const NodeId child = visit.next.back();
      visit.next.pop_back();
      if (marks[child] == Mark::kOpen) {
        refuse(
            "a rule of the grammar begins with itself (left recursion); write it as a repetition");
      }
      if (marks[child] == Mark::kDone) {
        chains[visit.id] = std::max(chains[visit.id], chains[child] + 1);
      } else {
        open(child);
      }
    }
  }
}

Rules RulesBuilder::build(NodeId root) {
  rules_.root = root;
  find_depths();
  for (Node& node : rules_.nodes) {
    if (node.kind == NodeKind::kRepeat && node.min_depth == 0) node.min = 0;
  }
  check_recursion();
  if (rules_.nodes[root].min_depth > kMaxStack) {
    refuse(rules_.nodes[root].min_depth == kNoLimit
               ? "nothing can satisfy this schema or grammar"
               : "every text of this schema or grammar nests too deeply");
  }
  return std::move(rules_);
}

}  // namespace sluice::grammar
