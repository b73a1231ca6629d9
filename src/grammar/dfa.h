#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/work.h"
#include "grammar/code_set.h"

// Regular languages over bytes. What a client's pattern may cost is bounded: everything here throws
// Error(kUnsupported) when an automaton grows too large, and what `work` throws.
namespace sluice::grammar {

// How a character is spelled in the text: as itself, or as within a JSON string, where quote,
// backslash and controls have one escape each ("\n", "\u0001").
enum class CharSpelling { kPlain, kJsonString };

// Sets of ASCII characters, none of which a JSON string has to escape, that many tokens are made
// of: where any of them may follow, tokens are allowed in bulk.
inline constexpr size_t kNumAlphabets = 6;
// Whether `byte` is of the alphabet.
bool is_in_alphabet(size_t alphabet, uint8_t byte);

// Appends a text as it stands within a JSON string.
void append_json_spelling(std::string& out, std::string_view text);

// A nondeterministic automaton in the making.
class Nfa {
 public:
  enum class Pass { kAlways, kAtBegin, kAtEnd };  // when a step that takes nothing may be taken

  explicit Nfa(Work& work) : work_(&work) {}

  int add_state();
  void add_step(int from, ByteValues bytes, int to);
  void add_free_step(int from, int to, Pass pass = Pass::kAlways);
  // Steps for any of the characters.
  void add_characters(int from, const CodeSet& set, CharSpelling spelling, int to);
  void add_string(int from, std::string_view bytes, int to);

  struct Step {
    ByteValues bytes;
    int to;
  };
  struct FreeStep {
    Pass pass;
    int to;
  };
  struct State {
    std::vector<Step> steps;
    std::vector<FreeStep> free_steps;
  };
  const std::vector<State>& states() const { return states_; }
  int num_states() const { return static_cast<int>(states_.size()); }
  Work& work() const { return *work_; }

 private:
  std::vector<State> states_;
  Work* work_;
};

// A deterministic automaton. State 0 is the start; from every state an accepting one can be
// reached, so a text that has not failed can be completed. Without states: no text is accepted.
class Dfa {
 public:
  static constexpr int kDead = -1;

  // What leads from state 0 of `nfa` to `accept`.
  static Dfa from_nfa(const Nfa& nfa, int accept);
  static Dfa of_strings(std::vector<std::string> strings, Work& work);
  static Dfa intersect(const Dfa& a, const Dfa& b, Work& work);
  static Dfa subtract(const Dfa& a, const Dfa& b, Work& work);  // of a, not of b

  int step(int state, uint8_t byte) const {
    return next_[static_cast<size_t>(state) * num_classes_ + classes_[byte]];
  }
  bool is_accepting(int state) const { return accepting_[static_cast<size_t>(state)]; }
  // Bytes that may follow.
  const std::bitset<256>& live(int state) const { return live_[static_cast<size_t>(state)]; }
  bool accepts(std::string_view text) const;
  // How many characters of an alphabet may follow whatever they are, as far as find_runs() has
  // looked (kLongestRun); 0 before.
  static constexpr uint8_t kLongestRun = 32;
  uint8_t run(int state, size_t alphabet) const {
    const std::vector<uint8_t>& runs = runs_[alphabet];
    return runs.empty() ? uint8_t{0} : runs[static_cast<size_t>(state)];
  }
  void find_runs(Work& work);
  bool is_empty() const { return accepting_.empty(); }
  int num_states() const { return static_cast<int>(accepting_.size()); }
  size_t size_bytes() const;

 private:
  template <typename Keep>
  static Dfa product(const Dfa& a, const Dfa& b, Work& work, Keep keep);
  void refine_classes(const std::vector<ByteValues>& ranges);
  int add_state(bool is_accepting, size_t most);
  void trim();

  std::array<uint8_t, 256> classes_{};
  size_t num_classes_ = 1;
  std::vector<int32_t> next_;  // [num_states, num_classes]
  std::vector<bool> accepting_;
  std::vector<std::bitset<256>> live_;
  std::array<std::vector<uint8_t>, kNumAlphabets> runs_;
};

}  // namespace sluice::grammar
