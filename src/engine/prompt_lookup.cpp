#include "engine/prompt_lookup.h"

#include <algorithm>
#include <bit>

namespace sluice::engine {
namespace {

constexpr int kMaxTried = 64;
constexpr size_t kSmallest = 256;  // buckets

int match_length(std::span<const text::TokenId> tokens, size_t end) {
  const size_t most = std::min<size_t>(end, PromptLookup::kLongestMatch);
  size_t length = 0;
  while (length < most && tokens[end - 1 - length] == tokens[tokens.size() - 1 - length]) ++length;
  return static_cast<int>(length);
}

}  // namespace

PromptLookup::Match PromptLookup::find(std::span<const text::TokenId> tokens) {
  Match best;
  if (tokens.size() <= kShortestMatch) return best;
  // All but the last pair, which is what we look for.
  index_until(tokens, tokens.size() - 1);
  int32_t end = latest_[bucket(tokens, tokens.size())];
  for (int tried = 0; end > 0 && tried < kMaxTried; ++tried) {
    const int length = match_length(tokens, static_cast<size_t>(end));
    if (length >= kShortestMatch && length > best.length) best = {length, end};
    if (length == kLongestMatch) break;
    end = earlier_[static_cast<size_t>(end)];
  }
  return best;
}

void PromptLookup::reset() {
  latest_.clear();
  earlier_.clear();
}

void PromptLookup::copy(std::span<const text::TokenId> tokens, Match match, int count,
                        std::vector<text::TokenId>& guess) {
  guess.clear();
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    const size_t from = static_cast<size_t>(match.next) + i;
    guess.push_back(from < tokens.size() ? tokens[from] : guess[from - tokens.size()]);
  }
}

void PromptLookup::index_until(std::span<const text::TokenId> tokens, size_t end) {
  if (latest_.size() < end) grow(tokens, end);
  while (earlier_.size() <= end) link(tokens, earlier_.size());
}

// Twice the buckets, all pairs so far once more.
void PromptLookup::grow(std::span<const text::TokenId> tokens, size_t size) {
  latest_.assign(std::bit_ceil(std::max(size, kSmallest)), 0);
  const size_t num_indexed = earlier_.size();
  earlier_.clear();
  while (earlier_.size() < num_indexed) link(tokens, earlier_.size());
}

void PromptLookup::link(std::span<const text::TokenId> tokens, size_t end) {
  if (end < kShortestMatch) {
    earlier_.push_back(0);
    return;
  }
  int32_t& latest = latest_[bucket(tokens, end)];
  earlier_.push_back(latest);
  latest = static_cast<int32_t>(end);
}

size_t PromptLookup::bucket(std::span<const text::TokenId> tokens, size_t end) const {
  const uint64_t pair = uint64_t{static_cast<uint32_t>(tokens[end - 2])} << 32 |
                        static_cast<uint32_t>(tokens[end - 1]);
  return static_cast<size_t>((pair * 0x9E3779B97F4A7C15u) >> 32) & (latest_.size() - 1);
}

}  // namespace sluice::engine
