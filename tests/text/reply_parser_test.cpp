#include "text/reply_parser.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "text/reply_parser/json_scanner.h"

namespace sluice::text {
namespace {

using Kind = ReplyPart::Kind;
using Parts = std::vector<ReplyPart>;

// '^' stands for the frame of a control token.
std::string framed(std::string text) {
  std::replace(text.begin(), text.end(), '^', kControlFrame);
  return text;
}

std::string shown(const Parts& parts) {
  std::string text;
  for (const ReplyPart& part : parts) {
    switch (part.kind) {
      case Kind::kText:
        text += "[text " + part.text + "]";
        break;
      case Kind::kThinking:
        text += "[thinking " + part.text + "]";
        break;
      case Kind::kCall:
        text += "[call " + part.call.name + " " + part.call.arguments;
        text += part.call.id.empty() ? "]" : " " + part.call.id + "]";
        break;
      case Kind::kMarkup:
        break;
    }
  }
  return text;
}

std::string all_text(const Parts& parts) {
  std::string text;
  for (const ReplyPart& part : parts) text += part.text;
  return text;
}

Parts parse(const ReplyFormat& format, const ReplyContext& context,
            const std::vector<std::string_view>& pieces) {
  ReplyParser parser(format, context);
  Parts parts;
  for (const std::string_view piece : pieces) parser.push(piece, parts);
  parser.finish(parts);
  EXPECT_EQ(parser.num_held_bytes(), 0u);
  return parts;
}

// A family's templates, as far as they tell how its replies look.
const std::string kHermes = "{{ tools }}<tool_call>{'name'}</tool_call>";
const std::string kQwen3 = kHermes + "<think></think>";
const std::string kCoder = kHermes + "<function=x><parameter=y></parameter></function>";
const std::string kLlama = R"({{ tools }}{"name": "f", "parameters": {}}<|python_tag|>)";
const std::string kOldMistral = "{{ tools }}[TOOL_CALLS][ length != 9";
const std::string kMistral = "[TOOL_CALLS]name[CALL_ID]id[ARGS][THINK][/THINK]";
const std::string kOldDeepSeek =
    "<think></think><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>type<｜tool▁sep｜>name\n```json\n";
const std::string kDeepSeek =
    "<think></think><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>name<｜tool▁sep｜>{";
const std::string kKimi = "<|tool_calls_section_begin|><|tool_call_begin|>";
const std::string kHarmony = "<|start|><|channel|><|message|>";
const std::string kGlm = "<think></think><tool_call>{name}\n<arg_key>k</arg_key>";
const std::string kMiniMax = "<minimax:tool_call><invoke name=\"f\">";
const std::string kFunctionary = "tools <function=f>{}</function>";

struct Model {
  std::string chat_template;
  std::vector<std::string> controls = {};
  std::string prompt = {};
};

const std::vector<KnownTool> kTools = {{"f", {{"city", true}, {"n", false}}}, {"g", {}}};

ReplyFormat format_of(const Model& model) {
  return find_reply_format(model.chat_template, [&](std::string_view text) {
    return std::ranges::find(model.controls, text) != model.controls.end();
  });
}

// What the parts are, after a look at every way to cut the reply in two, and into bytes.
std::string parts_of(const Model& model, const std::string& written,
                     const std::vector<KnownTool>& tools = kTools) {
  const std::string reply = framed(written);
  const ReplyFormat format = format_of(model);
  const ReplyContext context = {tools, model.prompt};
  const Parts whole = parse(format, context, {reply});
  std::string plain = reply;
  std::erase(plain, kControlFrame);
  EXPECT_EQ(all_text(whole), plain);
  const std::string_view view = reply;
  for (size_t cut = 0; cut <= view.size(); ++cut) {
    EXPECT_EQ(parse(format, context, {view.substr(0, cut), view.substr(cut)}), whole) << cut;
  }
  std::vector<std::string_view> bytes;
  for (size_t i = 0; i < view.size(); ++i) bytes.push_back(view.substr(i, 1));
  EXPECT_EQ(parse(format, context, bytes), whole);
  return shown(whole);
}

TEST(ReplyParser, ReadsHermesAndQwen) {
  const Model model = {kHermes};
  EXPECT_EQ(parts_of(model, "Hello\nworld "), "[text Hello\nworld ]");
  EXPECT_EQ(parts_of(model,
                     "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"city\": \"Oslo\"}}\n"
                     "</tool_call>"),
            "[call f {\"city\": \"Oslo\"}]");
  EXPECT_EQ(parts_of(model,
                     "I look.\n<tool_call>{\"name\":\"f\",\"arguments\":{\"b\":1,\"a\":[{}]}}"
                     "</tool_call>\n<tool_call>\n{\"name\": \"g\"}\n</tool_call>\n"),
            "[text I look.\n][call f {\"b\":1,\"a\":[{}]}][call g {}]");
  EXPECT_EQ(parts_of(model, "<tool_call>[{\"name\":\"f\"},{\"name\":\"g\"}]</tool_call>Done."),
            "[call f {}][call g {}][text Done.]");
  // The end of the reply is as good as the marker.
  EXPECT_EQ(parts_of(model, "<tool_call>{\"name\":\"f\",\"arguments\":\"{\\\"a\\\": 1}\"}"),
            "[call f {\"a\": 1}]");
  EXPECT_EQ(parts_of(model,
                     "<tool_call>{\"id\":\"x1\",\"type\":\"function\",\"function\":"
                     "{\"name\":\"f\",\"arguments\":{\"s\":\"}\\\"]\\u00e9\"}}}</tool_call>"),
            "[call f {\"s\":\"}\\\"]\\u00e9\"} x1]");
}

TEST(ReplyParser, GivesWhatIsNoCallAsText) {
  const Model model = {kHermes};
  for (const std::string& text : std::vector<std::string>{
           "a <tool",
           "a <tool_call",
           "<tool_call>",
           "<tool_call>\n",
           "<tool_call></tool_call>",
           "<tool_call>hello</tool_call>",
           "<tool_call>{\"name\": f}</tool_call>",
           "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":1}</tool_call>",
           "<tool_call>{\"name\":\"f\",\"arguments\":[1]}</tool_call>",
           "<tool_call>{\"name\":\"f\",\"arguments\":\"x\"}</tool_call>",
           "<tool_call>{\"arguments\":{}}</tool_call>",
           "<tool_call>{\"name\":\"\"}</tool_call>",
           "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":01}}",
           "</tool_call>",
           "<tool_call>{\"name\":\"f\"",
           "<<tool_cal>>",
           " \n x \n",
           "\n",
       }) {
    EXPECT_EQ(parts_of(model, text), "[text " + text + "]") << text;
  }
  // The next one is read all the same.
  EXPECT_EQ(parts_of(model, "<tool_call><tool_call>{\"name\":\"f\"}</tool_call>"),
            "[text <tool_call>][call f {}]");
  EXPECT_EQ(parts_of(model, "<tool_call>{\"name\":}</tool_call><tool_call>{\"name\":\"f\"}"),
            "[text <tool_call>{\"name\":}</tool_call>][call f {}]");
  EXPECT_EQ(parts_of(model, "<tool_call>{\"name\":\"f\"} x</tool_call>"),
            "[call f {}][text  x</tool_call>]");
  // Without tools nothing is one.
  EXPECT_EQ(parts_of(model, "<tool_call>{\"name\":\"f\"}</tool_call>", {}),
            "[text <tool_call>{\"name\":\"f\"}</tool_call>]");
}

