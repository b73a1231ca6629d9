#include "convert/hf_vocabulary.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "base/error.h"
#include "base/input_file.h"
#include "base/print.h"

namespace sluice::convert {
namespace {

constexpr size_t kMaxTokenizerBytes = size_t{256} << 20;
constexpr size_t kMaxConfigBytes = size_t{16} << 20;
constexpr int64_t kMaxTokenId = (1 << 24) - 1;

enum TokenType : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5 };

// The expression that cuts text into words, as tokenizer.json files spell it, and the name that
// tokenizer.ggml.pre has for it.
struct NamedPattern {
  std::string_view name;
  std::string_view pattern;
};
#define SLUICE_CONTRACTIONS R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|)"
#define SLUICE_TAIL R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"
constexpr std::array kPatterns = {
    NamedPattern{"llama-bpe",
                 SLUICE_CONTRACTIONS R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})" SLUICE_TAIL},
    NamedPattern{"qwen2", SLUICE_CONTRACTIONS R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N})" SLUICE_TAIL},
    NamedPattern{"tekken",
                 R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
                 R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
                 R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
};
#undef SLUICE_CONTRACTIONS
#undef SLUICE_TAIL

std::string type_of(const Json& object) {
  return Fields(object, "tokenizer.json").get_string("type").value_or("");
}

// The stages of a pre-tokenizer, a sequence of them taken apart.
std::vector<const Json*> stages_of(const Json& pretokenizer) {
  if (!pretokenizer.is_object()) return {};
  if (type_of(pretokenizer) != "Sequence") return {&pretokenizer};
  std::vector<const Json*> stages;
  const Json* list = Fields(pretokenizer, "tokenizer.json").find("pretokenizers");
  if (list == nullptr || !list->is_array()) return {};
  for (const Json& stage : *list) {
    if (stage.is_object()) stages.push_back(&stage);
  }
  return stages;
}

[[noreturn]] void refuse_pretokenizer(const std::string& what) {
  throw Error(ErrorCode::kUnsupported,
              "tokenizer.json: " + printable(what.substr(0, 300)) +
                  " is no way of cutting text into words that is known here");
}

// The family of a byte-level tokenizer.
std::string name_pretokenizer(const Json& pretokenizer) {
  bool has_digits = false;
  std::string pattern;
  bool uses_gpt2_pattern = false;
  for (const Json* stage : stages_of(pretokenizer)) {
    const Fields fields(*stage, "tokenizer.json, pre_tokenizer");
    const std::string type = type_of(*stage);
    if (type == "Digits") {
      has_digits = fields.get_bool("individual_digits").value_or(false);
    } else if (type == "ByteLevel") {
      uses_gpt2_pattern = fields.get_bool("use_regex").value_or(true);
    } else if (type == "Split") {
      const auto spelled = fields.get_object("pattern");
      if (!spelled || !pattern.empty()) refuse_pretokenizer("a Split");
      pattern = spelled->get_string("Regex").value_or("");
    } else {
      refuse_pretokenizer(type);
    }
  }
  if (pattern.empty()) {
    if (!uses_gpt2_pattern) refuse_pretokenizer("a pre-tokenizer without a pattern");
    return has_digits ? "smollm" : "gpt-2";
  }
  const auto known = std::find_if(kPatterns.begin(), kPatterns.end(),
                                  [&](const NamedPattern& p) { return p.pattern == pattern; });
  if (known == kPatterns.end() || has_digits) refuse_pretokenizer("the pattern " + pattern);
  return std::string(known->name);
}

void read_tokens(const Fields& model, HfVocabulary& vocabulary) {
  const auto vocab = model.get_object("vocab");
  if (!vocab || vocab->object().empty()) model.fail("vocab is missing or empty");
  const size_t count = vocab->object().size();
  for (const auto& [text, id] : vocab->object().items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > static_cast<uint64_t>(kMaxTokenId)) {
      model.fail("the token '" + printable(text.substr(0, 80)) + "' has no number as its id");
    }
    const size_t index = id.get<size_t>();
    // Gaps are rare and small; an id far out would be a list of nothing.
    if (index > 2 * count + 1000) model.fail("the id " + std::to_string(index) + " is far out");
    if (index >= vocabulary.tokens.size()) vocabulary.tokens.resize(index + 1);
    if (!vocabulary.tokens[index].empty()) {
      model.fail("the id " + std::to_string(index) + " is given twice");
    }
    vocabulary.tokens[index] = text;
  }
  vocabulary.types.assign(vocabulary.tokens.size(), kNormal);
}

