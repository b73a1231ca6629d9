#include "grammar_fixture.h"
#include "text/reply_format.h"

namespace sluice::grammar {
namespace {

using testing::accepts;
using testing::compile;
using text::frame_control;

Source literal(std::string text) { return {SourceKind::kLiteral, std::move(text)}; }
Source until(std::string text) { return {SourceKind::kUntil, std::move(text)}; }
Source of(SourceKind kind, std::vector<Source> parts) { return {kind, {}, std::move(parts)}; }

TEST(ComposedGrammar, PutsSourcesTogether) {
  const Source object = {SourceKind::kJsonSchema, R"({"type":"object","properties":{"a":
      {"type":"integer"}},"required":["a"],"additionalProperties":false})"};
  const Source call = of(SourceKind::kSequence, {literal("<f>"), object, literal("</f>")});
  const auto grammar = compile(of(SourceKind::kMany, {call, literal("\n")}));
  EXPECT_TRUE(accepts(grammar, R"(<f>{"a":1}</f>)"));
  EXPECT_TRUE(accepts(grammar, "<f>{\"a\":1}</f>\n<f>{\"a\":2}</f>\n<f>{\"a\":3}</f>"));
  EXPECT_FALSE(accepts(grammar, ""));
  EXPECT_FALSE(accepts(grammar, "<f>{\"a\":1}</f>\n"));
  EXPECT_FALSE(accepts(grammar, R"(<f>{"b":1}</f>)"));
  const auto choice = compile(of(SourceKind::kChoice, {literal("yes"), literal(""), object}));
  EXPECT_TRUE(accepts(choice, "yes"));
  EXPECT_TRUE(accepts(choice, ""));
  EXPECT_TRUE(accepts(choice, R"({"a":1})"));
  EXPECT_FALSE(accepts(choice, "no"));
}

TEST(ComposedGrammar, TakesAnyTextUntilAMarker) {
  const auto grammar =
      compile(of(SourceKind::kSequence, {until("</think>"), literal("\n"), literal("yes")}));
  EXPECT_TRUE(accepts(grammar, "</think>\nyes"));
  EXPECT_TRUE(accepts(grammar, "a < b </thi </</think>\nyes"));
  EXPECT_FALSE(accepts(grammar, "a</think>b</think>\nyes"));
  EXPECT_FALSE(accepts(grammar, "yes"));
  EXPECT_TRUE(accepts(compile(until("aab")), "aaaab"));
  EXPECT_FALSE(accepts(compile(until("aab")), "aabaab"));
}

// Control tokens are what they are, not what spells them.
TEST(ComposedGrammar, KnowsControlTokens) {
  const auto tokenizer = testing::make_tokenizer({"[CALL]", "\xFF[CALL]\xFF", "yes"},
                                                 {"[CALL]x", "[CALL]", "[OTHER]"});
  Compiler compiler(*tokenizer);
  Work work;
  const auto id = [&](std::string_view text) { return *tokenizer->find_token(text); };
  const auto may_come = [&](Matcher& matcher, text::TokenId token) {
    std::vector<uint32_t> mask((tokenizer->vocab_size() + 31) / 32);
    matcher.fill_mask(mask);
    return (mask[static_cast<size_t>(token) / 32] >> token % 32 & 1) != 0;
  };
  const text::TokenId control = id("[CALL]x") + 1;  // of two with this text
  ASSERT_TRUE(tokenizer->is_control(control));
  EXPECT_EQ(tokenizer->framed_bytes(control), frame_control("[CALL]"));
  EXPECT_EQ(tokenizer->framed_bytes(id("yes")), "yes");

  Matcher until_call(compiler.compile(
      of(SourceKind::kSequence, {until(frame_control("[CALL]")), literal("yes")}), work));
  EXPECT_TRUE(may_come(until_call, control));
  EXPECT_TRUE(may_come(until_call, id("yes")));
  EXPECT_FALSE(may_come(until_call, id("[OTHER]")));
  EXPECT_FALSE(may_come(until_call, id("[CALL]x")));
  EXPECT_FALSE(may_come(until_call, 0xFF));  // the byte
  ASSERT_TRUE(until_call.accept("[CALL]"));  // spelled
  ASSERT_TRUE(until_call.accept(tokenizer->framed_bytes(control)));
  EXPECT_FALSE(may_come(until_call, control));
  EXPECT_TRUE(may_come(until_call, id("yes")));

  Matcher any_text(compiler.compile({SourceKind::kGbnf, "root ::= .*"}, work));
  for (const text::TokenId token : {control, id("[OTHER]")})
    EXPECT_FALSE(may_come(any_text, token));
}

}  // namespace
}  // namespace sluice::grammar