TEST(ReplyParser, TellsWhetherItIsThinking) {
  const std::pair<std::string, std::vector<std::pair<std::string, bool>>> cases[] = {
      {kQwen3, {{"<thi", false}, {"nk>", true}, {"a", true}, {"</think", true}, {">", false}}},
      {kHarmony,
       {{framed("^<|channel|>^analysis"), false},
        {framed("^<|message|>^"), true},
        {"hm", true},
        {framed("^<|end|>^"), false}}}};
  for (const auto& [source, pieces] : cases) {
    const ReplyFormat format =
        find_reply_format(source, [](std::string_view text) { return text.starts_with("<|"); });
    ReplyParser parser(format, {});
    Parts parts;
    for (const auto& [piece, expected] : pieces) {
      parser.push(piece, parts);
      EXPECT_EQ(parser.is_thinking(), expected) << piece;
    }
  }
}

TEST(ReplyParser, ReadsThinking) {
  const Model model = {kQwen3};
  EXPECT_EQ(parts_of(model, "<think>\nHm, \n\nwell.\n</think>\n\nYes.\n"),
            "[thinking Hm, \n\nwell.][text Yes.\n]");
  EXPECT_EQ(parts_of(model, "\n<think></think>x"), "[text x]");
  EXPECT_EQ(parts_of(model, "<think>\n\n</think>\n\n"), "");
  EXPECT_EQ(parts_of(model, "<think>a</thin </think"), "[thinking a</thin </think]");
  EXPECT_EQ(parts_of(model, "<think>never ends \n"), "[thinking never ends \n]");
  EXPECT_EQ(parts_of(model, "<think>a <think> b</think>c</think>"),
            "[thinking a <think> b][text c</think>]");
  EXPECT_EQ(parts_of(model, " No <think>a</think>"), "[text  No <think>a</think>]");
  EXPECT_EQ(parts_of(model, "<think>a <tool_call>{}</think> \n<tool_call>{\"name\":\"f\"}"),
            "[thinking a <tool_call>{}][call f {}]");
  const Model begun = {kQwen3, {}, "<|im_start|>assistant\n<think>\n"};
  EXPECT_EQ(parts_of(begun, "Hm.\n</think>\n\nYes."), "[thinking Hm.][text Yes.]");
  EXPECT_EQ(parts_of(begun, "\n</think>"), "");
  const Model ended = {kQwen3, {}, "<|im_start|>assistant\n<think>\n\n</think>\n\n"};
  EXPECT_EQ(parts_of(ended, "Yes."), "[text Yes.]");
  // White space is kept where there is no thinking.
  EXPECT_EQ(parts_of(model, "\n\n1. x"), "[text \n\n1. x]");
}

