#include "grammar/configuration.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/error.h"

namespace sluice::grammar {
namespace {

constexpr size_t kMaxFrames = 65'536;  // of a configuration
constexpr uint32_t kCountShift = 16;   // kMembers: index below, count above
constexpr uint32_t kIndexMask = (1u << kCountShift) - 1;

bool is_before(std::span<const Frame> a, std::span<const Frame> b) {
  return std::lexicographical_compare(
      a.begin(), a.end(), b.begin(), b.end(), [](const Frame& left, const Frame& right) {
        return left.node != right.node ? left.node < right.node : left.value < right.value;
      });
}

// Finds the configuration behind a byte, or the first one.
class Stepper {
 public:
  explicit Stepper(const Rules& rules) : rules_(rules) {}

  Configuration start() {
    enter(rules_.root);
    return in_order(std::move(result_));
  }

  // What follows when the text of a stack's top ends where it is.
  Configuration finish(std::span<const Frame> below) {
    for (const Frame& frame : below) stack_.push_back({frame, false});
    finish();
    return in_order(std::move(result_));
  }

  Configuration step(const Configuration& from, uint8_t byte) {
    for (size_t i = 0; i < from.ends.size(); ++i) {
      const auto stack = stack_of(from, i);
      stack_.clear();
      for (const Frame& frame : stack.first(stack.size() - 1)) stack_.push_back({frame, false});
      step_leaf(stack.back(), byte);
    }
    return in_order(std::move(result_));
  }

 private:
  struct Entry {
    Frame frame;
    bool is_fresh = false;  // nothing was taken since
  };

  const Node& node_of(NodeId id) const { return rules_.nodes[id]; }

  void step_leaf(Frame leaf, uint8_t byte) {
    const Node& node = node_of(leaf.node);
    if (node.kind == NodeKind::kLiteral) {
      const std::string& bytes = rules_.literals[node.index];
      if (static_cast<uint8_t>(bytes[leaf.value]) != byte) return;
      if (++leaf.value < bytes.size()) {
        emit(leaf);
      } else {
        finish();
      }
      return;
    }
    const Dfa& dfa = rules_.dfas[node.index];
    const int next = dfa.step(static_cast<int>(leaf.value), byte);
    if (next == Dfa::kDead) return;
    leaf.value = static_cast<uint32_t>(next);
    if (dfa.live(next).any()) emit(leaf);
    if (dfa.is_accepting(next)) finish();
  }

  // A stack that waits for a byte.
  void emit(Frame leaf) {
    if (stack_.size() >= kMaxStack) return;
    if (result_.frames.size() + stack_.size() + 1 > kMaxFrames) throw_too_many_possibilities();
    for (const Entry& entry : stack_) result_.frames.push_back(entry.frame);
    result_.frames.push_back(leaf);
    result_.ends.push_back(static_cast<uint32_t>(result_.frames.size()));
  }

  void enter(NodeId id) {
    const Node& node = node_of(id);
    if (stack_.size() + node.min_depth > kMaxStack) return;
    switch (node.kind) {
      case NodeKind::kLiteral:
        return emit({id, 0});
      case NodeKind::kRegular: {
        const Dfa& dfa = rules_.dfas[node.index];
        if (dfa.live(0).any()) emit({id, 0});
        if (dfa.is_accepting(0)) finish();
        return;
      }
      case NodeKind::kSequence:
        if (node.count == 0) return finish();
        return enter_part(id, node, 0);
      case NodeKind::kChoice:
        for (uint32_t i = 0; i < node.count; ++i) enter(rules_.children[node.index + i]);
        return;
      case NodeKind::kReference:
        return enter(node.index);
      case NodeKind::kRepeat:
        return repeat(id, node, 0);
      case NodeKind::kMembers:
        return add_member(id, rules_.members[node.index], 0, 0);
      case NodeKind::kElements:
        return add_element(id, rules_.elements[node.index], 0);
    }
  }

  // With a frame on the stack that says where to go on.
  void enter_within(Frame frame, NodeId child) {
    stack_.push_back({frame, true});
    enter(child);
    stack_.pop_back();
  }

  // The last part needs no frame: a rule that ends with itself takes no room.
  void enter_part(NodeId id, const Node& node, uint32_t index) {
    const NodeId child = rules_.children[node.index + index];
    if (index + 1 == node.count) return enter(child);
    enter_within({id, index}, child);
  }

  void repeat(NodeId id, const Node& node, uint32_t count) {
    if (count >= node.min) finish();
    if (count < node.max) enter_within({id, count}, rules_.children[node.index]);
  }

