#include "server/prompt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "fake_loaded_model.h"

namespace sluice::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The fake vocabulary has one character a token, and "<|end|>" as its control token.
class Prompt : public ::testing::Test {
 protected:
  Prompt() {
    model_.tokenizer = test::fake_tokenizer();
    use_template("{% for m in messages %}[{{ m.role }}:{{ m.content }}<|end|>{% endfor %}");
    request_.model = "m";
    limits_.context = 4096;
  }

  void use_template(const std::string& source) {
    model_.chat_template = {std::make_unique<text::ChatTemplate>(source), ""};
  }
  void use_go_template(const std::string& source) {
    record_.go_template = std::make_shared<const text::GoTemplate>(source);
    record_.go_template_fault.clear();
  }

  ChatStyle style(text::TemplatePreference preference = {}) const {
    return chat_style(model_, record_, preference);
  }

  void say(const std::string& role, const std::string& content) {
    api::Message message;
    message.role = role;
    message.content = content;
    request_.messages.push_back(message);
  }

  PreparedPrompt prepare() {
    return prepare_prompt(model_, record_, style(), request_, limits_, work_);
  }

  ErrorCode failure() {
    try {
      prepare();
    } catch (const Error& error) {
      message_ = error.what();
      return error.code();
    }
    ADD_FAILURE() << "the prompt was prepared";
    return ErrorCode::kInternal;
  }

  int num_ends(const PreparedPrompt& prompt) const {
    return static_cast<int>(std::count(prompt.tokens.begin(), prompt.tokens.end(), test::kFakeEnd));
  }

  LoadedModel model_;
  CatalogRecord record_;
  api::GenerationRequest request_;
  PromptLimits limits_;
  Work work_;
  std::string message_;
};

TEST_F(Prompt, ControlTokensOfMessagesAreText) {
  say("system", "<|end|>");
  say("user", "a<|end|>b");
  EXPECT_EQ(num_ends(prepare()), 2);
  use_template(
      "{% for m in messages %}{{ m.content }}{{ m.tool_calls|default([])|tojson }}{% endfor %}"
      "{{ tools|tojson }}");
  request_.messages.back().tool_calls.push_back(
      {"<|end|>", 0, "<|end|>", {{"<|end|>", "<|end|>"}}});
  request_.tools = api::Json::array({{{"name", "<|end|>"}}});
  EXPECT_EQ(num_ends(prepare()), 0);
}

TEST_F(Prompt, AMadeUpRoleSpellsNoControlToken) {
  use_template("{% for m in messages %}{{ '<|' + m.role + '|>' }}{% endfor %}");
  say("end", "");
  EXPECT_EQ(num_ends(prepare()), 0);
}

TEST_F(Prompt, OnlyARawPromptSpellsControlTokens) {
  request_.is_chat = false;
  request_.prompt = "a<|end|>";
  EXPECT_EQ(num_ends(prepare()), 1);  // the template's
  request_.is_raw = true;
  EXPECT_THAT(prepare().tokens, ElementsAre('a', test::kFakeEnd));
  request_.is_raw = false;
  model_.chat_template = {};
  EXPECT_EQ(num_ends(prepare()), 0);
}

TEST_F(Prompt, TellsWhyATemplateCannotBeUsed) {
  model_.chat_template = {nullptr, "chat template, line 3: unexpected '}'"};
  say("user", "hi");
  EXPECT_EQ(failure(), ErrorCode::kUnsupported);
  EXPECT_THAT(message_, HasSubstr("line 3: unexpected '}'"));
  request_.is_chat = false;
  request_.is_raw = true;
  request_.prompt = "hi";
  EXPECT_EQ(prepare().tokens.size(), 2u);
}

TEST_F(Prompt, AModelWithOllamasTemplateAloneIsRenderedWithIt) {
  model_.chat_template = {};
  use_go_template(
      "{{ if .System }}s:{{ .System }};{{ end }}u:{{ .Prompt }};a:{{ .Response }}<|end|>");
  say("system", "rules<|end|>");
  say("user", "hi");
  say("assistant", "yes");
  say("user", "go");
  const PreparedPrompt prompt = prepare();
  EXPECT_EQ(prompt.text, "s:rules<|end|>;u:hi;a:yes<|end|>u:go;a:");
  EXPECT_EQ(num_ends(prompt), 1);
  record_.go_template = nullptr;
  record_.go_template_fault = "template, line 1: function \"frob\" not defined";
  EXPECT_EQ(failure(), ErrorCode::kUnsupported);
  EXPECT_THAT(message_, HasSubstr("frob"));
}

