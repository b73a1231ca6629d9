#include "api/embedding.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"

namespace sluice::api {
namespace {

EmbeddingRequest parse(MakeEmbeddingDialect make, std::string_view body) {
  Work work;
  return make()->parse(body, work);
}

// As the one to a request for model m".
std::string whole(MakeEmbeddingDialect make, const EmbeddingReply& reply,
                  const std::string& format = "") {
  const auto dialect = make();
  Work work;
  dialect->parse(
      dump_json({{"model", "m\""}, {"input", "a"}, {"prompt", "a"}, {"encoding_format", format}}),
      work);
  return dialect->whole(reply);
}

std::string error_of(MakeEmbeddingDialect make, std::string_view body) {
  try {
    parse(make, body);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

using Strings = std::vector<TextOrTokens>;

TEST(EmbedRequest, TakesOneTextOrAList) {
  const EmbeddingRequest one = parse(ollama::make_embed, R"({"model":"m","input":"a"})");
  EXPECT_EQ(one.model, "m");
  EXPECT_EQ(one.inputs, Strings{"a"});
  EXPECT_TRUE(one.truncate);
  EXPECT_EQ(one.dimensions, 0);
  const EmbeddingRequest many =
      parse(ollama::make_embed,
            R"({"model":"m","input":["a","","b"],"truncate":false,"dimensions":8,"timeout":2,
          "keep_alive":0,"options":{"num_ctx":64}})");
  EXPECT_EQ(many.inputs, (Strings{"a", "", "b"}));
  EXPECT_FALSE(many.truncate);
  EXPECT_EQ(many.dimensions, 8);
  EXPECT_EQ(many.options.num_ctx, 64);
  EXPECT_EQ(many.keep_alive, KeepAlive::zero());
  EXPECT_EQ(many.extensions.timeout, std::chrono::seconds(2));
}

TEST(EmbedRequest, NoInputIsARequestForLoading) {
  for (const char* body : {R"({"model":"m"})", R"({"model":"m","input":null})",
                           R"({"model":"m","input":""})", R"({"model":"m","input":[]})"}) {
    EXPECT_TRUE(parse(ollama::make_embed, body).inputs.empty()) << body;
  }
}

TEST(EmbedRequest, WrongInputsAreRefused) {
  EXPECT_EQ(error_of(ollama::make_embed, R"({"model":"m","input":5})"), "invalid input type");
  EXPECT_EQ(error_of(ollama::make_embed, R"({"model":"m","input":["a",1]})"), "invalid input type");
  EXPECT_EQ(error_of(ollama::make_embed, R"({"model":"m","input":{"a":1}})"), "invalid input type");
  std::string many = R"({"model":"m","input":["a")";
  for (size_t i = 0; i < kMaxEmbeddingInputs; ++i) many += R"(,"a")";
  EXPECT_NE(error_of(ollama::make_embed, many + "]}").find("at most 2048"), std::string::npos);
}

TEST(EmbedRequest, OfOldHasAPrompt) {
  EXPECT_EQ(parse(ollama::make_embeddings, R"({"model":"m","prompt":"a"})").inputs, Strings{"a"});
  EXPECT_TRUE(parse(ollama::make_embeddings, R"({"model":"m","prompt":""})").inputs.empty());
  EXPECT_EQ(error_of(ollama::make_embeddings, R"({"prompt":"a"})"), "model is required");
}

TEST(EmbedRequest, OpenAisHasAnEncoding) {
  const EmbeddingRequest request =
      parse(openai::make_embeddings,
            R"({"model":"m","input":["a"],"encoding_format":"base64","dimensions":3})");
  EXPECT_EQ(request.dimensions, 3);
  EXPECT_EQ(parse(openai::make_embeddings, R"({"model":"m","input":""})").inputs, Strings{""});
  EXPECT_EQ(error_of(openai::make_embeddings, R"({"model":"m","input":[]})"), "invalid input");
  EXPECT_EQ(error_of(openai::make_embeddings, R"({"model":"m"})"), "invalid input");
  using Tokens = std::vector<text::TokenId>;
  EXPECT_EQ(parse(openai::make_embeddings, R"({"model":"m","input":[1,2]})").inputs,
            (Strings{Tokens{1, 2}}));
  EXPECT_EQ(parse(openai::make_embeddings, R"({"model":"m","input":[[1,2],[3]]})").inputs,
            (Strings{Tokens{1, 2}, Tokens{3}}));
  EXPECT_EQ(error_of(openai::make_embeddings, R"({"model":"m","input":[[]]})"),
            "invalid input type");
  EXPECT_NE(error_of(openai::make_embeddings, R"({"model":"m","input":[1,-2]})").find("token ids"),
            std::string::npos);
  EXPECT_NE(
      error_of(openai::make_embeddings, R"({"model":"m","input":"a","encoding_format":"hex"})")
          .find("encoding_format"),
      std::string::npos);
}

TEST(EmbeddingLength, IsOneAgainAfterCutting) {
  std::vector<float> vector = {0.6f, 0.0f, 0.8f};
  shorten_embedding(vector, 0);
  EXPECT_EQ(vector.size(), 3u);
  shorten_embedding(vector, 5);
  EXPECT_EQ(vector.size(), 3u);
  shorten_embedding(vector, 2);
  EXPECT_EQ(vector, (std::vector<float>{1.0f, 0.0f}));
  vector = {0.0f, 0.0f, 1.0f};
  shorten_embedding(vector, 2);
  EXPECT_EQ(vector, (std::vector<float>{0.0f, 0.0f}));
  vector = {1.0f, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_THROW(shorten_embedding(vector, 0), Error);
  vector = {std::numeric_limits<float>::infinity()};
  EXPECT_THROW(shorten_embedding(vector, 0), Error);
}

EmbeddingReply sample_reply() {
  EmbeddingReply reply;
  reply.embeddings = {{1.0f, -0.5f}, {0.1f, 1e-20f}};
  reply.num_prompt_tokens = 7;
  reply.num_dropped_tokens = 2;
  reply.total = std::chrono::nanoseconds(9);
  return reply;
}

TEST(EmbedReply, IsOllamas) {
  EXPECT_EQ(whole(ollama::make_embed, sample_reply()),
            R"({"model":"m\"","embeddings":[[1,-0.5],[0.1,1e-20]],"total_duration":9,)"
            R"("load_duration":1,"prompt_eval_count":7,)"
            R"("sluice":{"cached_tokens":0,"dropped_tokens":2}})");
  EXPECT_EQ(whole(ollama::make_embeddings, sample_reply()), R"({"embedding":[1,-0.5]})");
  EmbeddingReply empty;
  EXPECT_EQ(whole(ollama::make_embed, empty), R"({"model":"m\"","embeddings":[]})");
  EXPECT_EQ(whole(ollama::make_embeddings, empty), R"({"embedding":[]})");
}

TEST(EmbedReply, IsOpenAis) {
  const std::string tail = R"("model":"m\"","usage":{"prompt_tokens":7,"total_tokens":7},)"
                           R"("sluice":{"cached_tokens":0,"dropped_tokens":2}})";
  EXPECT_EQ(whole(openai::make_embeddings, sample_reply()),
            R"({"object":"list","data":[{"object":"embedding","embedding":[1,-0.5],"index":0},)"
            R"({"object":"embedding","embedding":[0.1,1e-20],"index":1}],)" +
                tail);
  // Little-endian floats: 00 00 80 3f 00 00 00 bf, and one number alone: 00 00 80 3f.
  EmbeddingReply reply = sample_reply();
  reply.embeddings = {{1.0f, -0.5f}, {1.0f}, {1.0f, 1.0f, 1.0f}};
  EXPECT_EQ(whole(openai::make_embeddings, reply, "base64"),
            R"({"object":"list","data":[)"
            R"({"object":"embedding","embedding":"AACAPwAAAL8=","index":0},)"
            R"({"object":"embedding","embedding":"AACAPw==","index":1},)"
            R"({"object":"embedding","embedding":"AACAPwAAgD8AAIA/","index":2}],)" +
                tail);
}

TEST(EmbedReply, NumbersAreReadBackExactly) {
  EmbeddingReply reply;
  const std::vector<float> values = {0.1f, 1.0f / 3, 1e-40f, 3.4028235e38f, -0.0f};
  reply.embeddings = {values};
  const Json json = parse_json(whole(ollama::make_embed, reply));
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(json["embeddings"][0][i].get<float>(), values[i]);
  }
}

