#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "text/unicode.h"

namespace sluice::grammar {

inline constexpr char32_t kLastCode = 0x10FFFF;

struct CodeRange {
  char32_t first = 0;
  char32_t last = 0;  // included
};

// A set of Unicode characters: ranges in order, none touching the next. Surrogates are never in it.
class CodeSet {
 public:
  CodeSet() = default;
  CodeSet(std::initializer_list<CodeRange> ranges);
  static CodeSet all() { return {{0, kLastCode}}; }
  static CodeSet of_class(text::ClassMask mask);

  void add(CodeRange range);
  void add(const CodeSet& other);
  CodeSet complement() const;
  CodeSet without(const CodeSet& other) const;
  bool contains(char32_t code) const;
  bool is_empty() const { return ranges_.empty(); }
  std::span<const CodeRange> ranges() const { return ranges_; }

 private:
  std::vector<CodeRange> ranges_;
};

struct ByteValues {
  uint8_t first = 0;
  uint8_t last = 0;  // included
};

// The UTF-8 forms of a range's characters as sequences of byte ranges: every choice of a byte from
// each is a character, and every character is in one sequence.
using Utf8Sequence = std::span<const ByteValues>;
void for_each_utf8_sequence(CodeRange range, const std::function<void(Utf8Sequence)>& take);

}  // namespace sluice::grammar
