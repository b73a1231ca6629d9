#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "base/work.h"
#include "grammar/dfa.h"

// A context-free grammar over bytes as data. automaton.h runs it.
namespace sluice::grammar {

using NodeId = uint32_t;
inline constexpr uint32_t kNoLimit = std::numeric_limits<uint32_t>::max();

enum class NodeKind : uint8_t {
  kLiteral,    // bytes
  kRegular,    // a regular language
  kSequence,   // all children in order
  kChoice,     // one of the children
  kRepeat,     // the child, from min to max times
  kReference,  // another node: what makes recursion
  kMembers,    // what stands in an object
  kElements,   // what stands in an array
};

// Members in the given order, each once if it is required and at most once otherwise, then any
// number of others. Nodes in pairs: without and with the comma before them.
struct Members {
  struct Pair {
    NodeId first = 0;
    NodeId next = 0;
  };
  struct Named {
    Pair nodes;
    bool is_required = false;
    uint32_t num_required = 0;  // from this one on; RulesBuilder counts them
  };
  std::vector<Named> named;
  std::vector<Pair> others;
  uint32_t min = 0;  // those of `others` count as one, since their names may be the same
  uint32_t max = kNoLimit;
};

// The first elements, each with a node of its own, then any number of the rest.
struct Elements {
  std::vector<Members::Pair> first;
  std::vector<Members::Pair> rest;  // at most one
  uint32_t min = 0;
  uint32_t max = kNoLimit;
};

struct Node {
  NodeKind kind = NodeKind::kSequence;
  bool is_text = false;  // kRepeat: of characters of a JSON string, any of them
  // Places on the stack that it takes at least; 0: it can be empty. kNoLimit: no text is of it.
  uint32_t min_depth = kNoLimit;
  uint32_t index = 0;  // in Rules::literals, dfas, members, elements; of the first child; of a node
  uint32_t count = 0;  // of children
  uint32_t min = 0;    // kRepeat
  uint32_t max = kNoLimit;
};

struct Rules {
  std::vector<Node> nodes;
  std::vector<NodeId> children;
  std::vector<std::string> literals;
  std::vector<Dfa> dfas;
  std::vector<Members> members;
  std::vector<Elements> elements;
  NodeId root = 0;

  size_t size_bytes() const;
};

// Most places on the stack of a text: nothing nests deeper.
inline constexpr uint32_t kMaxStack = 256;

// Puts rules together. Bounded: throws Error(kUnsupported) when they become too large, and what
// `work` throws.
class RulesBuilder {
 public:
  explicit RulesBuilder(Work& work) : work_(&work) {}

  NodeId empty() { return sequence({}); }
  NodeId literal(std::string_view bytes);
  NodeId regular(Dfa dfa);
  NodeId sequence(const std::vector<NodeId>& parts);
  NodeId choice(const std::vector<NodeId>& parts);  // of none: nothing is accepted
  NodeId repeat(NodeId part, uint32_t min, uint32_t max, bool is_text = false);
  NodeId members(Members members);
  NodeId elements(Elements elements);
  // A node to be used before it is known; bind() says what it is, once.
  NodeId reference();
  void bind(NodeId reference, NodeId target);

  // Any character of a JSON string, in any spelling; with `min` to `max` of them.
  NodeId text_characters(uint32_t min, uint32_t max);
  Work& work() const { return *work_; }

  // Throws Error(kUnsupported) when no text is accepted, or when a rule begins with itself.
  Rules build(NodeId root);

 private:
  NodeId add(Node node);
  void find_depths();
  uint32_t depth_of(const Node& node) const;
  void check_recursion() const;

  Rules rules_;
  Work* work_;
  size_t size_ = 0;
  NodeId character_ = kNoLimit;
};

// Calls take(child) for all nodes that `node` names.
template <typename Take>
void for_each_child(const Rules& rules, const Node& node, Take take) {
  switch (node.kind) {
    case NodeKind::kLiteral:
    case NodeKind::kRegular:
      return;
    case NodeKind::kReference:
      if (node.index != kNoLimit) take(node.index);
      return;
    case NodeKind::kSequence:
    case NodeKind::kChoice:
    case NodeKind::kRepeat:
      for (uint32_t i = 0; i < node.count; ++i) take(rules.children[node.index + i]);
      return;
    case NodeKind::kMembers:
      for (const Members::Named& member : rules.members[node.index].named) {
        take(member.nodes.first);
        take(member.nodes.next);
      }
      for (const Members::Pair& pair : rules.members[node.index].others) {
        take(pair.first);
        take(pair.next);
      }
      return;
    case NodeKind::kElements:
      for (const auto* pairs :
           {&rules.elements[node.index].first, &rules.elements[node.index].rest}) {
        for (const Members::Pair& pair : *pairs) {
          take(pair.first);
          take(pair.next);
        }
      }
      return;
  }
}

}  // namespace sluice::grammar
