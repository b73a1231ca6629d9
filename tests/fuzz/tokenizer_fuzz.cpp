#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "../text/tokenizer_vocabularies.h"
#include "base/error.h"
#include "gguf/writer.h"
#include "text/stream_decoder.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

// The first byte chooses a vocabulary and options, the rest is the text. Byte-level vocabularies
// must give back every valid text; ids must be in range; streaming must equal decoding at once.
// With the top bit set the text is instead cut into the lists of a (most often hostile) vocabulary.
namespace {

using namespace sluice::text;

void require(bool condition) {
  if (!condition) std::abort();
}

struct Fixture {
  std::unique_ptr<Tokenizer> tokenizer;
  bool is_byte_level;
};

std::vector<Fixture> make_fixtures() {
  std::vector<Fixture> fixtures;
  for (const char* pre : {"gpt-2", "smollm", "llama-bpe", "qwen2", "qwen35", "default", "falcon",
                          "deepseek-llm", "deepseek-coder", "deepseek-v3", "gpt-4o", "tekken",
                          "viking", "tiny_aya", "youtu", "laguna"}) {
    fixtures.push_back(
        {sluice::text::testing::load(sluice::text::testing::byte_vocabulary(pre).writer()), true});
  }
  fixtures.push_back(
      {sluice::text::testing::load(sluice::text::testing::piece_vocabulary().writer()), false});
  fixtures.push_back(
      {sluice::text::testing::load(sluice::text::testing::merge_piece_vocabulary().writer()),
       false});
  return fixtures;
}

void check_text(const Fixture& fixture, std::string_view text, const EncodeOptions& options) {
  const Tokenizer& tokenizer = *fixture.tokenizer;
  const std::vector<TokenId> ids = tokenizer.encode(text, options);
  StreamDecoder decoder(tokenizer);
  std::string streamed;
  for (const TokenId id : ids) {
    require(id >= 0 && static_cast<size_t>(id) < tokenizer.vocab_size());
    if (!options.parse_special && !options.add_special) require(!tokenizer.is_control(id));
    const std::string piece = decoder.push(id);
    require(is_utf8(piece));
    streamed += piece;
  }
  streamed += decoder.flush();
  require(streamed == tokenizer.decode(ids));
  if (fixture.is_byte_level && !options.parse_special && is_utf8(text)) require(streamed == text);
}

// The text cut into parts that are the template's own and parts that are not: a control token must
// lie in one of the former, and where all is the template's own nothing changes.
void check_origins(const Tokenizer& tokenizer, std::string_view text) {
  PromptText prompt;
  std::vector<std::string_view> trusted;
  for (bool is_trusted = false; !text.empty(); is_trusted = !is_trusted) {
    size_t size = 1;
    while (size < text.size() && static_cast<uint8_t>(text[size]) % 8 != 5) ++size;
    prompt.append(text.substr(0, size), is_trusted);
    if (is_trusted) trusted.push_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  sluice::Work work;
  for (const TokenId id : tokenizer.encode(prompt, {}, work)) {
    const auto has_token = [&](std::string_view part) {
      return part.find(tokenizer.token_text(id)) != part.npos;
    };
    require(!tokenizer.is_control(id) || std::any_of(trusted.begin(), trusted.end(), has_token));
  }
  const PromptText whole(prompt.text(), true);
  require(tokenizer.encode(whole, {}, work) == tokenizer.encode(prompt.text()));
}

// Strings of the hostile vocabulary are separated by zero bytes.
void check_vocabulary(uint8_t choice, std::string_view text) {
  std::vector<std::string> strings = {""};
  for (const char c : text) {
    if (c == '\0') {
      strings.emplace_back();
    } else {
      strings.back() += c;
    }
  }
  const size_t num_tokens = strings.size() / 2 + 1;
  sluice::text::testing::TinyVocabulary v;
  v.model = choice & 1 ? "llama" : choice & 2 ? "gemma4" : "gpt2";
  v.pre = choice & 4 ? "llama-bpe" : "default";
  for (size_t i = 0; i < strings.size(); ++i) {
    const std::string& s = strings[i];
    if (i >= num_tokens) {
      v.merges.push_back(s);
    } else {
      const auto byte = static_cast<int32_t>(s.empty() ? 0 : static_cast<uint8_t>(s.back()));
      v.add(s, byte % 7, static_cast<float>(byte));
    }
  }
  try {
    const auto tokenizer = sluice::text::testing::load(v.writer());
    for (const TokenId id : tokenizer->encode(text)) {
      require(id >= 0 && static_cast<size_t>(id) < tokenizer->vocab_size());
    }
  } catch (const sluice::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<Fixture> fixtures = make_fixtures();
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  if (data[0] & 0x80) {
    check_vocabulary(data[0], text);
    return 0;
  }
  EncodeOptions options;
  options.parse_special = data[0] & 0x40;
  options.add_special = data[0] & 0x20;
  const Fixture& fixture = fixtures[(data[0] & 0x1F) % fixtures.size()];
  check_text(fixture, text, options);
  check_origins(*fixture.tokenizer, text);
  return 0;
}
