#include "grammar/automaton.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "base/error.h"

namespace sluice::grammar {
namespace {

constexpr size_t kMaxStateBytes = 8u << 20;  // of all that is kept
constexpr size_t kMaxFrames = 65'536;        // of a configuration
constexpr size_t kMaxNewFrames = 4'000'000;  // that one call may look at: some tens of milliseconds
constexpr size_t kMaxNewStates = 50'000;     // that one call may make
constexpr uint32_t kCountShift = 16;         // kMembers: index below, count above
constexpr uint32_t kIndexMask = (1u << kCountShift) - 1;

[[noreturn]] void throw_too_many() {
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

std::span<const Frame> stack_of(const Configuration& configuration, size_t index) {
  const uint32_t begin = index == 0 ? 0 : configuration.ends[index - 1];
  return std::span(configuration.frames).subspan(begin, configuration.ends[index] - begin);
}

bool is_before(std::span<const Frame> a, std::span<const Frame> b) {
  return std::lexicographical_compare(
      a.begin(), a.end(), b.begin(), b.end(), [](const Frame& left, const Frame& right) {
        return left.node != right.node ? left.node < right.node : left.value < right.value;
      });
}

// In order, each once: equal possibilities are equal configurations.
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

}  // namespace

// Finds the configuration behind a byte, or the first one.
class Automaton::Stepper {
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
    if (result_.frames.size() + stack_.size() + 1 > kMaxFrames) throw_too_many();
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

Automaton::Automaton(Rules rules, std::shared_ptr<const TokenTable> tokens)
    : rules_(std::move(rules)), tokens_(std::move(tokens)) {
  states_.emplace_back();
  for (const TokenTable::Trie& trie : tokens_->tries()) {
    max_token_bytes_ = std::max(max_token_bytes_, trie.max_depth);
  }
}

size_t Automaton::size_bytes() const {
  std::lock_guard lock(mutex_);
  return rules_.size_bytes() + num_bytes_;
}

int32_t Automaton::intern(Configuration configuration) {
  const uint64_t hash = hash_of(configuration);
  const auto [begin, end] = ids_.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    const State& state = this->state(it->second);
    if (*state.configuration == configuration) return it->second;
  }
  num_new_frames_ += configuration.frames.size();
  if (++num_new_states_ > kMaxNewStates || num_new_frames_ > kMaxNewFrames) throw_too_many();
  State state;
  for (size_t i = 0; i < configuration.ends.size(); ++i) {
    const auto stack = stack_of(configuration, i);
    const Frame leaf = stack.back();
    const Node& node = rules_.nodes[leaf.node];
    if (node.kind == NodeKind::kLiteral) {
      state.live.set(static_cast<uint8_t>(rules_.literals[node.index][leaf.value]));
      continue;
    }
    state.live |= rules_.dfas[node.index].live(static_cast<int>(leaf.value));
  }
  num_bytes_ += sizeof(State) + 64 + configuration.frames.size() * sizeof(Frame) +
                configuration.ends.size() * sizeof(uint32_t);
  state.configuration = std::make_shared<const Configuration>(std::move(configuration));
  states_.push_back(std::move(state));
  const auto id = static_cast<int32_t>(states_.size() - 1);
  ids_.emplace(hash, id);
  return id;
}

// `byte` is one that may follow.
int32_t Automaton::step(int32_t state, uint8_t byte) {
  auto& block = this->state(state).next[byte >> 4];
  if (!block) {
    block = std::make_unique<std::array<int32_t, 16>>();
    num_bytes_ += sizeof(*block) + 16;
  }
  int32_t& next = (*block)[byte & 15];
  if (next == kUnknown) {
    const Configuration& from = *this->state(state).configuration;
    num_new_frames_ += from.frames.size();
    if (num_new_frames_ > kMaxNewFrames) throw_too_many();
    // A reference into a deque's element stays good when others come behind it.
    next = intern(Stepper(rules_).step(from, byte));
  }
  return next;
}

int32_t Automaton::state_of(Place& place) {
  num_new_states_ = 0;
  num_new_frames_ = 0;
  forget_when_large();
  if (place.generation != generation_) {
    const int32_t id = intern(*place.configuration);
    place = {state(id).configuration, static_cast<uint32_t>(id), generation_};
  }
  return static_cast<int32_t>(place.state);
}

void Automaton::forget_when_large() {
  if (num_bytes_ <= kMaxStateBytes) return;
  ids_.clear();
  states_.clear();
  states_.emplace_back();
  num_bytes_ = 0;
  ++generation_;
}

Automaton::Place Automaton::start() {
  std::lock_guard lock(mutex_);
  num_new_states_ = 0;
  num_new_frames_ = 0;
  const int32_t id = intern(Stepper(rules_).start());
  return {state(id).configuration, static_cast<uint32_t>(id), generation_};
}

bool Automaton::advance(Place& place, std::string_view bytes) {
  std::lock_guard lock(mutex_);
  int32_t state = state_of(place);
  for (const char c : bytes) {
    const auto byte = static_cast<uint8_t>(c);
    if (!this->state(state).live[byte]) return false;
    state = step(state, byte);
    const Configuration& reached = *this->state(state).configuration;
    if (reached.ends.empty() && !reached.is_complete) return false;
  }
  place = {this->state(state).configuration, static_cast<uint32_t>(state), generation_};
  return true;
}

// Finds the tokens that a configuration allows. Each of its stacks is followed on its own, as long
// as they are few: within a regular language that takes a look into its table for a byte.
class Automaton::Walk {
 public:
  Walk(Automaton& automaton, std::vector<uint32_t>& bits) : automaton_(automaton), bits_(bits) {
    path_.resize(automaton.max_token_bytes_ + 1);
  }

