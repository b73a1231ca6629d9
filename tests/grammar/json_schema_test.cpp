#include "grammar/json_schema.h"

#include <nlohmann/json.hpp>

#include "grammar_fixture.h"

namespace sluice::grammar {
namespace {

using testing::accepts;
using testing::error_of;
using ::testing::HasSubstr;
using testing::random_text;
using testing::schema;

struct Case {
  std::string_view schema, text;
  bool accepted;
};

void check(std::initializer_list<Case> cases) {
  for (const Case& c : cases) {
    EXPECT_EQ(accepts(schema(c.schema), c.text), c.accepted) << c.schema << " on " << c.text;
  }
}

TEST(JsonSchema, KnowsTypes) {
  check({{R"({"type":"string"})", R"("a\n\u00e9 é\ud83d\ude00")", true},
         {R"({"type":"string"})", R"("\ud83d")", false},
         {R"({"type":"string"})", "\"a\nb\"", false},
         {R"({"type":"integer"})", "-12", true},
         {R"({"type":"integer"})", "1.5", false},
         {R"({"type":"number"})", "1.5e3", true},
         {R"({"type":"boolean"})", "true", true},
         {R"({"type":"null"})", "null", true},
         {R"({"type":["null","string"]})", "null", true},
         {R"({"type":["null","string"]})", "1", false},
         {R"({"type":"array"})", "[1, [], {\"a\": null}]", true},
         {R"({"type":"object"})", "{\"a\": {\"b\": [1]}, \"c\": 2}", true},
         {"{}", "[{}]", true},
         {"true", "3", true}});
}

TEST(JsonSchema, ObjectsHaveTheirMembersInOrder) {
  constexpr std::string_view kPerson =
      R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"},
          "tags":{"type":"array","items":{"type":"string"}}},"required":["name","tags"]})";
  check({{kPerson, R"({"name":"x","age":3,"tags":[]})", true},
         {kPerson, R"({"name": "x", "tags": ["a", "b"]})", true},
         {kPerson, "{\n  \"name\": \"x\",\n  \"tags\": [\n    \"a\"\n  ]\n}", true},
         {kPerson, R"({"tags":[],"name":"x"})", false},
         {kPerson, R"({"name":"x"})", false},
         {kPerson, R"({"name":"x","tags":[],"more":1})", false},
         {kPerson, R"({"name":1,"tags":[]})", false},
         {kPerson, R"({"name":"x",,"tags":[]})", false},
         {kPerson, R"({"name":"x","tags":[],})", false}});
}

TEST(JsonSchema, OtherMembersAreNotTheNamedOnes) {
  constexpr std::string_view kOpen =
      R"({"properties":{"a":{"type":"integer"}},"additionalProperties":{"type":"string"}})";
  check({{kOpen, R"({"a":1,"b":"x","ab":"y","":"z"})", true},
         {kOpen, R"({"b":"x"})", true},
         {kOpen, R"({"a":"x"})", false},
         {kOpen, R"({"\u0061":"x"})", false},
         {kOpen, R"({"b":1})", false}});
  constexpr std::string_view kPatterns =
      R"({"type":"object","patternProperties":{"^n_":{"type":"integer"},"s$":{"minimum":5}},
          "additionalProperties":{"type":"boolean"}})";
  check({{kPatterns, R"({"n_a":1,"n_s":7,"x":true})", true},
         {kPatterns, R"({"n_s":3})", false},
         {kPatterns, R"({"n_a":true})", false},
         {kPatterns, R"({"x":1})", false}});
  constexpr std::string_view kNames =
      R"({"type":"object","propertyNames":{"pattern":"^[a-z]{2}$"}})";
  check({{kNames, R"({"ab":1,"cd":2})", true}, {kNames, R"({"abc":1})", false}});
}

TEST(JsonSchema, CountsMembersAndElements) {
  constexpr std::string_view kTwo =
      R"({"properties":{"a":{},"b":{},"c":{}},"minProperties":2,"maxProperties":2})";
  check({{kTwo, R"({"a":1,"c":2})", true},
         {kTwo, R"({"a":1})", false},
         {kTwo, R"({"a":1,"b":1,"c":2})", false}});
  constexpr std::string_view kItems =
      R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],
          "items":{"type":"boolean"},"minItems":1,"maxItems":3})";
  check({{kItems, "[1]", true},
         {kItems, "[]", false},
         {kItems, "[1,\"a\",true]", true},
         {kItems, "[1,\"a\",true,true]", false},
         {kItems, "[1,true]", false}});
}