void read_merges(const Fields& model, HfVocabulary& vocabulary) {
  const Json* merges = model.find("merges");
  if (merges == nullptr || !merges->is_array()) model.fail("merges is missing");
  for (const Json& merge : *merges) {
    const bool is_pair =
        merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string();
    if (!is_pair && !merge.is_string()) model.fail("a merge is no pair of tokens");
    vocabulary.merges.push_back(is_pair ? merge[0].get<std::string>() + " " +
                                              merge[1].get<std::string>()
                                        : merge.get<std::string>());
  }
}

// Tokens beside the vocabulary proper: marks of turns, beginnings and ends.
void add_token(const Fields& token, int64_t id, HfVocabulary& vocabulary) {
  const size_t index = static_cast<size_t>(id);
  if (index > vocabulary.tokens.size() + 100'000) token.fail("its id is far out");
  if (index >= vocabulary.tokens.size()) {
    vocabulary.tokens.resize(index + 1);
    vocabulary.types.resize(index + 1, kNormal);
    if (!vocabulary.scores.empty()) vocabulary.scores.resize(index + 1, -1000.0f);
  }
  const auto content = token.get_string("content");
  if (!content) token.fail("an added token has no content");
  vocabulary.tokens[index] = *content;
  const bool is_special = token.get_bool("special").value_or(false);
  int32_t& type = vocabulary.types[index];
  if (type != kUnknown) type = is_special ? kControl : kUserDefined;
}

// SentencePiece vocabularies that come as tokenizer.json: ids stand in the order of the scores, and
// single bytes are spelled "<0x0A>".
void become_sentencepiece(const Json& json, const Fields& model, HfVocabulary& vocabulary) {
  constexpr int32_t kByte = 6;
  vocabulary.model = "llama";
  vocabulary.merges.clear();
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    vocabulary.scores.push_back(-static_cast<float>(i));
    const std::string& text = vocabulary.tokens[i];
    if (text.size() == 6 && text.starts_with("<0x") && text.ends_with(">")) {
      vocabulary.types[i] = kByte;
    }
  }
  const std::string unknown = model.get_string("unk_token").value_or("");
  for (size_t i = 0; i < vocabulary.tokens.size() && !unknown.empty(); ++i) {
    if (vocabulary.tokens[i] == unknown) vocabulary.types[i] = kUnknown;
  }
  const std::string normalizer =
      json.value("normalizer", Json()).dump(-1, ' ', false, Json::error_handler_t::replace);
  vocabulary.adds_space_prefix = normalizer.find("\"Prepend\"") != std::string::npos;
}

std::optional<std::string> read_optional(const ModelFiles& files, const std::string& name,
                                         size_t max_bytes) {
  const auto found = files.find(name);
  if (found == files.end()) return std::nullopt;
  return read_small_file(found->second, max_bytes);
}

// A token that a configuration names: a string, or an object with its content.
std::string token_text(const Fields& config, const char* key) {
  const Json* value = config.find(key);
  if (value == nullptr) return "";
  if (value->is_string()) return value->get<std::string>();
  if (value->is_object()) return Fields(*value, key).get_string("content").value_or("");
  return "";
}

std::optional<int64_t> id_of(const HfVocabulary& vocabulary, const std::string& text) {
  if (text.empty()) return std::nullopt;
  const auto found = std::find(vocabulary.tokens.begin(), vocabulary.tokens.end(), text);
  if (found == vocabulary.tokens.end()) return std::nullopt;
  return found - vocabulary.tokens.begin();
}

std::vector<int64_t> ids_of(const Fields& config, const char* key) {
  const Json* value = config.find(key);
  std::vector<int64_t> ids;
  if (value == nullptr) return ids;
  const Json list = value->is_array() ? *value : Json::array({*value});
  for (const Json& id : list) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > static_cast<uint64_t>(kMaxTokenId)) {
      config.fail(std::string(key) + " is no token's id");
    }
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

