#include "text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace sluice::text {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const Value kContext =
    Value::Dict{{"messages", Value::List{Value::Dict{{"role", "user"}, {"content", "Hi"}},
                                         Value::Dict{{"role", "assistant"}, {"content", "Hello"}}}},
                {"bos_token", "<s>"},
                {"add_generation_prompt", true}};

std::string render(const std::string& source, const RenderLimits& limits = {}) {
  return ChatTemplate(source).render(kContext, limits).text();
}

// The message of the error that parsing or rendering gives.
std::string error_of(const std::string& source, const RenderLimits& limits = {}) {
  try {
    std::string text = render(source, limits);
    return "no error, but: " + text.substr(0, 200);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
}

std::string repeated(const std::string& text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}

TEST(ChatTemplate, RendersAConversation) {
  EXPECT_EQ(render("{{ bos_token }}{% for m in messages %}\n<|{{ m.role }}|>{{ m['content'] }}\n"
                   "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"),
            "<s><|user|>Hi\n<|assistant|>Hello\n<|assistant|>");
}

TEST(ChatTemplate, KeepsItsSource) { EXPECT_EQ(ChatTemplate("a{{ 1 }}").source(), "a{{ 1 }}"); }

TEST(ChatTemplate, CanBeMovedAndRenderedAgain) {
  ChatTemplate first("{{ bos_token }}");
  ChatTemplate second = std::move(first);
  EXPECT_EQ(second.render(kContext).text(), "<s>");
  EXPECT_EQ(second.render(kContext).text(), "<s>");
}

TEST(ChatTemplate, NamesTheLineOfASyntaxError) {
  EXPECT_THAT(error_of("a\nb\n{% if %}"), HasSubstr("line 3"));
  EXPECT_THAT(error_of("a\n\n{{ 'x }}"), HasSubstr("line 3"));
}

TEST(ChatTemplate, NamesTheLineOfARuntimeError) {
  EXPECT_THAT(error_of("a\n{{ messages[0].role }}\n{{ nothing.at.all }}"), HasSubstr("line 3"));
}

TEST(ChatTemplate, PassesOnTheTextOfRaiseException) {
  EXPECT_THAT(error_of("{{ raise_exception('Roles must alternate') }}"),
              HasSubstr("Roles must alternate"));
}

TEST(ChatTemplate, KeepsErrorsOnOneLine) {
  EXPECT_THAT(error_of("{{ raise_exception('a\\nb') }}"), Not(HasSubstr("\n")));
}

TEST(ChatTemplate, TellsTheInjectedTime) {
  RenderLimits limits;
  limits.now = std::tm{};
  limits.now->tm_year = 124;
  limits.now->tm_mday = 5;
  EXPECT_EQ(render("{{ strftime_now('%d %b %Y') }}", limits), "05 Jan 2024");
}

TEST(ChatTemplate, BoundsEndlessWork) {
  RenderLimits limits;
  limits.max_steps = 100'000;
  const char* loops =
      "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
  EXPECT_THAT(error_of(loops, limits), HasSubstr("step limit"));
  EXPECT_THAT(error_of("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}"), HasSubstr("nested"));
  EXPECT_THAT(error_of("{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}"),
              HasSubstr("nested"));
}

TEST(ChatTemplate, BoundsMemory) {
  EXPECT_THAT(error_of("{{ 'a' * 1000000000000 }}"), HasSubstr("memory"));
  EXPECT_THAT(error_of("{{ ([0] * 1000000000000)|length }}"), HasSubstr("memory"));
  EXPECT_THAT(error_of("{{ 'a'.ljust(1000000000000) }}"), HasSubstr("memory"));
  EXPECT_THAT(error_of("{{ range(1000000000)|list }}"), HasSubstr("Range too big"));
  EXPECT_THAT(error_of("{% set ns = namespace(a='x' * 1000) %}{% for i in range(64) %}"
                       "{% set ns.a = ns.a + ns.a %}{% endfor %}"),
              HasSubstr("memory"));
  EXPECT_THAT(error_of("{% set ns = namespace(a=[1]) %}{% for i in range(64) %}"
                       "{% set ns.a = ns.a + ns.a %}{% endfor %}"),
              HasSubstr("memory"));
  EXPECT_THAT(error_of("{% set ns = namespace(a='x') %}{% for i in range(99) %}"
                       "{% set ns.a = ns.a.replace('x', 'xxxxxxxxxxxxxxxx') %}{% endfor %}"),
              HasSubstr("memory"));
}

TEST(ChatTemplate, BoundsSharedValuesThatPrintHuge) {
  // Each level refers twice to the one below: 2**100 items when written out.
  std::string build =
      "{% set ns = namespace(a=[1]) %}{% for i in range(100) %}"
      "{% set ns.a = [ns.a, ns.a] %}{% endfor %}";
  EXPECT_THAT(error_of(build + "{{ ns.a }}"), HasSubstr("too"));
  EXPECT_THAT(error_of(build + "{{ ns.a|tojson }}"), HasSubstr("too"));
  std::string twin =
      "{% set ns.b = [1] %}{% for i in range(100) %}{% set ns.b = [ns.b, ns.b] %}"
      "{% endfor %}";
  EXPECT_THAT(error_of(build + twin + "{{ ns.a == ns.b }}"), HasSubstr("too long"));
  std::string tuples =
      "{% set ns = namespace(a=(1,)) %}{% for i in range(100) %}"
      "{% set ns.a = (ns.a, ns.a) %}{% endfor %}";
  EXPECT_THAT(error_of(tuples + "{{ {ns.a: 1} }}"), HasSubstr("too long"));
}

TEST(ChatTemplate, BoundsOutput) {
  RenderLimits limits;
  limits.max_output_bytes = 1000;
  EXPECT_THAT(error_of("{% for i in range(99999) %}0123456789{% endfor %}", limits),
              HasSubstr("output is too long"));
  EXPECT_EQ(render("{{ 'a' * 1000 }}", limits).size(), 1000u);
}

TEST(ChatTemplate, RefusesDeepSyntaxInsteadOfOverflowing) {
  constexpr int kDeep = 80'000;
  for (const char* piece :
       {"(", "[", "{1:", "not ", "-", "+", "- -", "a.", "a if b else ", "f(", "[1,"}) {
    EXPECT_THAT(error_of("{{ " + repeated(piece, kDeep)), HasSubstr("line 1")) << piece;
  }
  for (const char* piece :
       {"+1", "*1", ".a", "[0]", "|trim", "()", " and 1", " or 1", " if 1 else 1", "//2"}) {
    EXPECT_THAT(error_of("{{ 1" + repeated(piece, kDeep) + " }}"), HasSubstr("nested")) << piece;
  }
  for (const char* piece : {"{% if 1 %}", "{% for a in b %}", "{% set a %}", "{% macro a() %}",
                            "{% filter trim %}", "{% with %}", "{% generation %}"}) {
    EXPECT_THAT(error_of(repeated(piece, kDeep / 5)), HasSubstr("nested")) << piece;
  }
}

TEST(ChatTemplate, AcceptsLongFlatTemplates) {
  EXPECT_EQ(render(repeated("{{ 1 }}", 10'000)).size(), 10'000u);
  EXPECT_EQ(render("{{ ''" + repeated(" ~ 1", 10'000) + " }}").size(), 10'000u);
  EXPECT_EQ(render("{% if 0 %}" + repeated("{% elif 0 %}", 10'000) + "{% else %}x{% endif %}"),
            "x");
}

TEST(ChatTemplate, RefusesDeepValuesInsteadOfOverflowing) {
  EXPECT_THAT(error_of("{% set ns = namespace(a=1) %}{% for i in range(99999) %}"
                       "{% set ns.a = [ns.a] %}{% endfor %}"),
              HasSubstr("nested too deeply"));
  EXPECT_THAT(error_of("{% set ns = namespace(a=[1]) %}{% for i in range(99999) %}"
                       "{% set ns.a = [ns.a]|select %}{% endfor %}{{ ns.a|list }}"),
              HasSubstr("nested too deeply"));
}

TEST(ChatTemplate, FreesChainsAndCyclesOfNamespaces) {
  EXPECT_EQ(render("{% set ns = namespace(a=0) %}{% for i in range(20000) %}"
                   "{% set ns.a = namespace(a=ns.a) %}{% endfor %}ok"),
            "ok");
  EXPECT_EQ(render("{% set ns = namespace() %}{% set ns.self = ns %}{% set ns.list = [ns] %}ok"),
            "ok");
  EXPECT_EQ(render("{% macro m() %}{% set ns = namespace() %}{% macro inner() %}{{ ns }}"
                   "{% endmacro %}{% set ns.m = inner %}{% endmacro %}{{ m() }}ok"),
            "ok");
  EXPECT_EQ(render("{% for x in [1, 2] %}{{ loop.changed(loop) }}{% endfor %}"), "TrueFalse");
  EXPECT_THAT(error_of("{% set ns = namespace() %}{% set ns.a = [ns] %}{{ ns.a }}"),
              HasSubstr("cannot be written"));
}

TEST(ChatTemplate, RefusesDeepContexts) {
  Value deep = Value::List{};
  for (int i = 0; i < 1000; ++i) deep = Value::List{deep};
  EXPECT_THROW(ChatTemplate("x").render(Value::Dict{{"messages", deep}}), Error);
}

TEST(ChatTemplate, RefusesHugeSources) {
  EXPECT_THAT(error_of(std::string(2u << 20, 'x')), HasSubstr("longer than"));
}

TEST(ChatTemplate, HidesWhatWouldChangeItsInputs) {
  EXPECT_THAT(error_of("{{ messages.append(1) }}"), HasSubstr("no attribute 'append'"));
  EXPECT_THAT(error_of("{{ messages[0].update({'a': 1}) }}"), HasSubstr("no attribute 'update'"));
  EXPECT_THAT(error_of("{{ messages.__class__.x }}"), HasSubstr("unsafe"));
}

TEST(ChatTemplate, NamesWhatItRefuses) {
  const std::pair<const char*, const char*> kRefused[] = {
      {"{{ 2 ** 3 }}", "'**'"},
      {"{{ +1 }}", "'+'"},
      {"{{ dict(*messages) }}", "'*...'"},
      {"{% macro m() %}{{ varargs }}{% endmacro %}", "'varargs'"},
      {"{% macro m() %}{{ kwargs }}{% endmacro %}", "'kwargs'"},
      {"{{ 'a b'|wordcount }}", "'wordcount'"},
      {"{{ 'a b'|xmlattr }}", "'xmlattr'"},
      {"{{ messages|groupby('role') }}", "'groupby'"},
      {"{{ ['a b']|map('urlize')|list }}", "'urlize'"},
      {"{{ 'upper' is filter }}", "'filter'"},
      {"{{ 'a'.swapcase() }}", "'swapcase'"},
      {"{{ 'a'.center(9) }}", "'center'"},
      {"{{ 'a'|escape }}", "'escape'"},
      {"{% for m in messages %}{{ loop.cycle(1, 2) }}{% endfor %}", "'cycle'"},
      {"{% for m in messages %}{{ loop }}{% endfor %}", "LoopContext object cannot be written"},
      {"{{ namespace(a=1) }}", "cannot be written"},
      {"{{ 'a b'.rsplit(none, 1) }}", "rsplit()"},
      {"{{ messages|sort(attribute='role,content') }}", "several attributes"},
      {"{{ '%x' % 255 }}", "'%x'"},
      {"{{ '{:,}'.format(1000) }}", "'{:,}'"},
      {"{{ '{!r}'.format(1) }}", "'{!r}'"},
      {"{{ strftime_now('%f') }}", "'%f'"},
      {"{% block a %}{% endblock %}", "'block'"},
      {"{% include 'a' %}", "'include'"},
      {"{% do messages %}", "'do'"},
      {"{{ joiner(', ') }}", "'joiner'"},
  };
  for (const auto& [source, name] : kRefused) EXPECT_THAT(error_of(source), HasSubstr(name));
}

TEST(ChatTemplate, EscapesWhatIsAddedToSafeText) {
  EXPECT_EQ(render("{{ '<b>'|safe + '<i>' }}{{ '<b>'|safe }}{{ '<i>' }}"), "<b>&lt;i&gt;<b><i>");
}

TEST(ChatTemplate, KeepsInvalidBytes) {
  Value context = Value::Dict{{"x", std::string("a\xFFz\xC3")}};
  ChatTemplate chat_template("{{ x }}|{{ x|length }}|{{ x[1] }}|{{ x|upper }}");
  EXPECT_EQ(chat_template.render(context).text(), "a\xFFz\xC3|4|\xFF|A\xFFZ\xC3");
}

TEST(ChatTemplate, ReportsOverflowOfIntegers) {
  for (const char* source :
       {"{{ 9223372036854775807 + 1 }}", "{{ -9223372036854775807 - 2 }}",
        "{{ (-9223372036854775807 - 1) // -1 }}", "{{ 4611686018427387904 * 2 }}",
        "{{ 9223372036854775808 }}", "{{ -(-9223372036854775807 - 1) }}",
        "{{ (-9223372036854775807 - 1)|abs }}", "{{ 1e30|int }}"}) {
    EXPECT_THAT(error_of(source), HasSubstr("64")) << source;
  }
}

}  // namespace
}  // namespace sluice::text