  void add_member(NodeId id, const Members& members, uint32_t index, uint32_t count) {
    const auto num_named = static_cast<uint32_t>(members.named.size());
    const auto enter_pair = [&](const Members::Pair& pair, uint32_t next_index) {
      enter_within({id, next_index | count << kCountShift}, count == 0 ? pair.first : pair.next);
    };
    const uint32_t num_others = members.others.empty() ? 0 : 1;
    for (uint32_t i = index; i < num_named; ++i) {
      const Members::Named& member = members.named[i];
      const uint32_t num_required = member.num_required + (member.is_required ? 0 : 1);
      if (members.max == kNoLimit || count + num_required <= members.max) {
        enter_pair(member.nodes, i + 1);
      }
      const uint32_t most_left = num_named - i - 1 + num_others;
      if (member.is_required || count + most_left < members.min) return;
    }
    if (count >= members.min) finish();
    if (count + 1 < members.min || count >= members.max) return;
    for (const Members::Pair& pair : members.others) enter_pair(pair, num_named);
  }

  void add_element(NodeId id, const Elements& elements, uint32_t count) {
    if (count >= elements.min) finish();
    if (count >= elements.max) return;
    const bool is_listed = count < elements.first.size();
    if (!is_listed && elements.rest.empty()) return;
    const Members::Pair& pair = is_listed ? elements.first[count] : elements.rest[0];
    enter_within({id, count}, count == 0 ? pair.first : pair.next);
  }

  // What the top of the stack waited for has come to its end.
  void finish() {
    if (stack_.empty()) {
      result_.is_complete = true;
      return;
    }
    const Entry entry = stack_.back();
    const Frame frame = entry.frame;
    const Node& node = node_of(frame.node);
    stack_.pop_back();
    switch (node.kind) {
      case NodeKind::kSequence:
        enter_part(frame.node, node, frame.value + 1);
        break;
      case NodeKind::kRepeat:
        // One that took nothing counts for nothing: that path is there already.
        if (!entry.is_fresh) repeat(frame.node, node, counted(frame.value, node.min, node.max));
        break;
      case NodeKind::kMembers: {
        const Members& members = rules_.members[node.index];
        const uint32_t count = frame.value >> kCountShift;
        const uint32_t least = std::max(members.min, uint32_t{1});
        add_member(frame.node, members, frame.value & kIndexMask,
                   counted(count, least, members.max));
        break;
      }
      case NodeKind::kElements: {
        const Elements& elements = rules_.elements[node.index];
        const auto num_listed = static_cast<uint32_t>(elements.first.size());
        const uint32_t least = std::max({elements.min, num_listed, uint32_t{1}});
        add_element(frame.node, elements, counted(frame.value, least, elements.max));
        break;
      }
      default:
        break;
    }
    stack_.push_back(entry);
  }

  // One more, as far as it matters.
  static uint32_t counted(uint32_t count, uint32_t min, uint32_t max) {
    return max == kNoLimit && count >= min ? count : count + 1;
  }

  const Rules& rules_;
  std::vector<Entry> stack_;
  Configuration result_;
};

}  // namespace

void throw_too_many_possibilities() {
  throw Error(ErrorCode::kUnsupported,
              "the grammar has too many possibilities at once; make it less ambiguous");
}

uint64_t hash_of(const Configuration& configuration) {
  uint64_t hash = configuration.is_complete ? 3 : 5;
  const auto mix = [&](uint64_t value) {
    hash = (hash ^ value) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 32;
  };
  for (const Frame& frame : configuration.frames) mix(uint64_t{frame.node} << 32 | frame.value);
  for (const uint32_t end : configuration.ends) mix(end);
  return hash;
}

Configuration in_order(Configuration configuration) {
  const size_t count = configuration.ends.size();
  if (count < 2) return configuration;
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t left, size_t right) {
    return is_before(stack_of(configuration, left), stack_of(configuration, right));
  });
  Configuration sorted;
  sorted.is_complete = configuration.is_complete;
  for (size_t i = 0; i < count; ++i) {
    const auto stack = stack_of(configuration, order[i]);
    if (i > 0 && std::ranges::equal(stack, stack_of(configuration, order[i - 1]))) continue;
    sorted.frames.insert(sorted.frames.end(), stack.begin(), stack.end());
    sorted.ends.push_back(static_cast<uint32_t>(sorted.frames.size()));
  }
  return sorted;
}

Configuration first_configuration(const Rules& rules) { return Stepper(rules).start(); }

Configuration configuration_behind(const Rules& rules, const Configuration& from, uint8_t byte) {
  return Stepper(rules).step(from, byte);
}

Configuration configuration_above(const Rules& rules, std::span<const Frame> below) {
  return Stepper(rules).finish(below);
}

}  // namespace sluice::grammar
