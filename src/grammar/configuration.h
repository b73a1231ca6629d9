#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "grammar/rules.h"

namespace sluice::grammar {

// A place in a node: what of it is behind us.
struct Frame {
  NodeId node = 0;
  uint32_t value = 0;  // bytes of a literal, state of a DFA, child, count; kMembers: both
  bool operator==(const Frame&) const = default;
};

// Where a text can stand in a grammar, all possibilities at once: stacks one behind the other,
// each ending with a literal or a DFA that takes the next byte.
struct Configuration {
  std::vector<Frame> frames;
  std::vector<uint32_t> ends;  // of the stacks in `frames`
  bool is_complete = false;    // the text may end here
  bool operator==(const Configuration&) const = default;
};

// All of them have their stacks in order, each once: equal possibilities are equal configurations.
// They throw Error(kUnsupported) for rules with too many possibilities at once.
Configuration first_configuration(const Rules& rules);
Configuration configuration_behind(const Rules& rules, const Configuration& from, uint8_t byte);
// What follows when the top of a stack has come to its end: `below` is what stands under it.
Configuration configuration_above(const Rules& rules, std::span<const Frame> below);
Configuration in_order(Configuration configuration);

inline std::span<const Frame> stack_of(const Configuration& configuration, size_t index) {
  const uint32_t begin = index == 0 ? 0 : configuration.ends[index - 1];
  return std::span(configuration.frames).subspan(begin, configuration.ends[index] - begin);
}
uint64_t hash_of(const Configuration& configuration);
[[noreturn]] void throw_too_many_possibilities();

}  // namespace sluice::grammar
