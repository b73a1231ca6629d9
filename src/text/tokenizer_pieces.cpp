#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <utility>

#include "text/merging.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace sluice::text {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581 stands for " "

// Higher scores merge first.
uint32_t priority_of(float score) {
  if (std::isnan(score)) score = -std::numeric_limits<float>::infinity();
  if (score == 0) score = 0;  // -0 is the same score as 0
  const auto bits = std::bit_cast<uint32_t>(score);
  const uint32_t ascending = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return ~ascending;
}

// BPE over the characters of the text with "▁" for spaces, as SentencePiece does: merges by the
// score of the merged token, or (Gemma 4) by a list of merges within each line. There is no
// pre-tokenizer; but tokens hardly ever go on with "▁" behind another character, so where no token
// does, the text can be cut in front of a "▁" without changing any merge, and most words are then
// one look-up, as in byte-level BPE.
class PieceTokenizer final : public Tokenizer {
 public:
  PieceTokenizer(std::unique_ptr<const Vocabulary> vocabulary, std::optional<MergeTable> merges,
                 bool adds_space_prefix)
      : Tokenizer(std::move(vocabulary)),
        merges_(std::move(merges)),
        adds_space_prefix_(adds_space_prefix),
        whole_(std::make_unique<std::atomic<Whole>[]>(this->vocabulary().size())) {
    find_uncuttable_bytes();
    find_byte_tokens();
    if (!merges_) {
      for (const float score : this->vocabulary().scores) priorities_.push_back(priority_of(score));
    }
  }

 private:
  enum class Whole : uint8_t { kUnknown, kYes, kNo };

  void find_uncuttable_bytes() {
    for (const std::string_view text : vocabulary().texts) {
      for (size_t i = text.find(kSpace, 1); i != text.npos; i = text.find(kSpace, i + 1)) {
        if (!text.substr(0, i).ends_with(kSpace)) {
          is_uncuttable_[static_cast<uint8_t>(text[i - 1])] = true;
        }
      }
    }
  }

  void find_byte_tokens() {
    constexpr std::string_view kHex = "0123456789ABCDEF";
    for (size_t byte = 0; byte < 256; ++byte) {
      const char spelling[] = {'<', '0', 'x', kHex[byte >> 4], kHex[byte & 15], '>'};
      const char raw = static_cast<char>(byte);
      byte_ids_[byte] = vocabulary().by_text.find({spelling, sizeof(spelling)});
      if (byte_ids_[byte] < 0) byte_ids_[byte] = vocabulary().by_text.find({&raw, 1});
    }
  }

  bool keeps_all_bytes() const override {
    return vocabulary().unknown ||
           std::all_of(byte_ids_.begin(), byte_ids_.end(), [](TokenId id) { return id >= 0; });
  }

  void encode_text(std::string_view text, bool after_special, std::vector<TokenId>& ids,
                   Work& work) const override {
    std::string repaired;
    if (merges_ && !is_utf8(text)) text = repaired = repair_utf8(text);
    std::string escaped;
    escaped.reserve(text.size() + text.size() / 2 + kSpace.size());
    if (adds_space_prefix_ && after_special) escaped += kSpace;
    for (const char c : text) {
      if (c == ' ') {
        escaped += kSpace;
      } else {
        escaped += c;
      }
    }
    Merger merger;
    if (merges_) {
      encode_lines(escaped, merger, ids, work);
    } else {
      encode_words(escaped, merger, ids, work);
    }
  }

  // Runs of line feeds and what lies between are encoded each for itself.
  void encode_lines(std::string_view text, Merger& merger, std::vector<TokenId>& ids,
                    Work& work) const {
    while (!text.empty()) {
      const bool is_feed = text[0] == '\n';
      const size_t end = is_feed ? text.find_first_not_of('\n') : text.find('\n');
      const std::string_view line = text.substr(0, end);
      text.remove_prefix(line.size());
      const TokenId token = is_feed ? find_plain(line) : -1;
      if (token >= 0) {
        ids.push_back(token);
      } else {
        encode_words(line, merger, ids, work);
      }
    }
  }

  void encode_words(std::string_view text, Merger& merger, std::vector<TokenId>& ids,
                    Work& work) const {
    size_t begin = 0;
    bool after_space = true;
    for (size_t i = 0; i < text.size(); i += utf8_length(text[i])) {
      const bool is_space = text.substr(i, kSpace.size()) == kSpace;
      if (is_space && !after_space && !is_uncuttable_[static_cast<uint8_t>(text[i - 1])]) {
        encode_word(text.substr(begin, i - begin), merger, ids, work);
        begin = i;
      }
      after_space = is_space;
    }
    encode_word(text.substr(begin), merger, ids, work);
  }