TEST(RerankRequest, TakesTextsAndObjectsWithOne) {
  const EmbeddingRequest request =
      parse(make_rerank, R"({"model":"m","query":"q","documents":["a",{"text":"b"}],"top_n":1})");
  EXPECT_EQ(request.inputs, (Strings{"q", "a", "b"}));
  EXPECT_EQ(parse(make_rerank, R"({"model":"m","query":"q","texts":["a"]})").inputs,
            (Strings{"q", "a"}));
}

TEST(RerankRequest, RefusesWhatItCannotDo) {
  const auto error = [](const std::string& rest) {
    return error_of(make_rerank, R"({"model":"m")" + rest + "}");
  };
  EXPECT_NE(error(R"(,"documents":["a"])").find("query"), std::string::npos);
  EXPECT_NE(error(R"(,"query":["q"],"documents":["a"])").find("query"), std::string::npos);
  EXPECT_NE(error(R"(,"query":"q")").find("documents"), std::string::npos);
  EXPECT_NE(error(R"(,"query":"q","documents":[])").find("documents"), std::string::npos);
  EXPECT_NE(error(R"(,"query":"q","documents":[1])").find("documents"), std::string::npos);
  EXPECT_NE(error(R"(,"query":"q","documents":[{"image":"x"}])").find("texts"), std::string::npos);
  EXPECT_NE(error(R"(,"query":"q","documents":["a"],"top_n":0)").find("top_n"), std::string::npos);
  EXPECT_NE(error(R"(,"query":"q","documents":["a"],"max_tokens_per_doc":5)").find("max_tokens"),
            std::string::npos);
  EXPECT_NE(error_of(make_rerank, R"({"query":"q","documents":["a"]})").find("model"),
            std::string::npos);
  std::string many = "\"a\"";
  for (size_t i = 1; i < kMaxEmbeddingInputs; ++i) many += ",\"a\"";
  EXPECT_NE(error(",\"query\":\"q\",\"documents\":[" + many + "]").find("too many"),
            std::string::npos);
}

