#include "grammar/code_set.h"

#include <algorithm>
#include <string>

namespace sluice::grammar {
namespace {

constexpr CodeRange kSurrogates{0xD800, 0xDFFF};

// Splits until all characters have one length and, but for the last bytes, whole ranges of
// continuation bytes.
void split(char32_t first, char32_t last, const std::function<void(Utf8Sequence)>& take) {
  for (const char32_t longest : {0x7Fu, 0x7FFu, 0xFFFFu}) {
    if (first <= longest && last > longest) {
      split(first, longest, take);
      split(longest + 1, last, take);
      return;
    }
  }
  for (int shift = 6; shift <= 18 && last > 0x7F; shift += 6) {
    const char32_t low = (char32_t{1} << shift) - 1;
    if ((first & ~low) == (last & ~low)) break;
    if ((first & low) != 0) {
      split(first, first | low, take);
      split((first | low) + 1, last, take);
      return;
    }
    if ((last & low) != low) {
      split(first, (last & ~low) - 1, take);
      split(last & ~low, last, take);
      return;
    }
  }
  std::string low, high;
  text::append_utf8(low, first);
  text::append_utf8(high, last);
  std::array<ByteValues, 4> bytes;
  for (size_t i = 0; i < low.size(); ++i) {
    bytes[i] = {static_cast<uint8_t>(low[i]), static_cast<uint8_t>(high[i])};
  }
  take(std::span(bytes).first(low.size()));
}

}  // namespace

CodeSet::CodeSet(std::initializer_list<CodeRange> ranges) {
  for (const CodeRange range : ranges) add(range);
}

CodeSet CodeSet::of_class(text::ClassMask mask) {
  CodeSet set;
  for (char32_t code = 0; code <= kLastCode; ++code) {
    if (!(mask >> static_cast<int>(text::char_class(code)) & 1)) continue;
    if (code >= kSurrogates.first && code <= kSurrogates.last) continue;
    if (!set.ranges_.empty() && set.ranges_.back().last + 1 == code) {
      set.ranges_.back().last = code;
    } else {
      set.ranges_.push_back({code, code});
    }
  }
  return set;
}

void CodeSet::add(CodeRange range) {
  range.last = std::min(range.last, kLastCode);
  if (range.first > range.last) return;
  if (range.first <= kSurrogates.last && range.last >= kSurrogates.first) {
    if (range.first < kSurrogates.first) add({range.first, kSurrogates.first - 1});
    if (range.last > kSurrogates.last) add({kSurrogates.last + 1, range.last});
    return;
  }
  // The first range that `range` touches or comes before.
  auto at = std::lower_bound(
      ranges_.begin(), ranges_.end(), range,
      [](const CodeRange& left, const CodeRange& right) { return left.last + 1 < right.first; });
  auto end = at;
  while (end != ranges_.end() && end->first <= range.last + 1) {
    range.first = std::min(range.first, end->first);
    range.last = std::max(range.last, end->last);
    ++end;
  }
  at = ranges_.erase(at, end);
  ranges_.insert(at, range);
}

void CodeSet::add(const CodeSet& other) {
  for (const CodeRange range : other.ranges_) add(range);
}

CodeSet CodeSet::complement() const {
  CodeSet set;
  char32_t next = 0;
  for (const CodeRange range : ranges_) {
    if (range.first > next) set.add({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kLastCode) set.add({next, kLastCode});
  return set;
}

CodeSet CodeSet::without(const CodeSet& other) const {
  CodeSet set = complement();
  set.add(other);
  return set.complement();
}

bool CodeSet::contains(char32_t code) const {
  const auto at =
      std::lower_bound(ranges_.begin(), ranges_.end(), code,
                       [](const CodeRange& range, char32_t wanted) { return range.last < wanted; });
  return at != ranges_.end() && at->first <= code;
}

void for_each_utf8_sequence(CodeRange range, const std::function<void(Utf8Sequence)>& take) {
  split(range.first, range.last, take);
}

}  // namespace sluice::grammar
