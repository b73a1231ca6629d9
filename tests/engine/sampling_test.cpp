#include "engine/sampling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "base/error.h"

namespace sluice::engine {
namespace {

using testing::HasSubstr;
using Tokens = std::vector<text::TokenId>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

TEST(SamplingParams, OutOfRangeAreRefusedByName) {
  const auto refusal = [](auto change) -> std::string {
    SamplingParams params;
    change(params);
    try {
      check_sampling_params(params);
      return "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      return error.what();
    }
  };
  using P = SamplingParams;
  EXPECT_THAT(refusal([](P& p) { p.temperature = -0.1f; }), HasSubstr("temperature"));
  EXPECT_THAT(refusal([](P& p) { p.temperature = kNaN; }), HasSubstr("temperature"));
  EXPECT_THAT(refusal([](P& p) { p.top_k = -2; }), HasSubstr("top_k"));
  EXPECT_THAT(refusal([](P& p) { p.top_p = 1.1f; }), HasSubstr("top_p"));
  EXPECT_THAT(refusal([](P& p) { p.min_p = -0.1f; }), HasSubstr("min_p"));
  EXPECT_THAT(refusal([](P& p) { p.typical_p = kNaN; }), HasSubstr("typical_p"));
  EXPECT_THAT(refusal([](P& p) { p.repeat_last_n = -2; }), HasSubstr("repeat_last_n"));
  EXPECT_THAT(refusal([](P& p) { p.repeat_penalty = 0.0f; }), HasSubstr("repeat_penalty"));
  EXPECT_THAT(refusal([](P& p) { p.presence_penalty = kInfinity; }), HasSubstr("presence_penalty"));
  EXPECT_THAT(refusal([](P& p) { p.frequency_penalty = kNaN; }), HasSubstr("frequency_penalty"));
  EXPECT_EQ(refusal([](P& p) { p.top_k = -1; }), "accepted");
}

// History and draft, one behind the other.
Tokens joined(const PenaltyWindow& window) {
  Tokens tokens(window.history.begin(), window.history.end());
  tokens.insert(tokens.end(), window.draft.begin(), window.draft.end());
  return tokens;
}

TEST(Penalties, SeeThePromptOnlyIfTheyShall) {
  const Tokens tokens = {1, 2, 3, 4, 5};  // two of the prompt
  const auto seen = [&](const SamplingParams& params) {
    return joined(penalty_window(params, tokens, 2));
  };
  SamplingParams params;
  EXPECT_EQ(seen(params), Tokens{}) << "there is no penalty";
  params.presence_penalty = 1;
  EXPECT_EQ(seen(params), tokens);
  params.repeat_last_n = 4;
  EXPECT_EQ(seen(params), (Tokens{2, 3, 4, 5}));
  params.penalize_prompt = false;
  EXPECT_EQ(seen(params), (Tokens{3, 4, 5}));
  params.repeat_last_n = 2;
  EXPECT_EQ(seen(params), (Tokens{4, 5}));
  params.repeat_last_n = -1;
  EXPECT_EQ(seen(params), (Tokens{3, 4, 5}));
  params.repeat_last_n = 0;
  EXPECT_EQ(seen(params), Tokens{});
}

TEST(Penalties, SeeADraftAsIfItsTokensHadBeenAppended) {
  const Tokens tokens = {1, 2, 3, 4, 5}, draft = {6, 7, 8};
  for (const int repeat_last_n : {-1, 0, 1, 2, 3, 4, 6, 7, 8, 100}) {
    for (const bool penalize_prompt : {false, true}) {
      for (size_t count = 0; count <= draft.size(); ++count) {
        SamplingParams params;
        params.repeat_penalty = 1.1f;
        params.repeat_last_n = repeat_last_n;
        params.penalize_prompt = penalize_prompt;
        Tokens appended = tokens;
        appended.insert(appended.end(), draft.begin(), draft.begin() + count);
        EXPECT_EQ(joined(penalty_window(params, tokens, 2, std::span(draft).first(count))),
                  joined(penalty_window(params, appended, 2)))
            << repeat_last_n << " " << penalize_prompt << " " << count;
      }
    }
  }
}

TEST(Samples, EachTokenOfADraftHasThePositionOfAStepOfItsOwn) {
  Sequence sequence;
  sequence.tokens = {1, 2, 3, 4};
  sequence.num_prompt_tokens = sequence.num_leading_prompt_tokens = 2;
  sequence.draft = {5, 6, 7};
  Request request;
  request.num_top_logprobs = 3;
  request.sampling.top_k = 7;
  std::vector<backend::RowSampling> samplings;
  want_samples(request, 42, sequence, 2, samplings);
  ASSERT_EQ(samplings.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(samplings[i].seed, 42u);
    EXPECT_EQ(samplings[i].position, 2 + i);
    EXPECT_EQ(samplings[i].num_top_logprobs, 3);
    EXPECT_EQ(samplings[i].params.top_k, 7);
    EXPECT_TRUE(samplings[i].mask.empty());
  }
}

}  // namespace
}  // namespace sluice::engine
