#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "grammar/configuration.h"
#include "grammar/rules.h"
#include "grammar/token_table.h"

namespace sluice::grammar {

// Runs rules over text and over a vocabulary. Configurations are found as texts need them and kept,
// each with the ones behind it and the tokens that it allows; when they take too much memory, all
// are forgotten and found again. Safe to use from several threads.
class Automaton {
 public:
  Automaton(Rules rules, std::shared_ptr<const TokenTable> tokens);

  // Where a text stands. Copied freely.
  struct Place {
    std::shared_ptr<const Configuration> configuration;
    uint32_t state = 0;  // in the generation
    uint64_t generation = 0;
  };
  Place start();
  // The place behind these bytes; false (and `place` unchanged) when they cannot stand there.
  // Throws Error(kUnsupported) for a grammar with too many possibilities at once.
  bool advance(Place& place, std::string_view bytes);
  // Bit t of word t / 32 for each token t that may come next. Throws as advance(). `mask`: words
  // beyond the vocabulary are cleared.
  void fill_mask(Place& place, std::span<uint32_t> mask);

  const TokenTable& tokens() const { return *tokens_; }
  size_t size_bytes() const;  // at this moment

 private:
  static constexpr int32_t kUnknown = 0;  // not looked for yet; real ones begin with 1

  // What a configuration allows: few tokens, or one bit for each.
  struct Allowed {
    std::vector<text::TokenId> tokens;
    std::vector<uint32_t> bits;
  };
  struct State {
    std::shared_ptr<const Configuration> configuration;
    std::bitset<256> live;  // bytes that may follow
    std::array<std::unique_ptr<std::array<int32_t, 16>>, 16> next;
    std::shared_ptr<const Allowed> allowed;
  };
  class Walk;

  State& state(int32_t id) { return states_[static_cast<size_t>(id)]; }
  int32_t state_of(Place& place);
  int32_t intern(Configuration configuration);
  int32_t step(int32_t state, uint8_t byte);
  const Allowed& allowed(int32_t state);
  std::shared_ptr<const Allowed> find_allowed(int32_t state);
  // A configuration that allows the same tokens: the same one for all places in a long string.
  std::optional<Configuration> same_for_tokens(const Configuration& configuration) const;
  void forget_when_large();

  const Rules rules_;
  const std::shared_ptr<const TokenTable> tokens_;
  mutable std::mutex mutex_;
  std::deque<State> states_;  // [0] stands for kUnknown
  std::unordered_multimap<uint64_t, int32_t> ids_;
  size_t num_bytes_ = 0;       // of the states
  size_t num_new_states_ = 0;  // that this call has made
  size_t num_new_frames_ = 0;
  uint64_t generation_ = 1;
  size_t max_token_bytes_ = 0;
};

}  // namespace sluice::grammar
