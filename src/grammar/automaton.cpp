#include "grammar/automaton.h"

#include <algorithm>
#include <bit>

namespace sluice::grammar {
namespace {

constexpr size_t kMaxStateBytes = 8u << 20;  // of all that is kept
constexpr size_t kMaxNewFrames = 4'000'000;  // that one call may look at: some tens of milliseconds
constexpr size_t kMaxNewStates = 50'000;     // that one call may make

}  // namespace

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
  if (++num_new_states_ > kMaxNewStates || num_new_frames_ > kMaxNewFrames)
    throw_too_many_possibilities();
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
    if (num_new_frames_ > kMaxNewFrames) throw_too_many_possibilities();
    // A reference into a deque's element stays good when others come behind it.
    next = intern(configuration_behind(rules_, from, byte));
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
  const int32_t id = intern(first_configuration(rules_));
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
    const Configuration behind =
        configuration_above(automaton_.rules_, stack.first(stack.size() - 1));
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