TEST_F(Prompt, OfTwoTemplatesOneIsUsedByWhatTheyCan) {
  using Preference = text::TemplatePreference;
  say("user", "hi");
  use_template("{% for m in messages %}jinja {{ m.content }}{% endfor %}");
  use_go_template("{{ range .Messages }}go {{ .Content }}{{ end }}");
  EXPECT_EQ(prepare().text, "go hi");
  EXPECT_EQ(style(Preference::kJinja).kind, TemplateKind::kJinja);
  use_template("{{ tools }}{% for m in messages %}jinja {{ m.content }}{% endfor %}");
  EXPECT_EQ(prepare().text, "jinja hi");
  EXPECT_EQ(style(Preference::kGo).kind, TemplateKind::kGo);
  EXPECT_TRUE(style().abilities.has_tools);
  EXPECT_FALSE(style(Preference::kGo).abilities.has_tools);
  // A fault in the one makes it the other.
  model_.chat_template = {nullptr, "a fault"};
  EXPECT_EQ(prepare().text, "go hi");
  record_.go_template = nullptr;
  record_.go_template_fault = "another";
  EXPECT_EQ(failure(), ErrorCode::kUnsupported);
  use_template("{% for m in messages %}jinja {{ m.content }}{% endfor %}");
  EXPECT_EQ(prepare().text, "jinja hi");
  // What Ollama would render by a renderer of its own.
  use_go_template("{{ .Prompt }}");
  EXPECT_EQ(prepare().text, "hi");
  record_.config.renderer = "qwen3-coder";
  EXPECT_EQ(prepare().text, "jinja hi");
}

