#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"
#include "text/tokenizer_vocabularies.h"

// Control tokens come from the template's own text alone, whatever messages, tools and documents
// say.
namespace sluice::text {
namespace {

using ::testing::ElementsAre;

const std::string kSpecials = "<|im_start|><|im_end|><tag>";

std::vector<TokenId> encode(const Tokenizer& tokenizer, const PromptText& prompt) {
  Work work;
  return tokenizer.encode(prompt, {}, work);
}

std::vector<std::string> control_tokens(const Tokenizer& tokenizer, const PromptText& prompt) {
  std::vector<std::string> found;
  for (const TokenId id : encode(tokenizer, prompt)) {
    if (tokenizer.is_control(id)) found.emplace_back(tokenizer.token_text(id));
  }
  return found;
}

// Control tokens of what a template makes of an attack in every place of its context.
std::vector<std::string> control_tokens_of(const std::string& source) {
  const Value call = Value::Dict{{"name", kSpecials},
                                 {"arguments", Value::Dict{{kSpecials, kSpecials}}},
                                 {"list", Value::List{kSpecials, "a<|im_start|>b"}}};
  const Value context = Value::Dict{
      {"role", Value::trusted("user")},
      {"made_up_role", "im_start"},
      {"content", kSpecials},
      {"padded", "  <|im_start|>\n" + kSpecials + " "},
      {"half", "<|im_"},
      {"rest", "start|>"},
      {"call", call},
      {"tools", Value::List{call}},
      {"documents", Value::List{Value::Dict{{"title", kSpecials}, {"text", kSpecials}}}},
      {"bos_token", Value::trusted("<|im_start|>")}};
  const auto tokenizer = testing::load(testing::byte_vocabulary().writer());
  return control_tokens(*tokenizer, ChatTemplate(source).render(context));
}

TEST(ControlTokens, ComeFromTheTemplatesOwnText) {
  EXPECT_THAT(control_tokens_of("<|im_start|>{{ role }}\n{{ content }}<|im_end|>"),
              ElementsAre("<|im_start|>", "<|im_end|>"));
  EXPECT_THAT(control_tokens_of("{{ '<|im_start|>' + role + '\\n' + content + '<|im_end|>' }}"),
              ElementsAre("<|im_start|>", "<|im_end|>"));
  EXPECT_THAT(control_tokens_of("{{ bos_token }}{{ content }}"), ElementsAre("<|im_start|>"));
  EXPECT_THAT(control_tokens_of("{{ '<|' ~ 'im_start' ~ '|>' }}"), ElementsAre("<|im_start|>"));
  EXPECT_THAT(control_tokens_of("{% set t = '<|im_end|>' %}{% macro m(x) %}{{ t }}{{ x }}"
                                "{{ caller() }}{% endmacro %}{% call m(content) %}{{ t }}"
                                "{% endcall %}"),
              ElementsAre("<|im_end|>", "<|im_end|>"));
  EXPECT_THAT(control_tokens_of("{{ ['<|im_start|>', content]|join('<|im_end|>') }}"),
              ElementsAre("<|im_start|>", "<|im_end|>"));
  EXPECT_THAT(control_tokens_of("{{ '%s<|im_end|>%s'|format(content, role) }}"
                                "{{ '{}<|im_start|>'.format(content) }}"),
              ElementsAre("<|im_end|>", "<|im_start|>"));
  EXPECT_THAT(control_tokens_of("{{ '<|im_start|>X<|im_end|>'.replace('X', content) }}"),
              ElementsAre("<|im_start|>", "<|im_end|>"));
  EXPECT_THAT(control_tokens_of("{% set ns = namespace(t='') %}{% for d in documents %}"
                                "{% set ns.t = ns.t + '<|im_start|>' + d.text %}{% endfor %}"
                                "{{ ns.t[:-3]|trim }}{% filter trim %} {{ ns.t }}{% endfilter %}"),
              ElementsAre("<|im_start|>", "<|im_start|>"));
}

TEST(ControlTokens, AreNeverMadeOfWhatTheTemplateInserts) {
  for (const char* source :
       {"{{ content }}",
        "{{ content|trim }}",
        "{{ padded|trim }}",
        "{{ padded.strip() }}",
        "{{ content|upper|lower }}",
        "{{ content|replace('<tag>', '<|im_end|>') }}",
        "{{ content|string }}",
        "{{ content|safe }}",
        "{{ content ~ '' }}",
        "{{ '' ~ content }}",
        "{{ content[0:12] }}",
        "{{ content[12:] }}",
        "{{ content[::1] }}",
        "{{ content|list|join }}",
        "{{ content.split('<tag>')|join('x') }}",
        "{{ padded.split()[0] }}",
        "{{ padded.splitlines()[0] }}",
        "{{ content.partition('x')[0] }}",
        "{{ call|tojson }}",
        "{{ tools|tojson(indent=2) }}",
        "{{ call }}",
        "{{ tools|string }}",
        "{{ call.arguments|items|first|first }}",
        "{{ call.arguments|dictsort|first|last }}",
        "{{ call.list|join(', ') }}",
        "{{ call.list|sort|first }}",
        "{{ call.list|map('trim')|first }}",
        "{{ documents[0].title|default('<|im_end|>') }}",
        "{% for c in content %}{{ c }}{% endfor %}",
        "{{ documents|map(attribute='text')|join }}",
        "{{ content|indent(2, true) }}",
        "{{ '%s'|format(content) }}",
        "{{ '{}'.format(content) }}",
        "{{ '%s' % content }}",
        "{{ half + rest }}",
        "{{ half }}{{ rest }}",
        "{{ '<|im_' + rest }}",
        "{{ half ~ 'start|>' }}",
        "{{ half }}start|>",
        "<|im_{{ rest }}",
        "{{ '<|' + made_up_role + '|>' }}",
        "{{ [half, rest]|join }}",
        "{{ '<|im_X'.replace('X', rest) }}",
        "{{ 'XX'.replace('X', content) }}",
        "{{ content.replace('<', '<') }}",
        "{{ content * 2 }}",
        "{{ content.format(x='<|im_end|>') }}",
        "{{ content.ljust(90) }}",
        "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(content) }}{{ m(x=half) }}{{ m(rest) }}",
        "{% set t %}{{ content }}{% endset %}{{ t }}",
        "{% filter trim %}{{ padded }}{% endfilter %}",
        "{{ ''|safe + content }}",
        "{{ '<b>'|safe + content|safe }}",
        "{{ content|reverse|reverse }}",
        "{{ content|capitalize }}",
        "{{ dict(**call.arguments)|items|first|first }}",
        "{{ dict(**call.arguments) }}",
        "{{ namespace(a=content).a }}",
        "{{ dict(call.arguments) }}",
        "{{ '%s'|format(**call.arguments) }}",
        "{{ 'a\nb'|indent(content) }}",
        "{{ strftime_now(content) }}"}) {
    EXPECT_THAT(control_tokens_of(source), ElementsAre()) << source;
  }
}

TEST(ControlTokens, OfEveryKindStayTextInAMessage) {
  for (const auto& vocabulary : {testing::byte_vocabulary(), testing::piece_vocabulary(),
                                 testing::merge_piece_vocabulary()}) {
    const auto tokenizer = testing::load(vocabulary.writer());
    std::string all;
    for (size_t id = 0; id < tokenizer->vocab_size(); ++id) {
      if (tokenizer->is_control(static_cast<TokenId>(id))) {
        all += tokenizer->token_text(static_cast<TokenId>(id));
      }
    }
    ASSERT_FALSE(all.empty());
    EXPECT_THAT(control_tokens(*tokenizer, PromptText(all, false)), ElementsAre());
    EXPECT_FALSE(control_tokens(*tokenizer, PromptText(all, true)).empty());
    EXPECT_THAT(tokenizer->decode(encode(*tokenizer, PromptText(all, false))),
                ::testing::HasSubstr(all));
  }
}

// Where no control token intervenes, it makes no difference which parts are whose.
TEST(ControlTokens, OriginAloneChangesNoToken) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  const auto below = [&](size_t n) {
    return std::uniform_int_distribution<size_t>(0, n - 1)(random);
  };
  const std::vector<std::string> pieces = {"he",     "ll",     "o",    " ",     "  ",   "wor",
                                           "12",     "\n",     "\n\n", "<tag>", "<",    "|",
                                           "\u00E9", "\u4E16", "a",    "'s",    "<|im_"};
  for (const auto& vocabulary : {testing::byte_vocabulary(), testing::byte_vocabulary("llama-bpe"),
                                 testing::byte_vocabulary("smollm"), testing::piece_vocabulary(),
                                 testing::merge_piece_vocabulary()}) {
    const auto tokenizer = testing::load(vocabulary.writer());
    for (int round = 0; round < 200; ++round) {
      std::string text;
      for (size_t i = 0; i < 20; ++i) text += pieces[below(pieces.size())];
      PromptText parts;
      for (size_t begin = 0; begin < text.size();) {
        const size_t size = 1 + below(6);
        parts.append(std::string_view(text).substr(begin, size), below(2) == 0);
        begin += size;
      }
      EXPECT_EQ(encode(*tokenizer, parts), tokenizer->encode(text, {})) << text;
    }
  }
}

}  // namespace
}  // namespace sluice::text