  void run(int32_t id) {
    const std::shared_ptr<const Configuration> all = automaton_.state(id).configuration;
    constexpr size_t kMaxStacks = 4;
    const size_t count = all->ends.size();
    const auto tries = automaton_.tokens_->tries();
    std::vector<const TokenTable::Trie*> left;
    uint32_t num_plain = 0;  // characters that may follow, whatever they are
    for (size_t i = 0; i < count; ++i) {
      num_plain = std::max(num_plain, num_free_characters(stack_of(*all, i)));
    }
    for (const TokenTable::PlainMask& plain : automaton_.tokens_->plain_masks()) {
      if (plain.max_characters > num_plain) break;
      longest_plain_ = plain.max_characters;
      std::ranges::copy(plain.mask, bits_.begin());
    }
    const std::bitset<256> live = automaton_.state(id).live;
    for (const TokenTable::Trie& trie : tries) {
      if (trie.max_characters > 0 && trie.max_characters <= longest_plain_) continue;
      if ((trie.first_bytes & live).none()) continue;
      bool is_free = false;
      for (size_t i = 0; i < count && i < kMaxStacks && !is_free; ++i) {
        is_free = allows_all(stack_of(*all, i), trie);
      }
      if (is_free) {
        for (size_t i = 0; i < bits_.size(); ++i) bits_[i] |= trie.mask[i];
      } else {
        left.push_back(&trie);
      }
    }
    if (count > kMaxStacks) {
      for (const TokenTable::Trie* trie : left) follow(*trie, id);
      return;
    }
    for (size_t i = 0; i < count; ++i) follow_stack(stack_of(*all, i), left);
  }

 private:
  // Where the text of a path's beginning is: in the regular language alone, or in a state.
  struct Step {
    int32_t state = kUnknown;
    int dfa_state = 0;
  };

  const Node& node_of(Frame frame) const { return automaton_.rules_.nodes[frame.node]; }

  // Between two characters of a JSON string that may be any.
  uint32_t num_free_characters(std::span<const Frame> stack) const {
    if (stack.back().value != 0 || stack.size() < 2) return 0;
    const Frame above = stack[stack.size() - 2];
    const Node& repeat = node_of(above);
    if (!repeat.is_text) return 0;
    return repeat.max == kNoLimit ? kNoLimit : repeat.max - above.value;
  }

