#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <utility>

#include "text/merging.h"
#include "text/pretokenizer.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace sluice::text {
namespace {

// Byte-level BPE: the text is cut into pieces, the bytes of each merge by rank. Most pieces of
// prose are one token: `whole_` remembers for each token whether merging its own bytes gives it
// back, so that such a piece costs one look-up. It is filled as texts come (relaxed atomics: every
// thread would write the same).
class ByteTokenizer final : public Tokenizer {
 public:
  ByteTokenizer(std::unique_ptr<const Vocabulary> vocabulary, const PreTokenizer& pretokenizer,
                MergeTable merges)
      : Tokenizer(std::move(vocabulary)),
        pretokenizer_(pretokenizer),
        merges_(std::move(merges)),
        whole_(std::make_unique<std::atomic<Whole>[]>(this->vocabulary().size())) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const ByteSpelling& spelling = kByteSpellings[byte];
      byte_ids_[byte] = this->vocabulary().by_text.find({spelling.bytes.data(), spelling.size});
    }
  }

 private:
  enum class Whole : uint8_t { kUnknown, kYes, kNo };

  bool keeps_all_bytes() const override {
    return std::all_of(byte_ids_.begin(), byte_ids_.end(), [](TokenId id) { return id >= 0; });
  }

  void encode_text(std::string_view text, bool, std::vector<TokenId>& ids,
                   Work& work) const override {
    std::string repaired;
    if (!is_utf8(text)) text = repaired = repair_utf8(text);
    std::vector<uint32_t> ends;
    std::vector<uint32_t> scratch;
    split(pretokenizer_, text, ends, scratch);
    Merger merger;
    std::string spelled;
    uint32_t begin = 0;
    for (const uint32_t end : ends) {
      for (std::string_view word = text.substr(begin, end - begin); !word.empty();) {
        const std::string_view piece = utf8_prefix(word, kMaxWordBytes);
        work.charge(piece.size());
        encode_piece(piece, merger, spelled, ids);
        word.remove_prefix(piece.size());
      }
      begin = end;
    }
  }

  void encode_piece(std::string_view piece, Merger& merger, std::string& spelled,
                    std::vector<TokenId>& ids) const {
    const TokenId token = find_piece(piece, spelled);
    Whole whole = Whole::kNo;
    if (token >= 0) {
      whole = pretokenizer_.ignores_merges ? Whole::kYes
                                           : whole_[token].load(std::memory_order_relaxed);
    }
    if (whole == Whole::kYes) {
      ids.push_back(token);
      return;
    }
    merge_bytes(piece, merger);
    if (whole == Whole::kUnknown) {
      const bool is_whole = merger.symbols.size() == 1 && merger.symbols[0].id == token;
      whole_[token].store(is_whole ? Whole::kYes : Whole::kNo, std::memory_order_relaxed);
    }
    for (const Symbol& symbol : merger.symbols) {
      if (symbol.id >= 0) ids.push_back(symbol.id);  // a byte without a token is lost
    }
  }

  // The token that is spelled as the whole piece, or -1.
  TokenId find_piece(std::string_view piece, std::string& spelled) const {
    if (piece.size() > vocabulary().max_text_size) return -1;
    spelled.resize(piece.size() * 2);
    char* out = spelled.data();
    for (const char byte : piece) {
      const ByteSpelling& spelling = kByteSpellings[static_cast<uint8_t>(byte)];
      out[0] = spelling.bytes[0];
      out[1] = spelling.bytes[1];
      out += spelling.size;
    }
    const auto size = static_cast<size_t>(out - spelled.data());
    const TokenId token = vocabulary().by_text.find({spelled.data(), size});
    return token >= 0 && vocabulary().is_plain(token) ? token : -1;
  }

  void merge_bytes(std::string_view piece, Merger& merger) const {
    merger.symbols.resize(piece.size());
    for (size_t i = 0; i < piece.size(); ++i) {
      merger.symbols[i] = {static_cast<uint32_t>(i), 1, byte_ids_[static_cast<uint8_t>(piece[i])],
                           -1, -1};
    }
    merger.run([this](const Symbol& left, const Symbol& right) {
      return merges_.find(left.id, right.id);
    });
  }

  const PreTokenizer& pretokenizer_;
  MergeTable merges_;
  std::array<TokenId, 256> byte_ids_;
  std::unique_ptr<std::atomic<Whole>[]> whole_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_byte_tokenizer(const gguf::File& file,
                                               const PreTokenizer& pretokenizer) {
  VocabularyDefaults defaults;
  defaults.adds_bos = pretokenizer.adds_bos;
  auto vocabulary = std::make_unique<Vocabulary>(file, defaults);
  MergeTable merges = load_merges(file, *vocabulary);
  return std::make_unique<ByteTokenizer>(std::move(vocabulary), pretokenizer, std::move(merges));
}

}  // namespace sluice::text
