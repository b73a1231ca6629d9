#include "api/options.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace sluice::api {
namespace {

ModelOptions parse(std::string_view text) { return parse_options(parse_json(text)); }

std::string option_error(std::string_view text) {
  try {
    parse(text);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(ModelOptions, ReadsEveryOption) {
  const ModelOptions options = parse(
      R"({"temperature":0.5,"top_k":3,"top_p":0.25,"min_p":0.125,"typical_p":0.75,)"
      R"("repeat_last_n":-1,"repeat_penalty":1.5,"presence_penalty":-2,"frequency_penalty":2,)"
      R"("seed":9223372036854775807,"stop":["a","b"],"num_predict":-2,"num_keep":5,"num_ctx":8192,)"
      R"("num_batch":256,"num_gpu":0,"main_gpu":1,"num_thread":4,"draft_num_predict":6,)"
      R"("use_mmap":false})");
  EXPECT_EQ(options.temperature, 0.5f);
  EXPECT_EQ(options.top_k, 3);
  EXPECT_EQ(options.top_p, 0.25f);
  EXPECT_EQ(options.min_p, 0.125f);
  EXPECT_EQ(options.typical_p, 0.75f);
  EXPECT_EQ(options.repeat_last_n, -1);
  EXPECT_EQ(options.repeat_penalty, 1.5f);
  EXPECT_EQ(options.presence_penalty, -2.0f);
  EXPECT_EQ(options.frequency_penalty, 2.0f);
  EXPECT_EQ(options.seed, 9223372036854775807);
  EXPECT_EQ(options.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(options.num_predict, -2);
  EXPECT_EQ(options.num_keep, 5);
  EXPECT_EQ(options.num_ctx, 8192);
  EXPECT_EQ(options.num_batch, 256);
  EXPECT_EQ(options.num_gpu, 0);
  EXPECT_EQ(options.main_gpu, 1);
  EXPECT_EQ(options.num_thread, 4);
  EXPECT_EQ(options.draft_num_predict, 6);
  EXPECT_EQ(options.use_mmap, false);
  EXPECT_TRUE(options.unknown.empty());
}

TEST(ModelOptions, OldAndUnknownNamesAreReportedNotRefused) {
  const ModelOptions options = parse(R"({"mirostat":1,"tfs_z":"x","whatever":{},"top_k":null})");
  EXPECT_EQ(options.unknown, (std::vector<std::string>{"mirostat", "tfs_z", "whatever"}));
  EXPECT_EQ(options.top_k, std::nullopt);
}

TEST(ModelOptions, CutsFractionsOfIntegers) {
  EXPECT_EQ(parse(R"({"top_k":40.9})").top_k, 40);
  EXPECT_EQ(parse(R"({"seed":-1.5})").seed, -1);
}

TEST(ModelOptions, WrongTypesHaveOllamasTexts) {
  EXPECT_EQ(option_error(R"({"top_k":"40"})"), "option \"top_k\" must be of type integer");
  EXPECT_EQ(option_error(R"({"num_ctx":true})"), "option \"num_ctx\" must be of type integer");
  EXPECT_EQ(option_error(R"({"temperature":"hot"})"),
            "option \"temperature\" must be of type float32");
  EXPECT_EQ(option_error(R"({"temperature":[]})"),
            "option \"temperature\" must be of type float32");
  EXPECT_EQ(option_error(R"({"use_mmap":1})"), "option \"use_mmap\" must be of type boolean");
  EXPECT_EQ(option_error(Json{{"stop", std::vector<std::string>(65, "x")}}.dump()),
            "option \"stop\" holds more than 64 strings");
  EXPECT_EQ(option_error(R"({"stop":"x"})"), "option \"stop\" must be of type array");
  EXPECT_EQ(option_error(R"({"stop":["x",1]})"), "option \"stop\" must be of an array of strings");
  EXPECT_EQ(option_error("[]"), "field \"options\" must be an object");
}

TEST(ModelOptions, OutOfRangeIsRefused) {
  EXPECT_EQ(option_error(R"({"top_k":3000000000})"), "option \"top_k\" is out of range");
  EXPECT_EQ(option_error(R"({"top_k":-3000000000})"), "option \"top_k\" is out of range");
  EXPECT_EQ(option_error(R"({"num_ctx":1e300})"), "option \"num_ctx\" is out of range");
  EXPECT_EQ(option_error(R"({"seed":9223372036854775808})"), "option \"seed\" is out of range");
  EXPECT_EQ(option_error(R"({"seed":9.3e18})"), "option \"seed\" is out of range");
  EXPECT_EQ(option_error(R"({"temperature":1e39})"), "option \"temperature\" is out of range");
  EXPECT_EQ(parse(R"({"num_predict":1e18})").num_predict, 2147483647);
}

TEST(ModelOptions, TheRequestWinsOverTheModel) {
  const ModelOptions merged =
      merge_options(parse(R"({"temperature":0.5,"top_k":3,"stop":["a"],"old":1})"),
                    parse(R"({"top_k":0,"stop":["b"],"seed":7})"));
  EXPECT_EQ(merged.temperature, 0.5f);
  EXPECT_EQ(merged.top_k, 0);
  EXPECT_EQ(merged.stop, std::vector<std::string>{"b"});
  EXPECT_EQ(merged.seed, 7);
  EXPECT_EQ(merged.unknown, std::vector<std::string>{"old"});
}

TEST(ModelOptions, DefaultsAreOllamas) {
  const engine::SamplingParams params = to_sampling({});
  EXPECT_EQ(params.temperature, 0.8f);
  EXPECT_EQ(params.top_k, 40);
  EXPECT_EQ(params.top_p, 0.9f);
  EXPECT_EQ(params.repeat_last_n, 64);
  EXPECT_EQ(params.repeat_penalty, 1.0f);
  EXPECT_EQ(params.seed, std::nullopt);
}

TEST(ModelOptions, FillARequest) {
  engine::Request request;
  apply_options(parse(R"({"num_predict":5,"num_ctx":128,"stop":["","x"],"seed":0})"), request);
  EXPECT_EQ(request.max_tokens, 5);
  EXPECT_EQ(request.context_limit, 128);
  EXPECT_EQ(request.stop_strings, std::vector<std::string>{"x"});
  EXPECT_EQ(request.sampling.seed, 0u);
  apply_options(parse(R"({"num_predict":-1,"num_ctx":-5,"seed":-1})"), request);
  EXPECT_EQ(request.max_tokens, -1);
  EXPECT_EQ(request.context_limit, 0);
  EXPECT_TRUE(request.stop_strings.empty());
  EXPECT_EQ(request.sampling.seed, std::nullopt);
}

TEST(ModelOptions, SayWhatIsKeptAndWhetherToGuessAhead) {
  engine::Request request;
  apply_options(parse("{}"), request);
  EXPECT_EQ(request.num_keep, 4);
  EXPECT_EQ(request.speculate, std::nullopt);
  apply_options(parse(R"({"num_keep":9,"draft_num_predict":4})"), request);
  EXPECT_EQ(request.num_keep, 9);
  EXPECT_EQ(request.speculate, true);
  apply_options(parse(R"({"num_keep":-5,"draft_num_predict":0})"), request);
  EXPECT_EQ(request.num_keep, -1);
  EXPECT_EQ(request.speculate, false);
}

TEST(FormatParameters, PrintsOneLineAValue) {
  EXPECT_EQ(format_parameters(parse_json(
                R"({"num_ctx":4096,"stop":["<|im_start|>","<|im_end|>"],"temperature":0.7})")),
            "num_ctx                        4096\n"
            "stop                           \"<|im_start|>\"\n"
            "stop                           \"<|im_end|>\"\n"
            "temperature                    0.7");
  EXPECT_EQ(format_parameters(Json()), "");
}

}  // namespace
}  // namespace sluice::api