  bool allows_all(std::span<const Frame> stack, const TokenTable::Trie& trie) const {
    if (trie.max_characters == 0) return false;
    const Frame leaf = stack.back();
    const Node& node = node_of(leaf);
    if (node.kind != NodeKind::kRegular) return false;
    if (trie.alphabet >= kNumAlphabets) return false;
    const Dfa& dfa = automaton_.rules_.dfas[node.index];
    return dfa.run(static_cast<int>(leaf.value), trie.alphabet) >= trie.max_characters;
  }

  void take(const TokenTable::Trie& trie, const TokenTable::Node& node) {
    for (uint32_t i = 0; i < node.num_tokens; ++i) {
      const auto token = static_cast<size_t>(trie.tokens[node.first_token + i]);
      bits_[token / 32] |= uint32_t{1} << token % 32;
    }
  }

  // The state behind a byte, or kUnknown.
  int32_t step(int32_t state, uint8_t byte) {
    if (!automaton_.state(state).live[byte]) return kUnknown;
    const int32_t reached = automaton_.step(state, byte);
    const State& there = automaton_.state(reached);
    // Nothing nests so deep: the byte leads nowhere.
    return there.live.none() && !there.configuration->is_complete ? kUnknown : reached;
  }

  // All that begins with a state.
  void follow(const TokenTable::Trie& trie, int32_t from) {
    path_[0].state = from;
    for (size_t i = 0; i < trie.nodes.size();) {
      const TokenTable::Node& node = trie.nodes[i];
      const int32_t reached = step(path_[node.depth - 1u].state, node.byte);
      if (reached == kUnknown) {
        i = node.next;
        continue;
      }
      path_[node.depth].state = reached;
      take(trie, node);
      ++i;
    }
  }

  void follow_stack(std::span<const Frame> stack,
                    const std::vector<const TokenTable::Trie*>& tries) {
    Configuration alone;
    alone.frames.assign(stack.begin(), stack.end());
    alone.ends = {static_cast<uint32_t>(stack.size())};
    if (node_of(stack.back()).kind != NodeKind::kRegular) {
      const int32_t id = automaton_.intern(std::move(alone));
      for (const TokenTable::Trie* trie : tries) follow(*trie, id);
      return;
    }
    dfa_ = &automaton_.rules_.dfas[node_of(stack.back()).index];
    const Configuration behind = Stepper(automaton_.rules_).finish(stack.first(stack.size() - 1));
    behind_ = automaton_.intern(behind);
    const std::bitset<256> live_behind = automaton_.state(behind_).live;
    for (const TokenTable::Trie* trie : tries) {
      path_[0] = {kUnknown, static_cast<int>(stack.back().value)};
      for (size_t i = 0; i < trie->nodes.size();) {
        const TokenTable::Node& node = trie->nodes[i];
        const Step before = path_[node.depth - 1u];
        Step& reached = path_[node.depth];
        reached = {};
        if (before.state != kUnknown) {
          reached.state = step(before.state, node.byte);
        } else {
          reached.dfa_state = dfa_->step(before.dfa_state, node.byte);
          // The end of the configuration's own top is there as a stack of its own.
          const bool may_end = node.depth > 1 && dfa_->is_accepting(before.dfa_state);
          if (may_end && live_behind[node.byte]) {
            reached.state = leave(alone, behind, before.dfa_state, reached.dfa_state, node.byte);
          }
          if (reached.state == kUnknown && reached.dfa_state != Dfa::kDead) {
            take(*trie, node);
            ++i;
            continue;
          }
        }
        if (reached.state == kUnknown) {
          i = node.next;
          continue;
        }
        take(*trie, node);
        ++i;
      }
    }
  }