TEST(ReplyParser, ReadsControlTokensOnlyAsSuch) {
  const Model model = {kMistral, {"[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "[THINK]", "[/THINK]"}};
  EXPECT_EQ(parts_of(model,
                     "^[THINK]^Hm.^[/THINK]^Wait.^[TOOL_CALLS]^f^[CALL_ID]^abc123XYZ^[ARGS]^"
                     "{\"city\": \"Oslo\"}^[TOOL_CALLS]^g^[ARGS]^{}"),
            "[thinking Hm.][text Wait.][call f {\"city\": \"Oslo\"} abc123XYZ][call g {}]");
  EXPECT_EQ(parts_of(model, "[TOOL_CALLS]f[ARGS]{}"), "[text [TOOL_CALLS]f[ARGS]{}]");
  EXPECT_EQ(parts_of(model, "[THINK]a[/THINK]"), "[text [THINK]a[/THINK]]");
  // Others tell nobody anything.
  EXPECT_EQ(parts_of(model, "^<s>^a^[INST]^b"), "[text a][text b]");
  EXPECT_EQ(parts_of(model, "^[TOOL_CALLS]^f^[INST]^{}"), "[text [TOOL_CALLS]f][text {}]");
}

TEST(ReplyParser, ReadsMistral) {
  const Model old = {kOldMistral, {"[TOOL_CALLS]"}};
  EXPECT_EQ(format_of(old).call_id_size, 9u);
  EXPECT_EQ(parts_of(old,
                     "^[TOOL_CALLS]^ [{\"name\": \"f\", \"arguments\": {\"n\": 1}, "
                     "\"id\": \"123456789\"}, {\"name\": \"g\", \"arguments\": {}}]"),
            "[call f {\"n\": 1} 123456789][call g {}]");
  EXPECT_EQ(parts_of(old, "^[TOOL_CALLS]^ [{\"name\": \"f\", \"arguments\": {}}, no]"),
            "[call f {}][text , no]]");
  EXPECT_EQ(parts_of(old, "^[TOOL_CALLS]^[]"), "[text [TOOL_CALLS][]]");
  const Model plain = {kMistral};
  EXPECT_EQ(parts_of(plain, "[TOOL_CALLS]f[ARGS]{\"a\": 1} [TOOL_CALLS]g{}"),
            "[call f {\"a\": 1}][call g {}]");
  EXPECT_EQ(parts_of(plain, "[TOOL_CALLS]not a name[ARGS]{}"),
            "[text [TOOL_CALLS]not a name[ARGS]{}]");
}

TEST(ReplyParser, ReadsLlama) {
  const Model model = {kLlama, {"<|python_tag|>"}};
  const std::string call = R"({"name": "f", "parameters": {"city": "Oslo"}})";
  const std::string read = R"([call f {"city": "Oslo"}])";
  EXPECT_EQ(parts_of(model, call), read);
  EXPECT_EQ(parts_of(model, "\n" + call + "; " + call), read + read);
  EXPECT_EQ(parts_of(model, "[" + call + ", " + call + "]"), read + read);
  EXPECT_EQ(parts_of(model, "^<|python_tag|>^" + call), read);
  EXPECT_EQ(parts_of(model, R"({"type": "function", "name": "f", "parameters": null})"),
            "[call f {}]");
  EXPECT_EQ(parts_of(model, "^<|python_tag|>^brave_search.call(query=\"a \\\"b\\\", c)\", n=3)"),
            "[call brave_search {\"query\": \"a \\\"b\\\", c)\", \"n\": 3}]");
  EXPECT_EQ(parts_of(model, "^<|python_tag|>^import math\nprint(1)"),
            "[text <|python_tag|>import math\nprint(1)]");
  // JSON that is an answer, and calls within text.
  for (const std::string& text : std::vector<std::string>{
           R"({"answer": 42})", R"({"name": "Alice", "age": 3})", R"([1, 2])", R"([{"a": 1}])",
           R"({"name": "h", "parameters": {}})", "Sure: " + call, R"({"name": "f")", "{", "[",
           R"({"type": "a", "id": 1, "b": {"name": "f"}})"}) {
    EXPECT_EQ(parts_of(model, text), "[text " + text + "]") << text;
  }
}

TEST(ReplyParser, HoldsNoMoreThanAMarkerNeeds) {
  const auto held = [](const Model& model, const std::string& text) {
    const ReplyFormat format = format_of(model);
    ReplyParser parser(format, {kTools, {}});
    Parts parts;
    parser.push(framed(text), parts);
    return parser.num_held_bytes();
  };
  EXPECT_EQ(held({kHermes}, "Hello "), 0u);
  EXPECT_EQ(held({kHermes}, "Hello <"), 1u);
  EXPECT_EQ(held({kHermes}, "Hello <tool_"), 6u);
  EXPECT_EQ(held({kHermes}, "Hello <tool_x"), 0u);
  EXPECT_EQ(held({kHermes}, "<tool_call>{\"name\": \"f\", \"x\": tr"), 32u);
  EXPECT_EQ(held({kHermes}, "<tool_call>{\"name\": \"f\", \"x\": tx"), 0u);
  EXPECT_EQ(held({kLlama}, "{\"answer\""), 9u);
  EXPECT_EQ(held({kLlama}, "{\"answer\": \"and more"), 0u);
  EXPECT_EQ(held({kLlama}, "{\"name\": \"Alice\","), 0u);
  EXPECT_EQ(held({kQwen3}, "<think>a \n"), 2u);
  EXPECT_EQ(held({kHarmony}, "Hello"), 0u);
}

TEST(ReplyParser, ReadsElements) {
  const Model model = {kCoder};
  EXPECT_EQ(
      parts_of(model,
               "Well.\n<tool_call>\n<function=f>\n<parameter=city>\n12\n</parameter>\n"
               "<parameter=n>\n12\n</parameter>\n<parameter=code>\na < \"b\"\n  c\n"
               "</parameter>\n</function>\n</tool_call>\n"
               "<tool_call>\n<function=g>\n</function>\n</tool_call>"),
      "[text Well.\n][call f {\"city\": \"12\", \"n\": 12, \"code\": \"a < \\\"b\\\"\\n  c\"}]"
      "[call g {}]");
  EXPECT_EQ(parts_of(model,
                     "<function=f>\n<parameter=n>\nTrue\n</parameter>\n</function>\n"
                     "</tool_call>"),
            "[call f {\"n\": true}]");
  EXPECT_EQ(parts_of(model, "<tool_call>\n{\"name\": \"f\"}\n</tool_call>"), "[call f {}]");
  EXPECT_EQ(parts_of(model, "<tool_call><function=f>{\"n\": 2}</function></tool_call>"),
            "[call f {\"n\": 2}]");
  for (const std::string& text : std::vector<std::string>{
           "<tool_call>\n<function=f>\n<parameter=n>\n1\n</parameter>", "<function=", "<function=f",
           "<tool_call><function=f g></function>", "<function=f>x</function>"}) {
    EXPECT_EQ(parts_of(model, text), "[text " + text + "]") << text;
  }
}

TEST(ReplyParser, ReadsGlmAndMiniMaxAndFunctionary) {
  EXPECT_EQ(parts_of({kGlm},
                     "<think>a</think>\n<tool_call>f\n<arg_key>city</arg_key>\n<arg_value>"
                     "Oslo</arg_value>\n<arg_key>n</arg_key>\n<arg_value>[1]</arg_value>\n"
                     "</tool_call>\n<tool_call>g</tool_call>"),
            "[thinking a][call f {\"city\": \"Oslo\", \"n\": [1]}][call g {}]");
  EXPECT_EQ(parts_of({kMiniMax},
                     "<minimax:tool_call>\n<invoke name=\"f\">\n<parameter name=\"city\">"
                     "Oslo</parameter>\n</invoke>\n<invoke name=\"g\">\n</invoke>\n"
                     "</minimax:tool_call>"),
            "[call f {\"city\": \"Oslo\"}][call g {}]");
  EXPECT_EQ(parts_of({kFunctionary}, "<function=f>{\"n\": 1}</function><function=g>{}</function>"),
            "[call f {\"n\": 1}][call g {}]");
}

TEST(ReplyParser, ReadsDeepSeek) {
  const Model old = {kOldDeepSeek, {}, "<｜Assistant｜><think>\n"};
  EXPECT_EQ(parts_of(old,
                     "Hm.\n</think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function"
                     "<｜tool▁sep｜>f\n```json\n{\"city\": \"Oslo\"}\n```<｜tool▁call▁end｜>\n"
                     "<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{}\n```"
                     "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"),
            "[thinking Hm.][call f {\"city\": \"Oslo\"}][call g {}]");
  const Model model = {kDeepSeek};
  EXPECT_EQ(parts_of(model,
                     "I look.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"n\": 1}"
                     "<｜tool▁call▁end｜><｜tool▁call▁begin｜>g<｜tool▁sep｜>{}"
                     "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"),
            "[text I look.][call f {\"n\": 1}][call g {}]");
  EXPECT_EQ(parts_of(model, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>x"),
            "[text <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>x]");
}

TEST(ReplyParser, ReadsKimi) {
  const Model model = {kKimi, {"<|tool_calls_section_begin|>", "<|tool_call_begin|>"}};
  EXPECT_EQ(parts_of(model,
                     "Wait.^<|tool_calls_section_begin|>^^<|tool_call_begin|>^functions.f:0"
                     "<|tool_call_argument_begin|>{\"n\": 1}<|tool_call_end|>"
                     "<|tool_calls_section_end|>"),
            "[text Wait.][call f {\"n\": 1} functions.f:0]");
}

TEST(ReplyParser, ReadsHarmony) {
  const Model model = {kHarmony, {}, "<|start|>user<|message|>x<|end|><|start|>assistant"};
  const std::string thinking = "^<|channel|>^analysis^<|message|>^Hm.^<|end|>^";
  EXPECT_EQ(parts_of(model, thinking + "^<|start|>^assistant^<|channel|>^final^<|message|>^Yes."),
            "[thinking Hm.][text Yes.]");
  const std::string call =
      "^<|start|>^assistant^<|channel|>^commentary to=functions.f ^<|constrain|>^json^<|message|>^"
      "{\"n\": 1}";
  EXPECT_EQ(parts_of(model, thinking + call), "[thinking Hm.][call f {\"n\": 1}]");
  EXPECT_EQ(parts_of(model, call + "^<|call|>^"), "[call f {\"n\": 1}]");
  EXPECT_EQ(
      parts_of(model, " to=functions.g^<|channel|>^commentary^<|message|>^{}^<|call|>^" + call),
      "[call g {}][call f {\"n\": 1}]");
  EXPECT_EQ(parts_of(model, "^<|channel|>^commentary^<|message|>^I look.^<|end|>^" + call),
            "[text I look.][call f {\"n\": 1}]");
  EXPECT_EQ(parts_of(model, call, {}), "[text {\"n\": 1}]");
  EXPECT_EQ(parts_of(model, call + ",^<|call|>^"),
            "[text assistant<|channel|>commentary to=functions.f <|constrain|>json"
            "<|message|>{\"n\": 1},]");
  EXPECT_EQ(parts_of(model, "Hello"), "[text Hello]");
  EXPECT_EQ(parts_of(model, "^<|channel|>^anal"), "[text <|channel|>anal]");
  const Model begun = {kHarmony, {}, "<|start|>assistant<|channel|>analysis<|message|>"};
  EXPECT_EQ(parts_of(begun, "Hm."), "[thinking Hm.]");
}

TEST(ReplyParser, IsBounded) {
  const ReplyFormat format = format_of({kHermes});
  ReplyParser parser(format, {kTools, {}});
  Parts parts;
  parser.push("<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"", parts);
  const std::string piece(1000, 'x');
  size_t num_bytes = 0;
  for (int i = 0; i < 3000; ++i) {
    parser.push(piece, parts);
    EXPECT_LE(parser.num_held_bytes(), ReplyParser::kMaxCallBytes + piece.size());
  }
  parser.push("\"}}</tool_call>", parts);
  parser.finish(parts);
  for (const ReplyPart& part : parts) {
    EXPECT_EQ(part.kind, Kind::kText);
    num_bytes += part.text.size();
  }
  EXPECT_EQ(num_bytes, 3'000'000u + 45 + 15);
}

TEST(ReplyFormat, IsFoundInTemplates) {
  const auto none = [](std::string_view) { return false; };
  EXPECT_FALSE(find_reply_format("{{ .Prompt }}", none).has_calls());
  EXPECT_FALSE(find_reply_format("{{ messages }}", none).has_thinking());
  EXPECT_TRUE(find_reply_format(kHarmony, none).has_thinking());
  EXPECT_EQ(find_reply_format("{{ if .Tools }}{\"name\"}{{ end }}", none).calls.may_be_bare, true);
  EXPECT_EQ(find_reply_format(kLlama, none).calls.arguments_key, "parameters");
  EXPECT_EQ(format_of({kHermes, {"<tool_call>"}}).calls.opens[0], frame_control("<tool_call>"));
}

using reply::is_json;
using reply::read_json_members;
using reply::read_json_string;

TEST(JsonScanner, TakesJsonAndNothingElse) {
  for (const char* good : {"{}", "[]", " [1, -0, 0.5e+7, 1E9, \"\\u00e9\\n\", true,false , null]\n",
                           "{\"a\":{\"b\":[{}]}, \"\":[[]]}", "3", "-1.5", "\"\"", "null", "0"}) {
    EXPECT_TRUE(is_json(good)) << good;
  }
  for (const char* bad :
       {"",      " ",      "{",       "[1,]",        "{,}",   "{\"a\"}", "{\"a\":}", "{\"a\":1,}",
        "{a:1}", "01",     "1.",      "-",           "1e",    "+1",      ".5",       "tru",
        "truex", "\"\n\"", "\"\\x\"", "\"\\u12g4\"", "[1 2]", "[}",      "{]",       "{}{}",
        "1 2",   "\"a",    "'a'",     "[1]]",        "nul",   "\"\xFF\""}) {
    EXPECT_FALSE(is_json(bad)) << bad;
  }
  EXPECT_TRUE(is_json(std::string(100, '[') + std::string(100, ']')));
  EXPECT_FALSE(is_json(std::string(101, '[') + std::string(101, ']')));
}

TEST(JsonScanner, ReadsStringsAndMembers) {
  EXPECT_EQ(read_json_string("\"a\\u00e9\\ud83d\\ude00\\ud83d\\n\\\\\\\"\\/\""),
            "aé😀\xEF\xBF\xBD\n\\\"/");
  EXPECT_EQ(read_json_string("12"), std::nullopt);
  const auto members =
      read_json_members(" { \"a\" : 1 , \"b}\\\"\":\"x,}\",\"c\":[{\"d\":1},2], \"e\":{}}");
  ASSERT_TRUE(members);
  ASSERT_EQ(members->size(), 4u);
  EXPECT_EQ((*members)[0].value, "1");
  EXPECT_EQ((*members)[1].key, "b}\"");
  EXPECT_EQ((*members)[1].value, "\"x,}\"");
  EXPECT_EQ((*members)[2].value, "[{\"d\":1},2]");
  EXPECT_EQ((*members)[3].value, "{}");
  EXPECT_TRUE(read_json_members("{}")->empty());
  EXPECT_FALSE(read_json_members("[]"));
}

}  // namespace
}  // namespace sluice::text
