#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "grammar/compiler.h"
#include "test_vocabulary.h"

namespace sluice::grammar::testing {

inline const text::Tokenizer& tokenizer() {
  static const std::unique_ptr<text::Tokenizer> tokenizer = make_tokenizer(common_words());
  return *tokenizer;
}

inline Compiler& compiler() {
  static Compiler compiler(tokenizer());
  return compiler;
}

inline Grammar compile(const Source& source) {
  Work work;
  return compiler().compile(source, work);
}
inline Grammar schema(std::string_view text) {
  return compile({SourceKind::kJsonSchema, std::string(text)});
}
inline Grammar regex(std::string_view text) {
  return compile({SourceKind::kRegex, std::string(text)});
}
inline Grammar gbnf(std::string_view text) {
  return compile({SourceKind::kGbnf, std::string(text)});
}

inline bool accepts(const Grammar& grammar, std::string_view text) {
  Matcher matcher(grammar);
  return (text.empty() || matcher.accept(text)) && matcher.is_complete();
}

inline std::vector<uint32_t> mask_of(Matcher& matcher) {
  std::vector<uint32_t> mask((tokenizer().vocab_size() + 31) / 32);
  matcher.fill_mask(mask);
  return mask;
}
inline bool has(const std::vector<uint32_t>& mask, size_t token) {
  return mask[token / 32] >> token % 32 & 1;
}

// A text that follows the masks. Tokens that end something are preferred when it becomes long.
inline std::string random_text(const Grammar& grammar, std::mt19937& random,
                               size_t max_tokens = 2000) {
  Matcher matcher(grammar);
  std::string text;
  for (size_t i = 0; i < max_tokens; ++i) {
    const std::vector<uint32_t> mask = mask_of(matcher);
    std::vector<text::TokenId> allowed, closing;
    for (size_t t = 0; t < tokenizer().vocab_size(); ++t) {
      if (!has(mask, t)) continue;
      const auto token = static_cast<text::TokenId>(t);
      allowed.push_back(token);
      const std::string_view bytes = tokenizer().token_bytes(token);
      if (bytes.empty() || bytes == "\"" || bytes == "}" || bytes == "]") closing.push_back(token);
    }
    if (allowed.empty()) {
      ADD_FAILURE() << "nothing may follow " << text;
      return text;
    }
    const bool closes = !closing.empty() && (i > 60 || random() % 4 == 0);
    const auto& from = closes ? closing : allowed;
    const text::TokenId token = from[random() % from.size()];
    if (tokenizer().is_end_of_generation(token)) return text;
    const std::string_view bytes = tokenizer().token_bytes(token);
    if (!matcher.accept(bytes)) {
      ADD_FAILURE() << "the mask allows \"" << bytes << "\" behind " << text;
      return text;
    }
    text += bytes;
  }
  return text;
}

// What compiling it throws.
inline std::string error_of(const Source& source) {
  try {
    compile(source);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace sluice::grammar::testing