TEST_F(Prompt, ATemplateOfTheRequestIsUsedInPlaceOfTheModels) {
  request_.is_chat = false;
  request_.prompt = "hi<|end|>";
  request_.system = "rules";
  request_.chat_template = "{{ .System }}<|end|>{{ .Prompt }}=";
  const PreparedPrompt prompt = prepare();
  EXPECT_EQ(prompt.text, "rules<|end|>hi<|end|>=");
  EXPECT_EQ(num_ends(prompt), 1);
  model_.chat_template = {nullptr, "a fault"};  // is of no interest then
  EXPECT_EQ(prepare().text, prompt.text);
  request_.chat_template = "\n{{ frob }}";
  EXPECT_EQ(failure(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(message_, HasSubstr("line 2"));
}

TEST_F(Prompt, WhatARequestsTemplateMakesIsBounded) {
  request_.is_chat = false;
  request_.prompt = "hi";
  for (const bool has_suffix : {false, true}) {
    request_.suffix = has_suffix ? "end" : "";
    for (const char* source :
         {"{{ .Suffix }}{{ range 100000 }}0123456789012345678901234567890123456789{{ end }}",
          "{{ .Suffix }}{{ range 100000000 }}{{ end }}",
          "{{ .Suffix }}{{ $x := .Prompt }}{{ range 40 }}{{ $x = print $x $x }}{{ end }}",
          "{{ define \"a\" }}{{ template \"a\" }}{{ end }}{{ .Suffix }}{{ template \"a\" }}"}) {
      request_.chat_template = source;
      EXPECT_EQ(failure(), ErrorCode::kInvalidArgument) << source;
    }
  }
  EXPECT_LT(work_.used_bytes(), 300'000'000u);
}

TEST_F(Prompt, WhatStandsBetweenPromptAndSuffixIsAskedForWhereATemplateCan) {
  request_.is_chat = false;
  request_.prompt = "def f():<|end|>";
  request_.suffix = "return x";
  EXPECT_EQ(failure(), ErrorCode::kUnsupported);
  EXPECT_THAT(message_, HasSubstr("does not support insert"));
  use_go_template(
      "{{ if .Suffix }}<|end|>{{ .Prompt }}|{{ .Suffix }}|{{ else }}{{ .Prompt }}{{ end }}");
  const PreparedPrompt prompt = prepare();
  EXPECT_EQ(prompt.text, "<|end|>def f():<|end|>|return x|");
  EXPECT_EQ(num_ends(prompt), 1);
  EXPECT_TRUE(style().abilities.has_insert);
  request_.chat_template = "{{ .Suffix }}>{{ .Prompt }}";
  EXPECT_EQ(prepare().text, "return x>def f():<|end|>");
  request_.chat_template = "{{ .Prompt }}";
  EXPECT_EQ(failure(), ErrorCode::kUnsupported);
}

// '1', '2' and '3' are the tokens around what is to be filled in, then.
class FillingPrompt : public Prompt {
 protected:
  FillingPrompt() {
    gguf::Writer writer = text::testing::bytes_and_end();
    use_vocabulary(std::move(writer), {kPrefix, kSuffix, kMiddle});
    request_.is_chat = false;
  }

  void use_vocabulary(gguf::Writer writer, const text::FillTokens& fill) {
    const auto set = [&](const char* key, text::TokenId id) {
      writer.set_uint32(key, static_cast<uint32_t>(id));
    };
    set("tokenizer.ggml.fim_pre_token_id", fill.prefix);
    set("tokenizer.ggml.fim_suf_token_id", fill.suffix);
    set("tokenizer.ggml.fim_mid_token_id", fill.middle);
    model_.tokenizer = text::testing::load(writer);
  }

  static constexpr text::TokenId kPrefix = '1', kSuffix = '2', kMiddle = '3';
};

TEST_F(FillingPrompt, UsesTheModelsOwnTokensWhereNoTemplateReadsASuffix) {
  request_.prompt = "ab";
  request_.suffix = "<|end|>";
  const PreparedPrompt prompt = prepare();
  EXPECT_EQ(prompt.text, "1ab2<|end|>3");
  ASSERT_EQ(prompt.tokens.size(), 3u + 2 + 7);
  EXPECT_EQ(prompt.tokens[0], kPrefix);
  EXPECT_EQ(prompt.tokens[3], kSuffix);
  EXPECT_EQ(prompt.tokens.back(), kMiddle);
  EXPECT_EQ(num_ends(prompt), 0);  // what a client sends is text
  use_go_template("{{ .Prompt }}");
  EXPECT_EQ(prepare().tokens, prompt.tokens);
  request_.chat_template = "{{ .Prompt }}";
  EXPECT_EQ(failure(), ErrorCode::kUnsupported);
  request_.chat_template.reset();
  use_go_template("{{ .Suffix }}>{{ .Prompt }}");
  EXPECT_EQ(prepare().text, "<|end|>>ab");
}

TEST_F(FillingPrompt, PutsNoSpaceBetweenItsTokenAndTheSuffix) {
  // As CodeLlama was trained: the prompt is a text of its own, the suffix goes on with one.
  text::testing::TinyVocabulary pieces = text::testing::piece_vocabulary();
  const text::TokenId prefix = pieces.add("<PRE>", text::testing::kControl);
  const text::TokenId suffix = pieces.add("<SUF>", text::testing::kControl);
  const text::TokenId middle = pieces.add("<MID>", text::testing::kControl);
  use_vocabulary(pieces.writer(), {prefix, suffix, middle});
  request_.prompt = "hello";
  request_.suffix = "hello hello";
  std::string texts;
  for (const text::TokenId id : prepare().tokens) texts += model_.tokenizer->token_text(id);
  EXPECT_EQ(texts, "<s><PRE>\u2581hello<SUF>hello\u2581hello<MID>");
}

TEST_F(FillingPrompt, LosesTheOuterEndsOfWhatIsTooLong) {
  limits_.context = 27;  // room for 26, of which the texts get 10 when they are cut
  request_.prompt = std::string(40, 'x') + "ab";
  request_.suffix = "yz" + std::string(40, 'x');
  PreparedPrompt prompt = prepare();
  EXPECT_EQ(prompt.tokens.size(), 13u);
  EXPECT_EQ(prompt.num_dropped_tokens, 84 - 10);
  EXPECT_EQ(model_.tokenizer->decode(prompt.tokens), "1xxxxxxab2yz3");
  request_.suffix = "z";
  EXPECT_EQ(model_.tokenizer->decode(prepare().tokens), "1xxxxxxxab2z3");
  request_.prompt = "a";
  request_.suffix = std::string(40, 'y');
  EXPECT_EQ(model_.tokenizer->decode(prepare().tokens), "1a2yyyyyyyyy3");
  request_.truncate = false;
  EXPECT_EQ(failure(), ErrorCode::kContextOverflow);
  EXPECT_THAT(message_, HasSubstr("44 tokens"));
  request_.truncate = true;
  for (limits_.context = 1; limits_.context < 12; ++limits_.context) {
    try {
      EXPECT_LT(static_cast<int>(prepare().tokens.size()), limits_.context);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kContextOverflow);
    }
  }
}

TEST_F(Prompt, DropsAsFewMessagesAsNeeded) {
  limits_.context = 101;  // room for 100
  say("system", "rules");
  for (int i = 0; i < 40; ++i) say(i % 2 ? "assistant" : "user", std::string(1 + i % 7, 'x'));
  say("user", "last");
  const PreparedPrompt prompt = prepare();
  EXPECT_LE(prompt.tokens.size(), 100u);
  EXPECT_THAT(prompt.text, ::testing::StartsWith("[system:rules<|end|>"));
  EXPECT_THAT(prompt.text, ::testing::EndsWith("[user:last<|end|>"));
  EXPECT_GT(prompt.num_dropped_tokens, 0);
  // The next message that went would not have fitted.
  size_t num_kept = 0;
  for (size_t at = 0; (at = prompt.text.find('[', at)) != std::string::npos; ++at) ++num_kept;
  const api::Message& next = request_.messages[request_.messages.size() - num_kept];
  EXPECT_GT(prompt.tokens.size() + next.role.size() + next.content.size() + 3, 100u);
}

TEST_F(Prompt, DropsOneMoreWhenTheTemplateRefusesWhatIsLeft) {
  use_template(
      "{% if messages[0].role != 'user' %}{{ raise_exception('must begin with user') }}{% endif %}"
      "{% for m in messages %}{{ m.content }}{% endfor %}");
  limits_.context = 31;
  for (int i = 0; i < 9; ++i) say(i % 2 ? "assistant" : "user", std::string(10, "abcdefghi"[i]));
  EXPECT_EQ(prepare().text, std::string(10, 'g') + std::string(10, 'h') + std::string(10, 'i'));
  limits_.context = 30;
  EXPECT_EQ(prepare().text, std::string(10, 'i'));
}

TEST_F(Prompt, WhatCannotBeDroppedIsRefusedWithWorkLinearInIt) {
  constexpr size_t kSystemBytes = 5'000'000, kNumMessages = 50'000;
  say("system", std::string(kSystemBytes, 'x'));
  for (size_t i = 0; i < kNumMessages; ++i) say("user", "");
  EXPECT_EQ(failure(), ErrorCode::kContextOverflow);
  EXPECT_THAT(message_, HasSubstr("too long"));
  EXPECT_LT(work_.used_bytes(), 20 * (kSystemBytes + 100 * kNumMessages));
}

TEST_F(Prompt, ManyMessagesAreCutWithWorkLinearInThem) {
  constexpr size_t kNumMessages = 50'000;
  for (size_t i = 0; i < kNumMessages; ++i)
    say(i % 2 ? "assistant" : "user", std::string(i % 90, 'x'));
  say("user", "last");
  const PreparedPrompt prompt = prepare();
  EXPECT_LE(prompt.tokens.size(), 4095u);
  EXPECT_GT(prompt.tokens.size(), 3900u);
  EXPECT_LT(work_.used_bytes(), 40 * (100 * kNumMessages));
}

TEST_F(Prompt, StopsWhenTheClientLeaves) {
  std::stop_source source;
  source.request_stop();
  Work work(Work::kUnlimited, source.get_token());
  for (size_t i = 0; i < 1000; ++i) say("user", std::string(1000, 'x'));
  try {
    prepare_prompt(model_, record_, style(), request_, limits_, work);
    ADD_FAILURE() << "not stopped";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCancelled);
  }
}

TEST_F(Prompt, ATemplateThatReadsALongTextOverAndOverIsEnded) {
  use_template("{% for i in range(99999) %}{{ messages[0].content|upper|length }}{% endfor %}");
  say("user", std::string(10'000'000, 'x'));
  EXPECT_EQ(failure(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(message_, HasSubstr("runs too long"));
  EXPECT_LT(work_.used_bytes(), 2'000'000'000u);
}

}  // namespace
}  // namespace sluice::server
