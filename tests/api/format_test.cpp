#include "api/format.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "base/error.h"

namespace sluice::api {
namespace {

struct Case {
  std::string_view body;
  FormatKind kind;
  std::string_view text;
};

TEST(Format, OllamasIsJsonOrASchema) {
  const Case cases[] = {{R"("json")", FormatKind::kJson, ""},
                        {R"("")", FormatKind::kText, ""},
                        {"null", FormatKind::kText, ""},
                        {R"({"type":"object"})", FormatKind::kSchema, R"({"type":"object"})"}};
  for (const Case& c : cases) {
    const Format format = parse_format(parse_json(c.body));
    EXPECT_EQ(format.kind, c.kind) << c.body;
    EXPECT_EQ(format.text, c.text) << c.body;
  }
  EXPECT_THROW(parse_format(parse_json("[]")), Error);
}

TEST(Format, OpenAisHasATypeAndPerhapsASchema) {
  const Case cases[] = {
      {R"({"type":"text"})", FormatKind::kText, ""},
      {R"({"type":"json_object"})", FormatKind::kJson, ""},
      {R"({"type":"json_schema","json_schema":{"name":"x","strict":true,"schema":{"a":1}}})",
       FormatKind::kSchema, R"({"a":1})"},
      {R"({"type":"json_object","schema":{"a":1}})", FormatKind::kSchema, R"({"a":1})"}};
  for (const Case& c : cases) {
    const Format format = parse_response_format(parse_json(c.body));
    EXPECT_EQ(format.kind, c.kind) << c.body;
    EXPECT_EQ(format.text, c.text) << c.body;
  }
}

TEST(Format, OtherServersNamesAreTaken) {
  const Case cases[] = {{R"({"grammar":"root ::= \"a\""})", FormatKind::kGrammar, "root ::= \"a\""},
                        {R"({"ebnf":"x","grammar":""})", FormatKind::kGrammar, "x"},
                        {R"({"json_schema":{"a":1}})", FormatKind::kSchema, R"({"a":1})"},
                        {R"({"guided_json":"{\"a\":1}"})", FormatKind::kSchema, R"({"a":1})"},
                        {R"({"guided_regex":"a+"})", FormatKind::kRegex, "a+"},
                        {R"({"regex":"a+"})", FormatKind::kRegex, "a+"},
                        {R"({"guided_choice":["a\"b","c\n\\"]})", FormatKind::kGrammar,
                         R"(root ::= "a\"b" | "c\n\\")"},
                        {R"({"structured_outputs":{"choice":["x"],"json":null}})",
                         FormatKind::kGrammar, R"(root ::= "x")"},
                        {R"({"grammar":null,"guided_choice":[]})", FormatKind::kText, ""}};
  for (const Case& c : cases) {
    Format format;
    parse_constraints(parse_json(c.body), format);
    EXPECT_EQ(format.kind, c.kind) << c.body;
    EXPECT_EQ(format.text, c.text) << c.body;
  }
  for (const char* wrong : {R"({"regex":[]})", R"({"grammar":{}})", R"({"guided_choice":{}})"}) {
    Format format;
    EXPECT_THROW(parse_constraints(parse_json(wrong), format), Error) << wrong;
  }
}

}  // namespace
}  // namespace sluice::api