TEST(RerankReply, HasTheBestFirst) {
  EmbeddingReply reply;
  reply.embeddings = {{1, 0}, {0, 1}, {0.6f, 0.8f}, {-1, 0}, {0.6f, -0.8f}};
  reply.num_prompt_tokens = 9;
  const auto whole = [&](const std::string& rest) {
    const auto dialect = make_rerank();
    Work work;
    dialect->parse(R"({"model":"m","query":"q","documents":["a","b","c","d"])" + rest + "}", work);
    return parse_json(dialect->whole(reply));
  };
  const Json all = whole("");
  EXPECT_EQ(all["usage"]["total_tokens"], 9);
  ASSERT_EQ(all["results"].size(), 4u);
  std::vector<int> order;
  for (const Json& item : all["results"]) order.push_back(item["index"]);
  EXPECT_EQ(order, (std::vector<int>{1, 3, 0, 2}));  // equal ones in their order
  EXPECT_NEAR(all["results"][0]["relevance_score"].get<double>(), 0.6, 1e-6);
  EXPECT_EQ(all["results"][0]["document"]["text"], "b");
  EXPECT_EQ(all["results"][3]["relevance_score"], -1.0);
  const Json best = whole(R"(,"top_n":1,"return_documents":false)");
  ASSERT_EQ(best["results"].size(), 1u);
  EXPECT_FALSE(best["results"][0].contains("document"));
}

}  // namespace
}  // namespace sluice::api
