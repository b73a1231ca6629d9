#include "measure/trace.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "measure/traffic_mix.h"

namespace sluice::measure {
namespace {

using namespace std::chrono_literals;

TEST(Trace, RefusesMoreBlocksThanThePromptCanHave) {
  std::string ids = "1";
  for (int i = 0; i < 2000; ++i) ids += ",1";
  EXPECT_THROW(parse_trace("{\"timestamp\": 0, \"input_length\": 9, \"output_length\": 1, "
                           "\"hash_ids\": [" +
                               ids + "]}\n",
                           "t"),
               Error);
}

TEST(Trace, ReadsMooncakesColumns) {
  const Trace trace = parse_trace(
      "{\"timestamp\": 27482, \"input_length\": 6955, \"output_length\": 52, \"hash_ids\": [46, "
      "47]}\r\n\n{\"timestamp\": 27000.5, \"input_length\": 8, \"output_length\": 2}\n",
      "t");
  ASSERT_EQ(trace.requests.size(), 2u);
  EXPECT_EQ(trace.requests[0].due, 0ns);
  EXPECT_EQ(trace.requests[0].input_tokens, 8);
  EXPECT_TRUE(trace.requests[0].blocks.empty());
  EXPECT_EQ(trace.requests[1].due, 481'500us);
  EXPECT_EQ(trace.requests[1].output_tokens, 52);
  EXPECT_EQ(trace.requests[1].blocks, (std::vector<uint64_t>{46, 47}));
}

TEST(Trace, ReadsBurstGptsColumnsInAnyOrder) {
  const Trace trace = parse_trace(
      "\xef\xbb\xbfTimestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\r\n"
      "5,ChatGPT,472,18,490,Conversation log\r\n45.5,GPT-4,1087,0,1087,API log\r\n"
      "118,ChatGPT,417,276,693,Conversation log\n",
      "t");
  ASSERT_EQ(trace.requests.size(), 2u);
  EXPECT_EQ(trace.num_left_out, 1u);
  EXPECT_EQ(trace.requests[1].due, 113s);
  EXPECT_EQ(trace.requests[1].input_tokens, 417);
  EXPECT_EQ(trace.requests[1].output_tokens, 276);
  EXPECT_EQ(parse_trace("\"Response tokens\", \"Timestamp\",Request tokens\n3,\"1\",2", "t")
                .requests[0]
                .output_tokens,
            3);
  EXPECT_EQ(parse_trace(R"({"Timestamp": 1, "Request tokens": 2, "Response tokens": 3})", "t")
                .requests[0]
                .input_tokens,
            2);
}

TEST(Trace, NamesTheLineThatIsWrong) {
  const std::string good = R"({"timestamp": 0, "input_length": 1, "output_length": 1})";
  for (const char* bad :
       {"{\"timestamp\":", "{}", "{\"timestamp\": 1}", "1,2,3",
        R"({"timestamp": "0", "input_length": 1, "output_length": 1})",
        R"({"timestamp": -1, "input_length": 1, "output_length": 1})",
        R"({"timestamp": 1e300, "input_length": 1, "output_length": 1})",
        R"({"timestamp": 0, "input_length": 1.5, "output_length": 1})",
        R"({"timestamp": 0, "input_length": 1000001, "output_length": 1})",
        R"({"timestamp": 0, "input_length": 1, "output_length": -1})",
        R"({"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": 5})",
        R"({"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": [-1]})",
        R"({"Timestamp": 0, "input_length": 1, "output_length": 1})"}) {
    try {
      parse_trace(good + "\n" + bad, "file");
      ADD_FAILURE() << bad;
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find("file, line 2: "), 0u) << error.what();
    }
  }
  const std::string header = "Timestamp,Request tokens,Response tokens\n";
  for (const char* bad : {"1,2", "x,2,3", "1,,3", "nan,2,3", "1,inf,3", "1,2,3.5"}) {
    try {
      parse_trace(header + bad, "file");
      ADD_FAILURE() << bad;
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find("file, line 2: "), 0u) << error.what();
    }
  }
  for (const char* bad : {"", "\n", "Timestamp,Request tokens,Response tokens\n1,2,0\n"}) {
    EXPECT_THROW(parse_trace(bad, "f"), Error) << bad;
  }
  EXPECT_THROW(read_trace("/nonexistent"), Error);
}

size_t num_words(const std::string& text) {
  return 1 + static_cast<size_t>(std::count(text.begin(), text.end(), ' ')) +
         static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

size_t shared_beginning(const std::string& a, const std::string& b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first -
                             a.begin());
}

TEST(Trace, EqualBlocksAreEqualText) {
  const TraceRequest first{.input_tokens = 1100, .blocks = {7, 8, 9}};
  const TraceRequest second{.input_tokens = 1300, .blocks = {7, 8, 10}};
  const std::string a = make_trace_prompt(first, 5, 0), b = make_trace_prompt(second, 5, 1);
  const size_t shared = shared_beginning(a, b);
  EXPECT_EQ(num_words(a.substr(0, a.find_last_of(' ', shared))), 1024u);
  EXPECT_NEAR(static_cast<double>(num_words(a)), 1100, 2);
  EXPECT_NEAR(static_cast<double>(num_words(b)), 1300, 2);
  EXPECT_LT(shared_beginning(a, make_trace_prompt(first, 6, 0)), 30u);  // another seed
  const TraceRequest plain{.input_tokens = 40};
  EXPECT_LT(shared_beginning(make_trace_prompt(plain, 5, 0), make_trace_prompt(plain, 5, 1)), 30u);
  EXPECT_GE(num_words(make_trace_prompt({.input_tokens = 0, .blocks = {1}}, 5, 0)), 8u);
}

}  // namespace
}  // namespace sluice::measure
