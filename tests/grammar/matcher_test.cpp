#include <thread>

#include "grammar_fixture.h"

namespace sluice::grammar {
namespace {

using testing::compile;
using testing::gbnf;
using testing::has;
using testing::mask_of;
using testing::regex;
using testing::schema;
using testing::tokenizer;

// A mask is what taking each token by itself says, along random texts.
TEST(Matcher, MasksAreWhatTokensMayCome) {
  const Grammar grammars[] = {
      schema(R"({"type":"object"})"),
      schema(R"({"type":"array","items":{"type":"string","minLength":3,"maxLength":9}})"),
      schema(R"({"properties":{"name":{"type":"string"},"na":{"type":"integer"}}})"),
      schema(R"({"type":"string","format":"date-time"})"),
      regex("(the|a) ?[a-z]{1,12}(é|日本)*"),
      gbnf("root ::= \"yes\" | \"no\" | \"[{\" root \"}]\""),
  };
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  for (const Grammar& grammar : grammars) {
    for (int walk = 0; walk < 4; ++walk) {
      Matcher matcher(grammar);
      for (int step = 0; step < 40; ++step) {
        const std::vector<uint32_t> mask = mask_of(matcher);
        std::vector<std::string_view> allowed;
        for (size_t t = 0; t < tokenizer().vocab_size(); ++t) {
          const auto token = static_cast<text::TokenId>(t);
          if (tokenizer().is_end_of_generation(token)) {
            EXPECT_EQ(has(mask, t), matcher.is_complete());
            continue;
          }
          Matcher tried = matcher;
          const std::string_view bytes = tokenizer().token_bytes(token);
          EXPECT_EQ(has(mask, t), tried.accept(bytes)) << bytes;
          if (has(mask, t)) allowed.push_back(bytes);
        }
        if (allowed.empty()) break;
        EXPECT_TRUE(matcher.accept(allowed[random() % allowed.size()]));
      }
    }
  }
}

TEST(Matcher, ACopyGoesItsOwnWay) {
  Matcher matcher(gbnf("root ::= \"yes\" | \"no\""));
  Matcher tried = matcher;
  EXPECT_TRUE(tried.accept("ye"));
  EXPECT_FALSE(tried.accept("x"));
  EXPECT_TRUE(tried.accept("s"));
  EXPECT_TRUE(tried.is_over());
  EXPECT_TRUE(matcher.accept("no"));
  EXPECT_TRUE(matcher.is_over());
}

TEST(Matcher, KnowsWhenATextIsOver) {
  Matcher number(schema(R"({"type":"integer"})"));
  EXPECT_FALSE(number.is_complete());
  EXPECT_TRUE(number.accept("12"));
  EXPECT_TRUE(number.is_complete());
  EXPECT_FALSE(number.is_over());
  Matcher object(schema(R"({"type":"object"})"));
  EXPECT_TRUE(object.accept("{}"));
  EXPECT_TRUE(object.is_over());
}

TEST(Matcher, NothingNestsWithoutEnd) {
  Matcher matcher(schema("{\"type\":\"array\"}"));
  int depth = 0;
  while (matcher.accept("[")) ASSERT_LT(++depth, 1000);
  EXPECT_GT(depth, 50);
  // What was begun can be ended.
  for (int i = 0; i < depth; ++i) EXPECT_TRUE(matcher.accept("]")) << i;
  EXPECT_TRUE(matcher.is_over());
}

TEST(Matcher, AMaskMayHaveMoreWordsThanTheVocabulary) {
  Matcher matcher(gbnf("root ::= .*"));
  std::vector<uint32_t> mask((tokenizer().vocab_size() + 31) / 32 + 3, ~uint32_t{0});
  matcher.fill_mask(mask);
  EXPECT_EQ(mask.back(), 0u);
  std::vector<uint32_t> few(1);
  matcher.fill_mask(few);  // and fewer
}

// What was found out is forgotten when it takes too much; who is on its way goes on.
TEST(Matcher, GoesOnWhenThePlacesAreForgotten) {
  const Grammar grammar = gbnf("root ::= [a-z]{1,1000000} \".\"");
  Matcher waiting(grammar), running(grammar);
  EXPECT_TRUE(waiting.accept("abc"));
  const std::string word(1000, 'x');
  size_t largest = 0;
  for (int i = 0; i < 60; ++i) {
    EXPECT_TRUE(running.accept(word));
    largest = std::max(largest, grammar->size_bytes());
  }
  EXPECT_LT(largest, 24u << 20);
  EXPECT_TRUE(waiting.accept("d."));
  EXPECT_TRUE(waiting.is_over());
  EXPECT_TRUE(running.accept("."));
}

TEST(Matcher, ThreadsShareAGrammar) {
  const Grammar grammar = schema(R"({"type":"object"})");
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      std::mt19937 random(i);
      for (int round = 0; round < 5; ++round) testing::random_text(grammar, random);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Places in the middle of a long string share a mask; near its limits each has its own.
TEST(Matcher, CountsTheCharactersOfALongString) {
  const std::string word = "an ordinary sentence";
  Matcher matcher(schema(R"({"type":"string","minLength":30,"maxLength":100})"));
  EXPECT_TRUE(matcher.accept("\""));
  size_t token = 0;
  while (tokenizer().token_bytes(static_cast<text::TokenId>(token)) != word) ++token;
  for (size_t length = 0; length <= 100; ++length) {
    const std::vector<uint32_t> mask = mask_of(matcher);
    EXPECT_EQ(has(mask, '"'), length >= 30) << length;
    EXPECT_EQ(has(mask, 'x'), length < 100) << length;
    EXPECT_EQ(has(mask, token), length + word.size() <= 100) << length;
    EXPECT_EQ(matcher.accept("x"), length < 100);
  }
}

TEST(Compiler, KeepsWhatItHasMade) {
  Compiler compiler(tokenizer());
  Work work;
  const Source source{SourceKind::kRegex, "ab*"};
  const Grammar first = compiler.compile(source, work);
  EXPECT_EQ(compiler.compile(source, work), first);
  EXPECT_NE(compiler.compile({SourceKind::kGbnf, "root ::= \"ab\""}, work), first);
  for (int i = 0; i < 200; ++i) {
    compiler.compile({SourceKind::kRegex, "x{" + std::to_string(i) + "}"}, work);
  }
  EXPECT_NE(compiler.compile(source, work), first);  // not for ever
}

}  // namespace
}  // namespace sluice::grammar
