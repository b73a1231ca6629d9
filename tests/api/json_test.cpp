#include "api/json.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <random>

#include "base/error.h"

namespace sluice::api {
namespace {

Json parse_body(std::string_view text, const JsonLimits& limits = {}) {
  Work work;
  return api::parse_body(text, work, limits);
}

std::string error_of(std::string_view text, const JsonLimits& limits = {}) {
  try {
    parse_body(text, limits);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    const std::string message = error.what();
    EXPECT_EQ(message.find('\n'), std::string::npos);
    EXPECT_LT(message.size(), 300u);
    return message;
  }
  ADD_FAILURE() << "accepted: " << text.substr(0, 100);
  return {};
}

std::string repeated(std::string_view piece, size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += piece;
  return text;
}

TEST(ParseJson, KeepsTheOrderOfMembers) {
  EXPECT_EQ(dump_json(parse_json(R"({"z":1,"a":[true,null,-2,1.5,"x"],"m":{"b":{},"a":[]}})")),
            R"({"z":1,"a":[true,null,-2,1.5,"x"],"m":{"b":{},"a":[]}})");
  EXPECT_EQ(dump_json(parse_json("3")), "3");
  EXPECT_EQ(dump_json(parse_json(" \"x\" ")), "\"x\"");
}

TEST(ParseJson, OfEqualKeysTheLastCounts) {
  EXPECT_EQ(dump_json(parse_json(R"({"a":1,"b":2,"a":{"c":3},"a":4})")), R"({"a":4,"b":2})");
}

TEST(ParseJson, SaysThatThereIsNoBody) {
  EXPECT_EQ(error_of(""), "missing request body");
  EXPECT_EQ(error_of(" \r\n\t"), "missing request body");
}

TEST(ParseJson, TheBodyMustBeAnObject) {
  for (const char* text : {"[]", "null", "1", "\"x\"", "true"}) {
    EXPECT_EQ(error_of(text), "the request body must be a JSON object") << text;
  }
}

TEST(ParseJson, SaysWhereAndWhy) {
  EXPECT_EQ(error_of("{\"a\":tru}"), "invalid JSON at byte 9: invalid literal");
  EXPECT_EQ(error_of("{\"a\":1"), "invalid JSON at byte 7: unexpected end of input");
  EXPECT_EQ(error_of("{\"a\":1e999}").substr(0, 20), "invalid JSON at byte");
}

TEST(ParseJson, RefusesWhatIsNoJson) {
  for (const std::string& text : {
           std::string("{"),
           std::string("}"),
           std::string("{\"a\"}"),
           std::string("{\"a\":}"),
           std::string("{\"a\":1,}"),
           std::string("{a:1}"),
           std::string("{'a':1}"),
           std::string("{\"a\":NaN}"),
           std::string("{\"a\":Infinity}"),
           std::string("{\"a\":-}"),
           std::string("{\"a\":01}"),
           std::string("{\"a\":\"\n\"}"),
           std::string("{\"a\":\"\\x\"}"),
           std::string("{\"a\":\"\\u12\"}"),
           std::string("{\"a\":\"\\"),
           std::string("{\"a\":\"\\u"),
           std::string("{} {}"),
           std::string("{}x"),
           std::string("{\"a\":1}\0", 8),
           std::string("{/*c*/}"),
           std::string("\xFF\xFE{\0}\0", 6),
           std::string("<html>"),
           std::string(1000, '\0'),
           std::string(1000, '\xFF'),
           std::string("\x1f\x8b\x08\x00gzip", 8),
       }) {
    error_of(text);
  }
}

TEST(ParseJson, IsBoundedInDepthBeforeBuilding) {
  const auto nested = [](size_t depth, std::string_view open, std::string_view close) {
    return "{\"a\":" + repeated(open, depth) + "1" + repeated(close, depth) + "}";
  };
  EXPECT_NO_THROW(parse_body(nested(199, "[", "]")));
  EXPECT_EQ(error_of(nested(200, "[", "]")), "JSON is nested deeper than 200 levels");
  EXPECT_EQ(error_of(nested(1'000'000, "[", "]")), "JSON is nested deeper than 200 levels");
  EXPECT_EQ(error_of(nested(1'000'000, "{\"a\":", "}")), "JSON is nested deeper than 200 levels");
  EXPECT_EQ(error_of("{\"a\":" + std::string(1'000'000, '[')),
            "JSON is nested deeper than 200 levels");
}

TEST(ParseJson, IsBoundedInSizeAndValues) {
  JsonLimits limits;
  limits.max_bytes = 20;
  EXPECT_EQ(error_of(R"({"a":"0123456789abcdef"})", limits),
            "JSON of 24 bytes is larger than the limit of 20");
  limits = {};
  limits.max_values = 10;
  EXPECT_EQ(error_of("{\"a\":[" + repeated("0,", 20) + "0]}", limits),
            "JSON has more than 10 values");
  EXPECT_EQ(error_of("{\"a\":[" + repeated("0,", 2'100'000) + "0]}"),
            "JSON has more than 2000000 values");
}

TEST(ParseJson, IsLinearForManyMembers) {
  std::string text = "{";
  for (int i = 0; i < 100'000; ++i) text += "\"key" + std::to_string(i) + "\":0,";
  text += "\"end\":1}";
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(parse_body(text).size(), 100'001u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(ParseJson, ReadsHugeNumbersOrRefusesThem) {
  error_of("{\"a\":" + std::string(10'000'000, '9') + "}");
  EXPECT_NO_THROW(parse_body("{\"a\":0." + std::string(1'000'000, '9') + "}"));
  EXPECT_EQ(parse_body(R"({"a":18446744073709551616})")["a"].get<double>(), 18446744073709551616.0);
}

TEST(ParseJson, ReplacesInvalidUnicode) {
  const auto text_of = [](const std::string& text) {
    return parse_body("{\"a\":\"" + text + "\"}")["a"].get<std::string>();
  };
  const std::string bad = "\xEF\xBF\xBD";
  EXPECT_EQ(text_of("\xC3\xA4 \xE2\x82\xAC \xF0\x9F\x98\x80"),
            "\xC3\xA4 \xE2\x82\xAC \xF0\x9F\x98\x80");
  EXPECT_EQ(text_of("a\xFF"
                    "b"),
            "a" + bad + "b");
  EXPECT_EQ(text_of("\xE2\x82"), bad + bad);
  EXPECT_EQ(text_of("\xC0\xAF"), bad + bad);
  EXPECT_EQ(text_of("\xED\xA0\x80"), bad + bad + bad);
  EXPECT_EQ(text_of("\xF4\x90\x80\x80"), bad + bad + bad + bad);
  EXPECT_EQ(text_of(R"(\ud83d\ude00)"), "\xF0\x9F\x98\x80");
  EXPECT_EQ(text_of(R"(\ud83d)"), bad);
  EXPECT_EQ(text_of(R"(\ud83dx)"), bad + "x");
  EXPECT_EQ(text_of(R"(\ud83d\ud83d\ude00)"), bad + "\xF0\x9F\x98\x80");
  EXPECT_EQ(text_of(R"(\ude00)"), bad);
  EXPECT_EQ(text_of(R"(\\ud83d)"), "\\ud83d");
  EXPECT_EQ(text_of(R"(\u0000)"), std::string(1, '\0'));
}

TEST(ParseJson, SurvivesRandomChanges) {
  const std::string seed_text =
      R"({"model":"m","messages":[{"role":"user","content":"\ud83d\ude00 \u00e4"}],)"
      R"("options":{"temperature":0.5,"stop":["a"]},"stream":false})";
  constexpr unsigned kSeed = 20260821;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  for (int round = 0; round < 20'000; ++round) {
    std::string text = seed_text;
    for (unsigned change = random() % 4 + 1; change > 0; --change) {
      const size_t at = random() % text.size();
      if (random() % 3 == 0) {
        text.erase(at, random() % 8);
      } else {
        text[at] = static_cast<char>(random());
      }
      if (text.empty()) break;
    }
    try {
      const std::string dumped = dump_json(parse_body(text));
      EXPECT_EQ(dump_json(parse_body(dumped)), dumped);
    } catch (const Error&) {
    }
  }
}

TEST(DumpJson, NeverThrowsForInvalidText) {
  Json json;
  json["a"] = "\xFF";
  EXPECT_EQ(dump_json(json), "{\"a\":\"\xEF\xBF\xBD\"}");
}

TEST(Fields, AreFoundWithoutCaseAndNullIsAbsent) {
  const Json json = parse_body(R"({"Model":"x","model":"y","STREAM":true,"n":null})");
  EXPECT_EQ(string_field(json, "model"), "y");
  EXPECT_EQ(bool_field(json, "stream"), true);
  EXPECT_EQ(bool_field(json, "n"), std::nullopt);
  EXPECT_EQ(find_field(json, "absent"), nullptr);
  EXPECT_EQ(find_field(Json(3), "x"), nullptr);
}

template <typename Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Fields, EnforceTheirTypes) {
  const Json json = parse_body(R"({"s":"x","i":3,"f":1.5,"b":true,"l":[],"o":{}})");
  for (const char* name : {"i", "f", "b", "l", "o"}) {
    EXPECT_EQ(message_of([&] { string_field(json, name); }),
              "field \"" + std::string(name) + "\" must be a string");
  }
  for (const char* name : {"s", "f", "b", "l", "o"}) {
    EXPECT_EQ(message_of([&] { int_field(json, name, 0, 9); }),
              "field \"" + std::string(name) + "\" must be an integer");
  }
  EXPECT_EQ(message_of([&] { bool_field(json, "i"); }), "field \"i\" must be a boolean");
  EXPECT_EQ(message_of([&] { number_field(json, "b"); }), "field \"b\" must be a number");
  EXPECT_EQ(message_of([&] { array_field(json, "o"); }), "field \"o\" must be a list");
  EXPECT_EQ(message_of([&] { object_field(json, "l"); }), "field \"l\" must be an object");
}

TEST(Fields, IntegersAreCheckedAgainstTheirRange) {
  const Json json = parse_body(
      R"({"a":3,"b":3.0,"c":1e3,"d":9223372036854775808,"e":1e300,"f":-9223372036854775808})");
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(int_field(json, "a", kMin, kMax), 3);
  EXPECT_EQ(int_field(json, "b", kMin, kMax), 3);
  EXPECT_EQ(int_field(json, "c", kMin, kMax), 1000);
  EXPECT_EQ(int_field(json, "f", kMin, kMax), kMin);
  EXPECT_THROW(int_field(json, "d", kMin, kMax), Error);
  EXPECT_THROW(int_field(json, "e", kMin, kMax), Error);
  EXPECT_EQ(message_of([&] { int_field(json, "a", 0, 2); }), "field \"a\" must be between 0 and 2");
}

}  // namespace
}  // namespace sluice::api
