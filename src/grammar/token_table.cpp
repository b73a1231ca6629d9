#include "grammar/token_table.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "text/reply_format.h"
#include "text/unicode.h"

namespace sluice::grammar {
namespace {

constexpr size_t kMaxTokenBytes = 1024;  // longer ones are never chosen

constexpr std::array<uint32_t, 4> kMaxCharacters = {4, 8, 16, 32};

// Of a JSON string's characters without escapes; 0 when it has others, or parts of characters.
size_t num_plain_characters(std::string_view bytes) {
  size_t count = 0;
  for (const char c : bytes) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte < 0x20 || byte == 0x7F || c == '"' || c == '\\') return 0;
    if ((byte & 0xC0) != 0x80) ++count;
  }
  return text::is_utf8(bytes) ? count : 0;
}

size_t alphabet_of(std::string_view bytes) {
  for (size_t alphabet = 0; alphabet < kNumAlphabets; ++alphabet) {
    const bool is_all = std::ranges::all_of(
        bytes, [&](char c) { return is_in_alphabet(alphabet, static_cast<uint8_t>(c)); });
    if (is_all) return alphabet;
  }
  return kNumAlphabets;
}

// Index of the trie that a token belongs to.
size_t group_of(std::string_view bytes) {
  constexpr size_t kRest = (kNumAlphabets + 1) * kMaxCharacters.size();
  const size_t count = num_plain_characters(bytes);
  if (count == 0) return kRest;
  for (size_t i = 0; i < kMaxCharacters.size(); ++i) {
    if (count <= kMaxCharacters[i]) return alphabet_of(bytes) * kMaxCharacters.size() + i;
  }
  return kRest;
}

struct Entry {
  std::string_view bytes;
  text::TokenId token = 0;
};

void build(std::vector<Entry>& entries, TokenTable::Trie& trie) {
  std::sort(entries.begin(), entries.end(), [](const Entry& left, const Entry& right) {
    return left.bytes != right.bytes ? left.bytes < right.bytes : left.token < right.token;
  });
  std::vector<uint32_t> path;  // the nodes of the latest token
  std::string_view before;
  const auto leave = [&](size_t depth) {
    for (; path.size() > depth; path.pop_back()) {
      trie.nodes[path.back()].next = static_cast<uint32_t>(trie.nodes.size());
    }
  };
  for (const Entry& entry : entries) {
    const auto differ =
        std::mismatch(before.begin(), before.end(), entry.bytes.begin(), entry.bytes.end());
    leave(static_cast<size_t>(differ.first - before.begin()));
    while (path.size() < entry.bytes.size()) {
      const char byte = entry.bytes[path.size()];
      path.push_back(static_cast<uint32_t>(trie.nodes.size()));
      trie.nodes.push_back({0, static_cast<uint32_t>(trie.tokens.size()),
                            static_cast<uint16_t>(path.size()), static_cast<uint8_t>(byte), 0});
    }
    TokenTable::Node& node = trie.nodes[path.back()];
    if (node.num_tokens < 255) {
      ++node.num_tokens;
      trie.tokens.push_back(entry.token);
    }
    trie.max_depth = std::max(trie.max_depth, entry.bytes.size());
    before = entry.bytes;
  }
  leave(0);
}

}  // namespace

TokenTable::TokenTable(const text::Tokenizer& tokenizer) : vocab_size_(tokenizer.vocab_size()) {
  std::vector<std::vector<Entry>> entries((kNumAlphabets + 1) * kMaxCharacters.size() + 1);
  for (size_t i = 0; i < vocab_size_; ++i) {
    const auto token = static_cast<text::TokenId>(i);
    if (tokenizer.is_end_of_generation(token)) {
      end_tokens_.push_back(token);
      continue;
    }
    const std::string_view bytes = tokenizer.framed_bytes(token);
    if (bytes.empty() || bytes.size() > kMaxTokenBytes) continue;
    // The frame is that of control tokens: no other can stand for it.
    const bool has_frame = bytes.find(text::kControlFrame) != std::string_view::npos;
    if (has_frame && !tokenizer.is_control(token)) continue;
    entries[group_of(bytes)].push_back({bytes, token});
  }
  for (size_t group = 0; group < entries.size(); ++group) {
    const bool is_rest = group + 1 == entries.size();
    if (entries[group].empty() && !is_rest) continue;
    Trie& trie = tries_.emplace_back();
    trie.alphabet = group / kMaxCharacters.size();
    trie.max_characters = is_rest ? 0 : kMaxCharacters[group % kMaxCharacters.size()];
    build(entries[group], trie);
    trie.mask.resize(num_mask_words());
    for (const text::TokenId token : trie.tokens) {
      const auto t = static_cast<size_t>(token);
      trie.mask[t / 32] |= uint32_t{1} << t % 32;
    }
    for (const Entry& entry : entries[group]) {
      trie.first_bytes.set(static_cast<uint8_t>(entry.bytes[0]));
    }
  }
  for (const uint32_t max_characters : kMaxCharacters) {
    PlainMask& plain = plain_masks_.emplace_back();
    plain.max_characters = max_characters;
    plain.mask.resize(num_mask_words());
    for (const Trie& trie : tries_) {
      if (trie.max_characters == 0 || trie.max_characters > max_characters) continue;
      for (size_t i = 0; i < plain.mask.size(); ++i) plain.mask[i] |= trie.mask[i];
    }
  }
}

}  // namespace sluice::grammar
