#include "text/tokenizer.h"

#include <utility>

#include "base/error.h"
#include "text/pretokenizer.h"
#include "text/stream_decoder.h"
#include "text/vocabulary.h"

namespace sluice::text {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 30;  // offsets in pieces are 32 bits wide

// C's isspace, which the definitions of tokens that strip white space mean.
bool is_ascii_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Older files of Llama 3 do not say how their text is cut into words.
bool is_llama3(const gguf::File& file) {
  constexpr size_t kHeaderToken = 128'006, kEndOfTurn = 128'009;
  const auto* tokens = file.get_strings("tokenizer.ggml.tokens");
  return tokens != nullptr && tokens->size() > kEndOfTurn &&
         (*tokens)[kHeaderToken] == "<|start_header_id|>" && (*tokens)[kEndOfTurn] == "<|eot_id|>";
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<const Vocabulary> vocabulary)
    : vocabulary_(std::move(vocabulary)) {}
Tokenizer::~Tokenizer() = default;

std::unique_ptr<Tokenizer> Tokenizer::from_gguf(const gguf::File& file) {
  const auto model = file.get_string("tokenizer.ggml.model");
  if (!model) {
    throw Error(ErrorCode::kCorruptData,
                "the model file has no tokenizer (tokenizer.ggml.model); get another one");
  }
  if (*model == "llama") return make_piece_tokenizer(file, MergeRule::kScores);
  if (*model == "gemma4") return make_piece_tokenizer(file, MergeRule::kMerges);
  if (*model != "gpt2") {
    throw Error(ErrorCode::kUnsupported, "the model's tokenizer '" + std::string(*model) +
                                             "' is not supported (gpt2, llama and gemma4 are)");
  }
  std::string_view name = file.get_string("tokenizer.ggml.pre").value_or("default");
  if ((name.empty() || name == "default") && is_llama3(file)) name = "llama-bpe";
  if (name == "gemma4" || name == "sarvam-moe") {
    return make_piece_tokenizer(file, MergeRule::kMerges);
  }
  const PreTokenizer* pretokenizer = find_pretokenizer(name);
  if (!pretokenizer) {
    throw Error(ErrorCode::kUnsupported,
                "the model's pre-tokenizer '" + std::string(name) + "' is not supported");
  }
  return make_byte_tokenizer(file, *pretokenizer);
}

std::vector<TokenId> Tokenizer::encode(const PromptText& text, const EncodeOptions& options,
                                       Work& work) const {
  return encode(
      text.text(), options,
      [&](size_t position) {
        return options.parse_special ? text.trusted_end(position) : position;
      },
      work);
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, const EncodeOptions& options,
                                       Work& work) const {
  return encode(
      text, options,
      [&](size_t position) { return options.parse_special ? text.size() : position; }, work);
}

template <typename TrustedEnd>
std::vector<TokenId> Tokenizer::encode(std::string_view text, const EncodeOptions& options,
                                       TrustedEnd trusted_end, Work& work) const {
  if (text.size() >= kMaxTextBytes) {
    throw Error(ErrorCode::kInvalidArgument, "the text is 1 GiB or more; split it");
  }
  const Vocabulary& v = *vocabulary_;
  std::vector<TokenId> ids;
  if (options.add_special && v.adds_bos) ids.push_back(*v.bos);
  bool after_special = !options.goes_on;
  for (size_t position = 0; position < text.size();) {
    const SpecialMatcher::Match match = v.specials.find(text, position, trusted_end);
    if (match.begin > position) {
      encode_text(text.substr(position, match.begin - position), after_special, ids, work);
    }
    work.charge(1 + match.size);
    after_special = true;
    position = match.begin + match.size;
    if (match.id < 0) break;
    ids.push_back(match.id);
    if (v.strips_right[match.id]) {
      while (position < text.size() && is_ascii_space(text[position])) ++position;
    }
  }
  if (options.add_special && v.adds_eos) ids.push_back(*v.eos);
  return ids;
}

size_t Tokenizer::least_num_tokens(size_t size_bytes) const {
  const Vocabulary& v = *vocabulary_;
  const bool is_known = keeps_all_bytes() && !v.strips_white_space && v.max_piece_size > 0;
  return is_known ? size_bytes / v.max_piece_size : 0;
}

std::string_view Tokenizer::token_bytes(TokenId id, bool with_special) const {
  const Vocabulary& v = *vocabulary_;
  if (!v.has(id)) return {};
  const bool is_hidden = v.is_type(id, TokenType::kControl) || v.is_type(id, TokenType::kUnknown);
  return is_hidden && !with_special ? std::string_view() : v.pieces[id];
}

std::string_view Tokenizer::framed_bytes(TokenId id) const {
  if (!is_control(id)) return token_bytes(id);
  const auto& framed = vocabulary_->framed;
  const auto found =
      std::lower_bound(framed.begin(), framed.end(), id,
                       [](const auto& item, TokenId key) { return item.first < key; });
  return found->second;
}

std::string Tokenizer::decode(const std::vector<TokenId>& ids, bool with_special) const {
  Utf8Repairer repairer;
  std::string text;
  for (const TokenId id : ids) repairer.push(token_bytes(id, with_special), text);
  repairer.flush(text);
  return text;
}

std::string_view Tokenizer::token_text(TokenId id) const {
  return vocabulary_->has(id) ? vocabulary_->texts[id] : std::string_view();
}

std::optional<TokenId> Tokenizer::find_token(std::string_view token_text) const {
  const int32_t id = vocabulary_->by_text.find(token_text);
  return id < 0 ? std::nullopt : std::optional<TokenId>(id);
}

size_t Tokenizer::vocab_size() const { return vocabulary_->size(); }

bool Tokenizer::is_control(TokenId id) const {
  return vocabulary_->has(id) && vocabulary_->is_type(id, TokenType::kControl);
}

bool Tokenizer::is_end_of_generation(TokenId id) const {
  return vocabulary_->has(id) && vocabulary_->ends_generation[id];
}

std::optional<TokenId> Tokenizer::bos() const { return vocabulary_->bos; }
std::optional<FillTokens> Tokenizer::fill_tokens() const { return vocabulary_->fill; }
std::optional<TokenId> Tokenizer::eos() const { return vocabulary_->eos; }
bool Tokenizer::adds_bos() const { return vocabulary_->adds_bos; }

}  // namespace sluice::text