std::string pick_template(const Fields& config) {
  const Json* value = config.find("chat_template");
  if (value == nullptr) return "";
  if (value->is_string()) return value->get<std::string>();
  if (!value->is_array()) return "";
  for (const Json& entry : *value) {  // several, by name
    if (!entry.is_object()) continue;
    const Fields fields(entry, "chat_template");
    if (fields.get_string("name") == "default") return fields.get_string("template").value_or("");
  }
  return "";
}

void read_tokenizer_config(const ModelFiles& files, HfVocabulary& vocabulary) {
  const auto text = read_optional(files, "tokenizer_config.json", kMaxConfigBytes);
  if (text) {
    const Json json = parse_object(*text, "tokenizer_config.json");
    const Fields config(json, "tokenizer_config.json");
    if (const auto added = config.get_object("added_tokens_decoder")) {
      for (const auto& [key, token] : added->object().items()) {
        const bool is_id = !key.empty() && key.size() < 9 &&
                           key.find_first_not_of("0123456789") == std::string::npos;
        if (!is_id || !token.is_object()) added->fail("'" + printable(key) + "' is no token's id");
        add_token(Fields(token, added->what()), std::stoll(key), vocabulary);
      }
    }
    vocabulary.adds_bos = config.get_bool("add_bos_token");
    vocabulary.adds_eos = config.get_bool("add_eos_token");
    vocabulary.bos = id_of(vocabulary, token_text(config, "bos_token"));
    vocabulary.eos = id_of(vocabulary, token_text(config, "eos_token"));
    vocabulary.unknown = id_of(vocabulary, token_text(config, "unk_token"));
    vocabulary.padding = id_of(vocabulary, token_text(config, "pad_token"));
    vocabulary.chat_template = pick_template(config);
  }
  if (const auto source = read_optional(files, "chat_template.jinja", kMaxConfigBytes)) {
    vocabulary.chat_template = *source;
  } else if (const auto wrapped = read_optional(files, "chat_template.json", kMaxConfigBytes)) {
    const Json json = parse_object(*wrapped, "chat_template.json");
    vocabulary.chat_template = pick_template(Fields(json, "chat_template.json"));
  }
}

// What ends a reply: generation_config.json knows more than config.json.
void read_ends(const ModelFiles& files, const Fields& config, HfVocabulary& vocabulary) {
  std::vector<int64_t> ends = ids_of(config, "eos_token_id");
  if (const auto text = read_optional(files, "generation_config.json", kMaxConfigBytes)) {
    const Json json = parse_object(*text, "generation_config.json");
    const std::vector<int64_t> own = ids_of(Fields(json, "generation_config.json"), "eos_token_id");
    if (!own.empty()) ends = own;
  }
  if (!vocabulary.eos && !ends.empty()) vocabulary.eos = ends.front();
  for (const int64_t id : ends) {
    if (id != vocabulary.eos) vocabulary.other_ends.push_back(id);
  }
  if (!vocabulary.bos) {
    const std::vector<int64_t> begins = ids_of(config, "bos_token_id");
    if (!begins.empty()) vocabulary.bos = begins.front();
  }
}

// No holes, no more tokens than rows, no id beyond them.
void fit_to_rows(HfVocabulary& vocabulary, size_t num_rows) {
  vocabulary.tokens.resize(num_rows);
  vocabulary.types.resize(num_rows, kUnused);
  if (!vocabulary.scores.empty()) vocabulary.scores.resize(num_rows, -1000.0f);
  for (size_t i = 0; i < num_rows; ++i) {
    if (!vocabulary.tokens[i].empty()) continue;
    vocabulary.tokens[i] = "[PAD" + std::to_string(i) + "]";
    vocabulary.types[i] = kUnused;
  }
  const auto keep_within = [num_rows](std::optional<int64_t>& id) {
    if (id && static_cast<size_t>(*id) >= num_rows) id.reset();
  };
  for (auto* id : {&vocabulary.bos, &vocabulary.eos, &vocabulary.unknown, &vocabulary.padding}) {
    keep_within(*id);
  }
  std::erase_if(vocabulary.other_ends,
                [num_rows](int64_t id) { return static_cast<size_t>(id) >= num_rows; });
}

}  // namespace

