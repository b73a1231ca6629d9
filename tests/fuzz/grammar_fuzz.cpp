#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>

#include "../grammar/test_vocabulary.h"
#include "base/error.h"
#include "grammar/compiler.h"

// The first byte says what the rest is: a schema, a regular expression, a grammar. What compiles is
// followed for some tokens: no place may be without a way on.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::grammar;
  static const auto tokenizer = testing::make_tokenizer(testing::common_words());
  static const auto tokens = std::make_shared<const TokenTable>(*tokenizer);
  if (size == 0) return 0;
  constexpr SourceKind kKinds[] = {SourceKind::kJsonSchema, SourceKind::kRegex, SourceKind::kGbnf};
  const Source source{kKinds[data[0] % 3],
                      std::string(reinterpret_cast<const char*>(data) + 1, size - 1)};
  Grammar grammar;
  try {
    sluice::Work work(uint64_t{20} << 20, {});
    grammar = std::make_shared<Automaton>(compile_rules(source, work), tokens);
  } catch (const sluice::Error&) {
    return 0;
  }
  std::mt19937 random(static_cast<unsigned>(size));
  std::vector<uint32_t> mask(tokens->num_mask_words());
  try {
    Matcher matcher(grammar);
    for (int i = 0; i < 20; ++i) {
      matcher.fill_mask(mask);
      std::vector<int32_t> allowed;
      for (size_t t = 0; t < tokens->vocab_size(); ++t) {
        if (mask[t / 32] >> t % 32 & 1) allowed.push_back(static_cast<int32_t>(t));
      }
      if (allowed.empty()) __builtin_trap();
      const int32_t token = allowed[random() % allowed.size()];
      if (tokenizer->is_end_of_generation(token)) return 0;
      if (!matcher.accept(tokenizer->token_bytes(token))) __builtin_trap();
    }
  } catch (const sluice::Error&) {  // too many possibilities
  }
  return 0;
}