  // A byte that may stand behind the end of the regular language, and perhaps within it.
  int32_t leave(Configuration within, const Configuration& behind, int dfa_state, int next,
                uint8_t byte) {
    if (next == Dfa::kDead) return step(behind_, byte);
    within.frames.back().value = static_cast<uint32_t>(dfa_state);
    for (size_t i = 0; i < behind.ends.size(); ++i) {
      const auto stack = stack_of(behind, i);
      within.frames.insert(within.frames.end(), stack.begin(), stack.end());
      within.ends.push_back(static_cast<uint32_t>(within.frames.size()));
    }
    within.is_complete = behind.is_complete;
    return step(automaton_.intern(in_order(std::move(within))), byte);
  }

  Automaton& automaton_;
  std::vector<uint32_t>& bits_;
  std::vector<Step> path_;
  uint32_t longest_plain_ = 0;  // tokens of plain characters up to this length are taken already
  const Dfa* dfa_ = nullptr;
  int32_t behind_ = kUnknown;
};

// Where both limits of a string are farther away than any token reaches, they do not matter.
std::optional<Configuration> Automaton::same_for_tokens(const Configuration& configuration) const {
  std::optional<Configuration> same;
  for (const uint32_t end : configuration.ends) {
    if (end < 2) continue;
    const Frame above = configuration.frames[end - 2];
    const Node& node = rules_.nodes[above.node];
    if (!node.is_text || node.max == kNoLimit) continue;
    const auto reach = static_cast<uint32_t>(max_token_bytes_);
    const bool is_far = above.value > node.min && node.max > reach &&
                        above.value < node.max - reach && node.min < node.max - reach;
    if (!is_far) continue;
    if (!same) same = configuration;
    same->frames[end - 2].value = node.min;
  }
  return same;
}

const Automaton::Allowed& Automaton::allowed(int32_t id) {
  if (state(id).allowed) return *state(id).allowed;
  std::shared_ptr<const Allowed> found;
  if (auto same = same_for_tokens(*state(id).configuration)) {
    const int32_t other = intern(in_order(std::move(*same)));
    if (!state(other).allowed) state(other).allowed = find_allowed(other);
    found = state(other).allowed;
  } else {
    found = find_allowed(id);
  }
  state(id).allowed = std::move(found);
  return *state(id).allowed;
}

std::shared_ptr<const Automaton::Allowed> Automaton::find_allowed(int32_t id) {
  auto allowed = std::make_shared<Allowed>();
  allowed->bits.resize(tokens_->num_mask_words());
  Walk(*this, allowed->bits).run(id);
  if (state(id).configuration->is_complete) {
    for (const text::TokenId token : tokens_->end_tokens()) {
      const auto t = static_cast<size_t>(token);
      allowed->bits[t / 32] |= uint32_t{1} << t % 32;
    }
  }
  size_t count = 0;
  for (const uint32_t word : allowed->bits) {
    if (word != 0) count += static_cast<size_t>(std::popcount(word));
  }
  if (count < allowed->bits.size() / 2) {
    allowed->tokens.reserve(count);
    for (size_t i = 0; i < allowed->bits.size(); ++i) {
      for (uint32_t word = allowed->bits[i]; word != 0; word &= word - 1) {
        allowed->tokens.push_back(static_cast<text::TokenId>(i * 32) + std::countr_zero(word));
      }
    }
    allowed->bits = {};
  }
  num_bytes_ += sizeof(Allowed) + (allowed->tokens.size() + allowed->bits.size()) * 4;
  return allowed;
}

void Automaton::fill_mask(Place& place, std::span<uint32_t> mask) {
  std::lock_guard lock(mutex_);
  const Allowed& allowed = this->allowed(state_of(place));
  const size_t num_words = std::min(mask.size(), allowed.bits.size());
  std::copy_n(allowed.bits.begin(), num_words, mask.begin());
  std::fill(mask.begin() + static_cast<ptrdiff_t>(num_words), mask.end(), 0);
  for (const text::TokenId token : allowed.tokens) {
    const auto t = static_cast<size_t>(token);
    if (t / 32 < mask.size()) mask[t / 32] |= uint32_t{1} << t % 32;
  }
}

}  // namespace sluice::grammar