  void encode_word(std::string_view word, Merger& merger, std::vector<TokenId>& ids,
                   Work& work) const {
    while (!word.empty()) {
      const std::string_view piece = utf8_prefix(word, kMaxWordBytes);
      work.charge(piece.size());
      encode_piece(piece, merger, ids);
      word.remove_prefix(piece.size());
    }
  }

  void encode_piece(std::string_view piece, Merger& merger, std::vector<TokenId>& ids) const {
    const TokenId token = find_plain(piece);
    const Whole whole = token < 0 ? Whole::kNo : whole_[token].load(std::memory_order_relaxed);
    if (whole == Whole::kYes) {
      ids.push_back(token);
      return;
    }
    merge_characters(piece, merger);
    if (whole == Whole::kUnknown) {
      const bool is_whole = merger.symbols.size() == 1;
      whole_[token].store(is_whole ? Whole::kYes : Whole::kNo, std::memory_order_relaxed);
    }
    for (const Symbol& symbol : merger.symbols) {
      append_symbol(piece.substr(symbol.begin, symbol.size), symbol.id, ids);
    }
  }

  TokenId find_plain(std::string_view text) const {
    if (text.size() > vocabulary().max_text_size) return -1;
    const TokenId token = vocabulary().by_text.find(text);
    return token >= 0 && vocabulary().is_plain(token) ? token : -1;
  }

  void merge_characters(std::string_view piece, Merger& merger) const {
    merger.symbols.clear();
    for (size_t i = 0; i < piece.size();) {
      const size_t size = std::min(utf8_length(piece[i]), piece.size() - i);
      const TokenId id = merges_ ? find_plain(piece.substr(i, size)) : -1;
      merger.symbols.push_back({static_cast<uint32_t>(i), static_cast<uint32_t>(size), id, -1, -1});
      i += size;
    }
    if (merges_) {
      merger.run([this](const Symbol& left, const Symbol& right) {
        return merges_->find(left.id, right.id);
      });
    } else {
      merger.run([this, piece](const Symbol& left, const Symbol& right) {
        const TokenId id = find_plain(piece.substr(left.begin, left.size + right.size));
        return id < 0 ? Merge{} : Merge{priorities_[id], id};
      });
    }
  }

  // A symbol that is no token is spelled in byte tokens, or else unknown.
  void append_symbol(std::string_view text, TokenId id, std::vector<TokenId>& ids) const {
    if (id < 0) id = find_plain(text);
    if (id >= 0) {
      ids.push_back(id);
      return;
    }
    for (const char byte : text) {
      const TokenId byte_id = byte_ids_[static_cast<uint8_t>(byte)];
      if (byte_id >= 0) {
        ids.push_back(byte_id);
      } else if (vocabulary().unknown) {
        ids.push_back(*vocabulary().unknown);
      }
    }
  }

  std::optional<MergeTable> merges_;  // none: merge by score
  bool adds_space_prefix_;
  std::vector<uint32_t> priorities_;
  std::array<bool, 256> is_uncuttable_ = {};  // last bytes before a "▁" inside some token
  std::array<TokenId, 256> byte_ids_;
  std::unique_ptr<std::atomic<Whole>[]> whole_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_piece_tokenizer(const gguf::File& file, MergeRule rule) {
  const bool by_scores = rule == MergeRule::kScores;
  VocabularyDefaults defaults;
  defaults.spelling = Spelling::kEscapedSpace;
  defaults.needs_scores = by_scores;
  defaults.adds_bos = true;
  defaults.always_adds_bos = !by_scores;
  if (by_scores) {
    defaults.bos = 1;
    defaults.eos = 2;
  }
  const bool adds_space_prefix =
      by_scores && file.get_bool("tokenizer.ggml.add_space_prefix").value_or(true);
  auto vocabulary = std::make_unique<Vocabulary>(file, defaults);
  std::optional<MergeTable> merges;
  if (!by_scores) merges = load_merges(file, *vocabulary);
  return std::make_unique<PieceTokenizer>(std::move(vocabulary), std::move(merges),
                                          adds_space_prefix);
}

}  // namespace sluice::text
