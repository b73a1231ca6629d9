// Replies that have to be of a grammar.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine_fixture.h"
#include "fake_model.h"
#include "grammar/compiler.h"

namespace sluice::engine {
namespace {

using grammar::SourceKind;
using ::testing::HasSubstr;

grammar::Grammar compile(SourceKind kind, const std::string& text) {
  static grammar::Compiler compiler(tokenizer());
  Work work;
  return compiler.compile({kind, text}, work);
}

bool is_of(const grammar::Grammar& grammar, const std::string& text) {
  grammar::Matcher matcher(grammar);
  return matcher.accept(text) && matcher.is_complete();
}

const std::string kPerson =
    R"({"type":"object","properties":{"name":{"type":"string","maxLength":6},
        "age":{"type":"integer","minimum":0,"maximum":120},
        "tags":{"type":"array","items":{"enum":["a","b"]},"maxItems":3}},
        "required":["name","age","tags"]})";

// 64 at once, each with a grammar or none, cut or whole: none disturbs another.
TEST(EngineGrammar, EachReplyIsOfItsOwnGrammar) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(seed);
  EngineOptions wanted = options(2048);
  wanted.max_sequences = 64;
  FakeModel model(wanted.num_blocks, kVocabSize);
  TestEngine engine([&](const backend::Batch& batch) { return model.forward(batch); }, tokenizer(),
                    wanted);
  const std::array grammars = {compile(SourceKind::kJsonSchema, kPerson),
                               compile(SourceKind::kGbnf, "root ::= \"yes\" | \"no, \" [a-z]{3,9}"),
                               compile(SourceKind::kRegex, "(ab|c){2,20}\\."), grammar::Grammar()};
  std::array<Collector, 64> collectors;
  for (size_t i = 0; i < collectors.size(); ++i) {
    Request request;
    request.prompt = {static_cast<text::TokenId>(i), 65};
    request.sampling.temperature = 1;
    request.sampling.seed = seed + i;
    request.max_tokens = 300;
    request.num_top_logprobs = 2;
    request.grammar = grammars[i % grammars.size()];
    request.on_event = collectors[i].callback();
    engine.submit(std::move(request));
  }
  for (size_t i = 0; i < collectors.size(); ++i) {
    const Event last = collectors[i].wait();
    if (!grammars[i % grammars.size()]) continue;
    EXPECT_EQ(last.reason, FinishReason::kEndOfSequence) << last.error;
    EXPECT_TRUE(is_of(grammars[i % grammars.size()], collectors[i].text())) << collectors[i].text();
    for (const OutputToken& token : collectors[i].tokens()) {
      EXPECT_EQ(token.top.size(), 2u);  // the model's own, whatever the grammar allows
    }
  }
}

TEST(EngineGrammar, TheModelChoosesWhereItMay) {
  TestEngine engine(scripted_text("noyes"), tokenizer(), options());
  Collector collector;
  Request request = greedy_request(collector);
  request.grammar = compile(SourceKind::kGbnf, "root ::= \"yes\" | \"no\"");
  engine.submit(std::move(request));
  const Event last = collector.wait();
  EXPECT_EQ(collector.text(), "no");
  EXPECT_EQ(last.reason, FinishReason::kEndOfSequence);
  EXPECT_EQ(last.num_output_tokens, 2);  // nothing can follow: no token says so
}

TEST(EngineGrammar, ItEndsNowhereElse) {
  TestEngine engine(scripted({kEndToken}), tokenizer(), options());
  Collector collector;
  Request request = greedy_request(collector);
  request.grammar = compile(SourceKind::kGbnf, "root ::= \"abc\" \"d\"?");
  request.ignore_end_of_sequence = true;  // with a grammar, the model's end counts where it may be
  engine.submit(std::move(request));
  EXPECT_EQ(collector.wait().reason, FinishReason::kEndOfSequence);
  EXPECT_EQ(collector.text(), "abc");
}

TEST(EngineGrammar, AReplyThatIsCutSaysSo) {
  TestEngine engine(scripted_text("\"aaaaaaaaaaa"), tokenizer(), options());
  Collector collector;
  Request request = greedy_request(collector);
  request.grammar = compile(SourceKind::kJsonSchema, R"({"type":"string"})");
  request.max_tokens = 5;
  engine.submit(std::move(request));
  EXPECT_EQ(collector.wait().reason, FinishReason::kMaxTokens);
  EXPECT_EQ(collector.text().size(), 5u);
  EXPECT_THAT(collector.text(), HasSubstr("\"a"));
}

TEST(EngineGrammar, StopStringsEndItToo) {
  TestEngine engine(scripted_text("abcabc"), tokenizer(), options());
  Collector collector;
  Request request = greedy_request(collector);
  request.grammar = compile(SourceKind::kRegex, "[abc]*");
  request.stop_strings = {"ca"};
  engine.submit(std::move(request));
  EXPECT_EQ(collector.wait().reason, FinishReason::kStopString);
  EXPECT_EQ(collector.text(), "ab");
}

// Guesses that the grammar does not allow are not tried; the others change nothing.
TEST(EngineGrammar, SpeculationDoesNotShow) {
  const grammar::Grammar grammar =
      compile(SourceKind::kGbnf, "root ::= ([a-c] [a-h]{2,5} [ \\n]){40} \".\"");
  uint64_t num_drafted = 0;
  for (int round = 0; round < 8; ++round) {
    std::array<std::string, 2> texts;
    for (const bool speculate : {false, true}) {
      EngineOptions wanted = options();
      wanted.speculate = speculate;
      wanted.min_draft_gain = 0;
      FakeModel model(wanted.num_blocks, kVocabSize, 7);
      TestEngine engine([&](const backend::Batch& batch) { return model.forward(batch); },
                        tokenizer(), wanted);
      Collector collector;
      Request request;
      request.prompt = bytes_as_tokens("abc def gha bed cab " + std::to_string(round));
      request.sampling.temperature = 0.5f;
      request.sampling.seed = 5;
      request.grammar = grammar;
      request.on_event = collector.callback();
      engine.submit(std::move(request));
      const Event last = collector.wait();
      EXPECT_EQ(last.reason, FinishReason::kEndOfSequence) << last.error;
      num_drafted += static_cast<uint64_t>(last.num_draft_tokens);
      texts[speculate ? 1 : 0] = collector.text();
      EXPECT_TRUE(is_of(grammar, collector.text())) << collector.text();
    }
    EXPECT_EQ(texts[0], texts[1]);
  }
  EXPECT_GT(num_drafted, 0u);
}

// What a grammar does wrong ends its own reply, with the reason.
TEST(EngineGrammar, OneThatCannotBeFollowedEndsItsReplyOnly) {
  TestEngine engine(scripted({'a'}), tokenizer(), options(512));
  Collector ambiguous, other;
  Request request = greedy_request(ambiguous);
  request.grammar = compile(SourceKind::kGbnf, "root ::= (\"a\"{1,1000}){1,1000}");
  engine.submit(std::move(request));
  request = greedy_request(other);
  request.max_tokens = 1500;
  engine.submit(std::move(request));
  const Event last = ambiguous.wait();
  EXPECT_EQ(last.reason, FinishReason::kError);
  EXPECT_THAT(last.error, HasSubstr("too many possibilities"));
  EXPECT_EQ(other.wait().reason, FinishReason::kMaxTokens);
}

}  // namespace
}  // namespace sluice::engine