HfVocabulary parse_tokenizer_json(std::string_view text) {
  const Json json = parse_object(text, "tokenizer.json", 16);
  const Fields fields(json, "tokenizer.json");
  const auto model = fields.get_object("model");
  if (!model) fields.fail("model is missing");
  // Old files leave the type out.
  if (const auto type = model->get_string("type"); type && *type != "BPE") {
    throw Error(ErrorCode::kUnsupported, "tokenizer.json holds a tokenizer of the kind '" +
                                             printable(type->substr(0, 40)) +
                                             "'; only BPE is supported");
  }
  HfVocabulary vocabulary;
  vocabulary.model = "gpt2";
  read_tokens(*model, vocabulary);
  read_merges(*model, vocabulary);
  if (model->get_bool("byte_fallback").value_or(false)) {
    become_sentencepiece(json, *model, vocabulary);
  } else {
    const Json* pretokenizer = fields.find("pre_tokenizer");
    vocabulary.pretokenizer = name_pretokenizer(pretokenizer ? *pretokenizer : Json());
  }
  if (const Json* added = fields.find("added_tokens"); added != nullptr && added->is_array()) {
    for (const Json& token : *added) {
      if (!token.is_object()) fields.fail("an added token is no object");
      const Fields description(token, "tokenizer.json, added_tokens");
      add_token(description, description.require_int("id", 0, kMaxTokenId), vocabulary);
    }
  }
  return vocabulary;
}

HfVocabulary read_vocabulary(const ModelFiles& files, const Fields& config, size_t num_rows) {
  HfVocabulary vocabulary;
  if (const auto protobuf = read_optional(files, "tokenizer.model", kMaxTokenizerBytes)) {
    vocabulary = parse_sentencepiece(*protobuf);
  } else if (const auto text = read_optional(files, "tokenizer.json", kMaxTokenizerBytes)) {
    vocabulary = parse_tokenizer_json(*text);
  } else {
    throw Error(ErrorCode::kNotFound,
                "there is neither tokenizer.model nor tokenizer.json among the model's files");
  }
  read_tokenizer_config(files, vocabulary);
  read_ends(files, config, vocabulary);
  fit_to_rows(vocabulary, num_rows);
  return vocabulary;
}

void write_vocabulary(const HfVocabulary& vocabulary, gguf::Writer& head) {
  const std::string prefix = "tokenizer.ggml.";
  head.set_string(prefix + "model", vocabulary.model);
  head.set_string(prefix + "pre",
                  vocabulary.pretokenizer.empty() ? "default" : vocabulary.pretokenizer);
  head.set_strings(prefix + "tokens", vocabulary.tokens);
  head.set_int32s(prefix + "token_type", vocabulary.types);
  if (!vocabulary.scores.empty()) head.set_float32s(prefix + "scores", vocabulary.scores);
  if (!vocabulary.merges.empty()) head.set_strings(prefix + "merges", vocabulary.merges);
  const auto set_id = [&](const char* key, const std::optional<int64_t>& id) {
    if (id) head.set_uint32(prefix + key, static_cast<uint32_t>(*id));
  };
  set_id("bos_token_id", vocabulary.bos);
  set_id("eos_token_id", vocabulary.eos);
  set_id("unknown_token_id", vocabulary.unknown);
  set_id("padding_token_id", vocabulary.padding);
  if (!vocabulary.other_ends.empty()) set_id("eot_token_id", vocabulary.other_ends.front());
  if (vocabulary.adds_bos) head.set_bool(prefix + "add_bos_token", *vocabulary.adds_bos);
  if (vocabulary.adds_eos) head.set_bool(prefix + "add_eos_token", *vocabulary.adds_eos);
  if (vocabulary.adds_space_prefix) {
    head.set_bool(prefix + "add_space_prefix", *vocabulary.adds_space_prefix);
  }
  if (!vocabulary.chat_template.empty()) {
    head.set_string("tokenizer.chat_template", vocabulary.chat_template);
  }
}

}  // namespace sluice::convert