TEST(JsonSchema, HoldsStringsToTheirRules) {
  check(
      {{R"({"type":"string","minLength":2,"maxLength":3})", R"("é😀")", true},
       {R"({"type":"string","minLength":2,"maxLength":3})", R"("\ud83d\ude00")", false},
       {R"({"type":"string","maxLength":3})", R"("abcd")", false},
       {R"({"type":"string","minLength":2,"maxLength":1000000})", R"("abc")", true},
       {R"({"type":"string","pattern":"^[a-z]+\\d$"})", R"("ab1")", true},
       {R"({"type":"string","pattern":"^[a-z]+\\d$"})", R"("ab")", false},
       {R"({"type":"string","pattern":"b"})", R"("a\"b\\c")", true},
       {R"({"type":"string","pattern":"^\\n\"$"})", R"("\n\"")", true},
       {R"({"type":"string","pattern":"a","maxLength":2})", R"("ba")", true},
       {R"({"type":"string","pattern":"a","maxLength":2})", R"("bba")", false},
       {R"({"type":"string","format":"date"})", R"("2024-02-29")", true},
       {R"({"type":"string","format":"date"})", R"("2023-02-29")", false},
       {R"({"type":"string","format":"date-time"})", R"("2024-01-31T23:59:59.5+02:00")", true},
       {R"({"type":"string","format":"uuid"})", R"("123e4567-e89b-12d3-a456-426614174000")", true},
       {R"({"type":"string","format":"ipv4"})", R"("255.0.10.1")", true},
       {R"({"type":"string","format":"ipv4"})", R"("256.0.10.1")", false},
       {R"({"type":"string","format":"email"})", R"("a.b@example.com")", true}});
}

TEST(JsonSchema, HoldsNumbersToTheirBounds) {
  check({{R"({"type":"integer","minimum":-5,"exclusiveMaximum":10})", "9", true},
         {R"({"type":"integer","minimum":-5,"exclusiveMaximum":10})", "10", false},
         {R"({"type":"integer","minimum":-5})", "-6", false},
         {R"({"type":"number","minimum":0.5,"maximum":1})", "0.75", true},
         {R"({"type":"number","minimum":0.5,"maximum":1})", "1.01", false},
         {R"({"minimum":3,"exclusiveMinimum":true,"type":"integer"})", "3", false},
         {R"({"type":"integer","multipleOf":5})", "15", true},
         {R"({"type":"integer","multipleOf":5})", "16", false}});
}

TEST(JsonSchema, TakesValuesThatTheOtherKeywordsAllow) {
  check({{R"({"enum":["a","b\n",1,null,[1,{"x":2}],1.5]})", R"("b\n")", true},
         {R"({"enum":["a",[1,{"x":2}]]})", R"([1,{"x":2}])", true},
         {R"({"enum":["a","b"],"type":"string","minLength":1})", R"("b")", true},
         {R"({"enum":["a",1],"type":"integer"})", R"("a")", false},
         {R"({"enum":[1,5,9],"minimum":4})", "1", false},
         {R"({"enum":[1,5,9],"minimum":4})", "5", true},
         {R"({"const":"x"})", R"("x")", true},
         {R"({"enum":["ab","c"],"pattern":"^.$"})", R"("ab")", false}});
}

TEST(JsonSchema, JoinsAndChooses) {
  constexpr std::string_view kJoined =
      R"({"allOf":[{"properties":{"a":{"type":"integer"}},"required":["a"]},
                   {"properties":{"a":{"minimum":3},"b":{"type":"string"}}}]})";
  check({{kJoined, R"({"a":3,"b":"x"})", true}, {kJoined, R"({"a":2})", false}});
  constexpr std::string_view kChoice =
      R"({"type":"object","properties":{"k":{"type":"string"}},"required":["k"],
          "anyOf":[{"properties":{"v":{"type":"integer"}},"required":["v"]},
                   {"properties":{"w":{"type":"null"}}}]})";
  check({{kChoice, R"({"k":"x","v":1})", true},
         {kChoice, R"({"k":"x","w":null})", true},
         {kChoice, R"({"k":"x","v":null})", false}});
  constexpr std::string_view kOne =
      R"({"oneOf":[{"properties":{"t":{"const":"a"},"x":{"type":"integer"}},"required":["t"]},
                   {"properties":{"t":{"const":"b"},"y":{"type":"string"}},"required":["t"]}]})";
  check({{kOne, R"({"t":"a","x":1})", true}, {kOne, R"({"t":"b","x":1})", false}});
}

