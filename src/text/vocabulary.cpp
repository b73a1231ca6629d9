#include "text/vocabulary.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <limits>
#include <span>
#include <utility>

#include "base/error.h"
#include "text/reply_format.h"
#include "text/unicode.h"

namespace sluice::text {
namespace {

constexpr std::string_view kEscapedSpace = "\xE2\x96\x81";  // U+2581

// Texts that end a reply in the models that have them, and so are control tokens whatever the file
// says: untrusted text must not spell them. Not so "</s>", which is also a tag of HTML.
constexpr std::string_view kEndTexts[] = {"<|eot_id|>",
                                          "<|im_end|>",
                                          "<|end|>",
                                          "<|return|>",
                                          "<|call|>",
                                          "<|flush|>",
                                          "<|calls|>",
                                          "<end_of_turn>",
                                          "<|endoftext|>",
                                          "<|eom_id|>",
                                          "<EOT>",
                                          "_<EOT>",
                                          "[EOT]",
                                          "[EOS]",
                                          "<|end_of_text|>",
                                          "<end_of_utterance>",
                                          "<eos>",
                                          "<turn|>",
                                          "<|tool_response>",
                                          "[e~[",
                                          "<\xEF\xBD\x9C"
                                          "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>"};
// Code models stop at these too: padding, or the next file.
constexpr std::string_view kFileEndTexts[] = {"<|fim_pad|>",  "<fim-pad>",  "<fim_pad>",
                                              "<|fim_repo|>", "<fim-repo>", "<|repo_name|>",
                                              "<REPO>",       "<reponame>", "<|file_sep|>"};

// Names of the ids in FillTokens, and the ones that older files have for them.
struct FillName {
  const char* name;
  const char* older_name;
};
constexpr FillName kFillNames[] = {
    {"fim_pre", "prefix"}, {"fim_suf", "suffix"}, {"fim_mid", "middle"}};

std::string id_key(std::string_view name) {
  return "tokenizer.ggml." + std::string(name) + "_token_id";
}

// Ollama's files of Gemma 3 list tokens of images, which have no row in the embedding.
size_t num_usable_tokens(const gguf::File& file) {
  const gguf::Tensor* embedding = file.find_tensor("token_embd.weight");
  const bool may_have_more = file.get_string("general.architecture") == "gemma3";
  const bool is_known = may_have_more && embedding != nullptr && embedding->shape.size() == 2;
  return is_known ? static_cast<size_t>(embedding->rows()) : std::numeric_limits<size_t>::max();
}

constexpr bool is_spelled_as_itself(size_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<uint16_t, 256> make_byte_codes() {
  std::array<uint16_t, 256> codes{};
  uint16_t next = 256;
  for (size_t byte = 0; byte < 256; ++byte) {
    codes[byte] = is_spelled_as_itself(byte) ? static_cast<uint16_t>(byte) : next++;
  }
  return codes;
}
constexpr std::array<uint16_t, 256> kByteCodes = make_byte_codes();
constexpr size_t kNumCodes = 256 + 68;  // 68 bytes are not spelled as themselves

// -1: a character that stands for no byte.
constexpr std::array<int16_t, kNumCodes> make_bytes_of_codes() {
  std::array<int16_t, kNumCodes> bytes{};
  bytes.fill(-1);
  for (size_t byte = 0; byte < 256; ++byte) bytes[kByteCodes[byte]] = static_cast<int16_t>(byte);
  return bytes;
}
constexpr std::array<int16_t, kNumCodes> kBytesOfCodes = make_bytes_of_codes();

std::array<ByteSpelling, 256> make_byte_spellings() {
  std::array<ByteSpelling, 256> spellings{};
  for (size_t byte = 0; byte < 256; ++byte) {
    std::string utf8;
    append_utf8(utf8, kByteCodes[byte]);
    std::copy(utf8.begin(), utf8.end(), spellings[byte].bytes.begin());
    spellings[byte].size = static_cast<uint8_t>(utf8.size());
  }
  return spellings;
}

// Writes the bytes that a byte-level text spells; null when it has another character.
char* decode_byte_level(std::string_view text, char* out) {
  for (size_t i = 0; i < text.size();) {
    if (static_cast<uint8_t>(text[i]) < 0x80) {
      const int16_t byte = kBytesOfCodes[static_cast<uint8_t>(text[i])];
      if (byte < 0) return nullptr;
      *out++ = static_cast<char>(byte);
      ++i;
      continue;
    }
    const Utf8Step step = utf8_step(text.substr(i));
    if (!step.is_valid || step.size != 2) return nullptr;
    const size_t code = static_cast<size_t>(text[i] & 0x1F) << 6 | (text[i + 1] & 0x3F);
    if (code >= kNumCodes || kBytesOfCodes[code] < 0) return nullptr;
    *out++ = static_cast<char>(kBytesOfCodes[code]);
    i += 2;
  }
  return out;
}

char* unescape_spaces(std::string_view text, char* out) {
  for (size_t i = 0; i < text.size();) {
    if (text.substr(i, kEscapedSpace.size()) == kEscapedSpace) {
      *out++ = ' ';
      i += kEscapedSpace.size();
    } else {
      *out++ = text[i++];
    }
  }
  return out;
}

// "<0x0A>" -> '\n'.
std::optional<char> parse_byte_token(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  int value = 0;
  for (const char c : text.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) return std::nullopt;
    value = value * 16 + digit;
  }
  return static_cast<char>(value);
}

Error corrupt(const std::string& message) {
  return Error(ErrorCode::kCorruptData, message + "; the model file is damaged, get it again");
}

// Replies tell the texts of many tokens for each that is sampled. The longest of published models
// have some hundred bytes.
constexpr size_t kMaxTextBytes = size_t{64} << 10;

void check_count(std::string_view list, size_t count, size_t num_tokens) {
  if (count == num_tokens) return;
  throw corrupt("tokenizer.ggml." + std::string(list) + " has " + std::to_string(count) +
                " entries for " + std::to_string(num_tokens) + " tokens");
}

// Half a million look-ups in tables larger than the caches: taken in blocks, so that the loads of
// one block overlap.
constexpr size_t kMergeBlock = 32;

struct PendingMerge {
  std::string_view left;
  std::string_view right;
  std::string merged;
  TokenId left_id = -1;
  TokenId right_id = -1;
  TokenId merged_id = -1;

  bool parse(std::string_view text) {
    const size_t space = text.find(' ', 1);
    if (space == std::string_view::npos) return false;
    left = text.substr(0, space);
    right = text.substr(space + 1);
    merged.assign(left);
    merged.append(right);
    return true;
  }
  void prefetch(const StringTable& tokens) const {
    tokens.prefetch(left);
    tokens.prefetch(right);
    tokens.prefetch(merged);
  }
  bool find_ids(const StringTable& tokens) {
    left_id = tokens.find(left);
    right_id = tokens.find(right);
    merged_id = tokens.find(merged);
    return left_id >= 0 && right_id >= 0 && merged_id >= 0;
  }
};

}  // namespace

const std::array<ByteSpelling, 256> kByteSpellings = make_byte_spellings();

bool names_fill_tokens(const gguf::File& file) {
  return std::ranges::all_of(kFillNames, [&](const FillName& fill) {
    return file.get_uint(id_key(fill.name)) || file.get_uint(id_key(fill.older_name));
  });
}

Vocabulary::Vocabulary(const gguf::File& file, const VocabularyDefaults& defaults) {
  load_lists(file, defaults);
  load_special_ids(file, defaults);
  find_end_tokens();
  load_specials(file);
}

void Vocabulary::load_lists(const gguf::File& file, const VocabularyDefaults& defaults) {
  const auto* all_tokens = file.get_strings("tokenizer.ggml.tokens");
  if (!all_tokens || all_tokens->empty()) {
    throw corrupt("the model file has no tokenizer.ggml.tokens");
  }
  if (all_tokens->size() > size_t{1} << 26) throw corrupt("tokenizer.ggml.tokens is too long");
  const auto tokens =
      std::span(*all_tokens).first(std::min(all_tokens->size(), num_usable_tokens(file)));
  size_t text_bytes = 0;
  for (const std::string_view token : tokens) {
    if (token.size() > kMaxTextBytes) {
      throw corrupt("tokenizer.ggml.tokens has a token of " + std::to_string(token.size()) +
                    " bytes; the longest that is taken has " + std::to_string(kMaxTextBytes));
    }
    text_bytes += token.size();
    max_text_size = std::max(max_text_size, token.size());
  }
  arena.resize(text_bytes * 2);  // a piece is never longer than its text
  texts.reserve(tokens.size());
  char* out = arena.data();
  for (const std::string_view token : tokens) {
    std::copy(token.begin(), token.end(), out);
    texts.emplace_back(out, token.size());
    out += token.size();
  }
  by_text = StringTable(texts);
  load_types_and_scores(file, all_tokens->size(), defaults.needs_scores);
  load_pieces(defaults.spelling, text_bytes);
}

void Vocabulary::load_types_and_scores(const gguf::File& file, size_t num_listed,
                                       bool needs_scores) {
  types.assign(size(), TokenType::kNormal);
  const auto type_numbers = file.get_ints("tokenizer.ggml.token_type");
  auto score_list = file.get_floats("tokenizer.ggml.scores");
  if (type_numbers) {
    check_count("token_type", type_numbers->size(), num_listed);
    for (size_t i = 0; i < size(); ++i) {
      const int64_t type = (*type_numbers)[i];
      // 0 is "undefined" to the format; what is out of range means no more than that.
      if (type >= 1 && type <= 6) types[i] = static_cast<TokenType>(type);
    }
  } else if (needs_scores) {
    throw corrupt("the model file has no tokenizer.ggml.token_type");
  }
  if (score_list) {
    check_count("scores", score_list->size(), num_listed);
    scores = std::move(*score_list);
    scores.resize(size());
  } else if (needs_scores) {
    throw corrupt("the model file has no tokenizer.ggml.scores");
  }
}

void Vocabulary::load_pieces(Spelling spelling, size_t text_bytes) {
  pieces.reserve(size());
  char* out = arena.data() + text_bytes;
  for (size_t i = 0; i < size(); ++i) {
    char* end = nullptr;
    if (types[i] == TokenType::kByte) {
      if (const auto byte = parse_byte_token(texts[i])) {
        *out = *byte;
        end = out + 1;
      }
    } else if (types[i] == TokenType::kNormal || types[i] == TokenType::kUnused) {
      end = spelling == Spelling::kByteLevel ? decode_byte_level(texts[i], out)
                                             : unescape_spaces(texts[i], out);
    }
    if (!end) end = std::copy(texts[i].begin(), texts[i].end(), out);
    pieces.emplace_back(out, static_cast<size_t>(end - out));
    max_piece_size = std::max(max_piece_size, pieces.back().size());
    out = end;
  }
}

void Vocabulary::load_special_ids(const gguf::File& file, const VocabularyDefaults& defaults) {
  const auto id_of = [&](const std::string& name) -> std::optional<TokenId> {
    const std::string key = id_key(name);
    const auto id = file.get_uint(key);
    if (!id) return std::nullopt;
    if (*id >= size()) {
      throw corrupt(key + " is " + std::to_string(*id) + ", but there are " +
                    std::to_string(size()) + " tokens");
    }
    return static_cast<TokenId>(*id);
  };
  const auto control = [&](std::optional<TokenId> id) {
    return id && has(*id) && is_type(*id, TokenType::kControl) ? id : std::nullopt;
  };
  bos = id_of("bos");
  eos = id_of("eos");
  unknown = id_of("unknown");
  if (!bos) bos = control(defaults.bos);
  if (!eos) eos = control(defaults.eos);
  std::vector<TokenId> fill_ids;
  for (const FillName& names : kFillNames) {
    auto id = id_of(names.name);
    if (!id) id = id_of(names.older_name);
    if (id) fill_ids.push_back(*id);
  }
  if (fill_ids.size() == std::size(kFillNames)) fill = {fill_ids[0], fill_ids[1], fill_ids[2]};
  ends_generation.assign(size(), false);
  for (const auto& id : {eos, id_of("eot"), id_of("eom")}) {
    if (id) ends_generation[*id] = true;
  }
  adds_bos = file.get_bool("tokenizer.ggml.add_bos_token").value_or(defaults.adds_bos);
  adds_bos = (adds_bos || defaults.always_adds_bos) && bos;
  adds_eos = file.get_bool("tokenizer.ggml.add_eos_token").value_or(false) && eos;
}

void Vocabulary::find_end_tokens() {
  for (const std::string_view text : kEndTexts) {
    const TokenId id = by_text.find(text);
    if (id < 0) continue;
    ends_generation[id] = true;
    types[id] = TokenType::kControl;
  }
  const auto mark = [&](std::string_view text, bool user_defined_too) {
    const TokenId id = by_text.find(text);
    if (id < 0) return;
    if (is_type(id, TokenType::kControl) ||
        (user_defined_too && is_type(id, TokenType::kUserDefined))) {
      ends_generation[id] = true;
    }
  };
  for (const std::string_view text : kFileEndTexts) mark(text, true);
  mark("</s>", false);
  // Harmony and Solar end a message, not the reply, with "<|end|>".
  const bool has_calls = by_text.find("<|call|>") >= 0 || by_text.find("<|calls|>") >= 0;
  const bool ends_with_return = by_text.find("<|return|>") >= 0 || by_text.find("<|flush|>") >= 0;
  const TokenId end = by_text.find("<|end|>");
  if (end >= 0 && has_calls && ends_with_return && eos != end) ends_generation[end] = false;
}

void Vocabulary::load_specials(const gguf::File& file) {
  // Phi-3's definition strips the white space behind its special tokens, which the file cannot say.
  std::string name(file.get_string("general.name").value_or(""));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const bool is_phi3 =
      name.find("phi-3") != std::string::npos || name.find("phi3") != std::string::npos;

  strips_right.assign(size(), false);
  strips_white_space = is_phi3;
  std::vector<SpecialMatcher::Token> tokens;
  for (size_t i = 0; i < size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    const bool is_user_defined = is_type(id, TokenType::kUserDefined);
    if (is_type(id, TokenType::kControl)) framed.emplace_back(id, frame_control(pieces[i]));
    if (!is_user_defined && !is_type(id, TokenType::kControl) &&
        !is_type(id, TokenType::kUnknown)) {
      continue;
    }
    tokens.push_back({texts[i], id, is_user_defined});
    strips_right[i] =
        is_phi3 && texts[i] != "<unk>" && texts[i] != "<s>" && texts[i] != "<|endoftext|>";
  }
  specials = SpecialMatcher(std::move(tokens));
}

MergeTable load_merges(const gguf::File& file, const Vocabulary& vocabulary) {
  const auto* merges = file.get_strings("tokenizer.ggml.merges");
  if (!merges) throw corrupt("the model file has no tokenizer.ggml.merges");
  if (merges->size() > UINT32_MAX / 2) throw corrupt("tokenizer.ggml.merges is too long");
  MergeTable table(merges->size());
  std::vector<PendingMerge> block;
  for (size_t begin = 0; begin < merges->size(); begin += kMergeBlock) {
    block.resize(std::min(kMergeBlock, merges->size() - begin));
    for (size_t i = 0; i < block.size(); ++i) {
      if (!block[i].parse((*merges)[begin + i])) {
        throw corrupt("merge " + std::to_string(begin + i) +
                      " of tokenizer.ggml.merges is not a pair");
      }
      block[i].prefetch(vocabulary.by_text);
    }
    for (size_t i = 0; i < block.size(); ++i) {
      if (!block[i].find_ids(vocabulary.by_text)) {
        throw corrupt("merge " + std::to_string(begin + i) +
                      " of tokenizer.ggml.merges names a token that is not in the vocabulary");
      }
      table.prefetch(block[i].left_id, block[i].right_id);
    }
    for (size_t i = 0; i < block.size(); ++i) {
      const auto rank = static_cast<uint32_t>(begin + i);
      // Plain text must not become a control token, whatever the file's merges say.
      if (vocabulary.is_type(block[i].merged_id, TokenType::kControl)) continue;
      table.insert(block[i].left_id, block[i].right_id, {rank, block[i].merged_id});
    }
  }
  return table;
}

}  // namespace sluice::text