TEST(JsonSchema, FollowsReferences) {
  constexpr std::string_view kTree =
      R"({"$ref":"#/$defs/tree","$defs":{"tree":{"type":"object","properties":{
          "v":{"type":"integer"},"kids":{"type":"array","items":{"$ref":"#/$defs/tree"}}},
          "required":["v"]}}})";
  check({{kTree, R"({"v":1,"kids":[{"v":2,"kids":[]},{"v":3}]})", true},
         {kTree, R"({"v":1,"kids":[{"kids":[]}]})", false}});
  check(
      {{R"({"$ref":"#/definitions/a~1b%25","definitions":{"a/b%":{"type":"null"}}})", "null", true},
       {R"({"items":{"$ref":"#x"},"$defs":{"q":{"$anchor":"x","type":"null"}}})", "[null]", true},
       {R"({"type":"object","properties":{"next":{"anyOf":[{"$ref":"#"},{"type":"null"}]}}})",
        R"({"next":{"next":null}})", true}});
}

TEST(JsonSchema, NamesWhatItRefuses) {
  const Case cases[] = {
      {R"({"not":{"type":"string"}})", "keyword \"not\"", 0},
      {R"({"type":"array","uniqueItems":true})", "keyword \"uniqueItems\"", 0},
      {R"({"type":"array","contains":{}})", "keyword \"contains\"", 0},
      {R"({"type":"string","contentMediaType":"application/json"})", "keyword \"contentMediaType\"",
       0},
      {R"({"if":{},"then":{}})", "keyword \"if\"", 0},
      {R"({"type":"object","dependentRequired":{"a":["b"]}})", "keyword \"dependentRequired\"", 0},
      {R"({"type":"number","multipleOf":0.1})", "keyword \"multipleOf\"", 0},
      {R"({"type":"string","format":"regex"})", "keyword \"format\"", 0},
      {R"({"$ref":"http://example.com/x"})", "to another document", 0},
      {R"({"$ref":"#/$defs/x"})", "which is not there", 0},
      {R"({"$ref":"#"})", "leads back to itself", 0},
      {R"({"anyOf":[{"$ref":"#"},{"type":"null"}]})", "leads back to itself", 0},
      {R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", "keyword \"oneOf\"", 0},
      {R"x({"type":"string","pattern":"(?=a)"})x", "look-around", 0},
      {R"({"type":"object","minProperties":3})", "keyword \"minProperties\"", 0},
      {"false", "nothing can satisfy", 0},
      {R"({"type":"string","minLength":3,"maxLength":2})", "nothing can satisfy", 0},
      {R"({"properties":{"a":{"$ref":"#"}},"required":["a"]})", "nothing can satisfy", 0},
      {R"({"type":"strin"})", "no type \"strin\"", 0},
      {R"({"type":3})", "\"type\" must be", 0},
      {R"({"minLength":-1})", "\"minLength\" must be", 0},
      {R"({"required":"a"})", "\"required\" must be", 0},
      {R"({"properties":[]})", "\"properties\" must be", 0},
      {R"({"anyOf":{}})", "\"anyOf\" must be", 0},
      {"[]", "must be an object", 0},
      {"{", "not JSON", 0},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(error_of({SourceKind::kJsonSchema, std::string(c.schema)}),
                HasSubstr(std::string(c.text)))
        << c.schema;
  }
}

// A keyword that says nothing about what is written is no reason to refuse.
TEST(JsonSchema, IgnoresWhatDoesNotMatter) {
  check({{R"({"type":"string","uniqueItems":true,"title":"x","examples":[1],"x-order":3})",
          R"("a")", true},
         {R"({"type":"integer","format":"int32"})", "3", true},
         {R"({"type":"array","uniqueItems":false})", "[1,1]", true},
         {R"({"then":{"type":"null"},"type":"string"})", R"("a")", true}});
}

TEST(JsonSchema, HostileOnesAreBounded) {
  std::string deep = "1";
  for (int i = 0; i < 5000; ++i) deep = "{\"items\":" + deep + "}";
  EXPECT_THAT(error_of({SourceKind::kJsonSchema, deep}), HasSubstr("nested"));

  std::string combinations = "{\"allOf\":[";
  for (int i = 0; i < 30; ++i) {
    combinations += std::string(i > 0 ? "," : "") + "{\"anyOf\":[";
    for (int j = 0; j < 10; ++j) {
      combinations +=
          (j > 0 ? "," : "") + std::string("{\"minLength\":") + std::to_string(i * 10 + j) + "}";
    }
    combinations += "]}";
  }
  EXPECT_THAT(error_of({SourceKind::kJsonSchema, combinations + "]}"}),
              HasSubstr("too many combinations"));

  std::string chain = "{\"$ref\":\"#/$defs/a0\",\"$defs\":{";
  for (int i = 0; i < 3000; ++i) {
    chain +=
        "\"a" + std::to_string(i) + "\":{\"$ref\":\"#/$defs/a" + std::to_string(i + 1) + "\"},";
  }
  EXPECT_NE(error_of({SourceKind::kJsonSchema, chain + "\"a3000\":{}}}"}), "");

  // Schemas that follow one another through their members may be as many as they like.
  std::string linked = "{\"$ref\":\"#/$defs/a0\",\"$defs\":{";
  for (int i = 0; i < 3000; ++i) {
    linked += "\"a" + std::to_string(i) + "\":{\"properties\":{\"p\":{\"$ref\":\"#/$defs/a" +
              std::to_string(i + 1) + "\"}}},";
  }
  EXPECT_EQ(error_of({SourceKind::kJsonSchema, linked + "\"a3000\":{}}}"}), "");

  std::string wide = "{\"properties\":{";
  for (int i = 0; i < 6000; ++i) {
    wide += (i > 0 ? "," : "") + std::string("\"p") + std::to_string(i) + "\":{}";
  }
  EXPECT_THAT(error_of({SourceKind::kJsonSchema, wide + "}}"}), HasSubstr("too many members"));
}

TEST(JsonSchema, StopsWithItsWork) {
  std::string wide = "{\"properties\":{";
  for (int i = 0; i < 2000; ++i) {
    wide += (i > 0 ? "," : "") + std::string("\"p") + std::to_string(i) +
            "\":{\"pattern\":\"^a{1,50}$\"}";
  }
  wide += "}}";
  std::stop_source stop;
  stop.request_stop();
  Work work(Work::kUnlimited, stop.get_token());
  try {
    compile_rules({SourceKind::kJsonSchema, wide}, work);
    FAIL() << "it was not stopped";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCancelled);
  }
}

// However the tokens fall, what comes out can be read and has an end.
TEST(JsonSchema, RandomTextsAreJson) {
  constexpr std::string_view kSchemas[] = {
      R"({"type":"object"})",
      R"({"type":"array","items":{"type":["string","number","null"]},"minItems":2})",
      R"({"properties":{"a":{"type":"string","maxLength":5},"b":{"enum":["x","yy","é"]},
          "c":{"type":"array","items":{"$ref":"#"},"maxItems":2}},"required":["a","b"]})",
      R"({"type":"string","pattern":"^(a|bc)+$","maxLength":12})",
      R"({"type":"object","additionalProperties":{"type":"integer","minimum":10,"maximum":99}})"};
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  for (const std::string_view text : kSchemas) {
    const Grammar grammar = schema(text);
    for (int i = 0; i < 30; ++i) {
      const std::string out = random_text(grammar, random);
      EXPECT_TRUE(accepts(grammar, out)) << out;
      EXPECT_TRUE(nlohmann::json::accept(out)) << out;
    }
  }
}

TEST(JsonObject, IsWhatJsonModeGives) {
  const Grammar grammar = testing::compile({SourceKind::kJsonObject, ""});
  EXPECT_TRUE(accepts(grammar, " {\"a\": [1, 2.5, \"x\", null]}"));
  EXPECT_FALSE(accepts(grammar, "[1]"));
  std::mt19937 random(3);
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(nlohmann::json::parse(random_text(grammar, random)).is_object());
  }
}

}  // namespace
}  // namespace sluice::grammar
