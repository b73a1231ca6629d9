#include <gtest/gtest.h>

#include <string>

#include "text/go_template.h"

// Templates in the shape of those that Ollama's models have, written for this test; the texts that
// they give are worked out by hand from the models' documented formats.
namespace sluice::text {
namespace {

Value message(const std::string& role, const std::string& content) {
  return Value::Dict{{"role", Value::trusted(role)}, {"content", content}};
}

Value call(const std::string& name, Value::Dict arguments) {
  const Value function = Value::Dict{{"name", name}, {"arguments", std::move(arguments)}};
  return Value::Dict{{"role", Value::trusted("assistant")},
                     {"content", ""},
                     {"tool_calls", Value::List{Value::Dict{{"function", function}}}}};
}

GoPrompt conversation() {
  GoPrompt prompt;
  prompt.messages = {message("system", "Be kind."), message("user", "Hi"),
                     message("assistant", "Hello"), message("user", "Bye")};
  return prompt;
}

std::string render(const std::string& source, const GoPrompt& prompt) {
  return GoTemplate(source).render(prompt).text();
}

// Llama 3.1: one header a message, tools in the system message and before the last question, calls
// as JSON, results as ipython.
constexpr const char* kLlama31 = R"({{- if or .System .Tools -}}
<|start_header_id|>system<|end_header_id|>

{{- if .System }}

{{ .System }}
{{- end }}
{{- if .Tools }}

Cutting Knowledge Date: December 2023

When you receive a tool call response, use the output to answer.
{{- end }}<|eot_id|>
{{- end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq .Role "user" -}}
<|start_header_id|>user<|end_header_id|>
{{- if and $.Tools $last }}

Answer with a call {"name": function, "parameters": values}.
{{ range $.Tools }}
{{- . }}
{{ end }}
{{ .Content }}<|eot_id|>
{{- else }}

{{ .Content }}<|eot_id|>
{{- end }}{{ if $last }}<|start_header_id|>assistant<|end_header_id|>

{{ end }}
{{- else if eq .Role "assistant" -}}
<|start_header_id|>assistant<|end_header_id|>
{{- if .ToolCalls }}
{{ range .ToolCalls }}
{"name": "{{ .Function.Name }}", "parameters": {{ .Function.Arguments }}}{{ end }}
{{- else }}

{{ .Content }}
{{- end }}{{ if not $last }}<|eot_id|>{{ end }}
{{- else if eq .Role "tool" -}}
<|start_header_id|>ipython<|end_header_id|>

{{ .Content }}<|eot_id|>{{ if $last }}<|start_header_id|>assistant<|end_header_id|>

{{ end }}
{{- end }}
{{- end -}})";

TEST(GoTemplateFamilies, Llama31) {
  EXPECT_EQ(render(kLlama31, conversation()),
            "<|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n");
}

TEST(GoTemplateFamilies, Llama31WithTools) {
  GoPrompt prompt;
  prompt.tools = {Value::Dict{{"type", "function"}, {"function", Value::Dict{{"name", "clock"}}}}};
  prompt.messages = {message("user", "What time is it?")};
  const std::string system =
      "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n\n"
      "When you receive a tool call response, use the output to answer.<|eot_id|>";
  EXPECT_EQ(render(kLlama31, prompt),
            system +
                "<|start_header_id|>user<|end_header_id|>\n\n"
                "Answer with a call {\"name\": function, \"parameters\": values}.\n"
                "{\"type\":\"function\",\"function\":{\"name\":\"clock\"}}\n\n"
                "What time is it?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n");
  prompt.messages.push_back(call("clock", {{"zone", "UTC"}}));
  prompt.messages.push_back(message("tool", "12:00"));
  EXPECT_EQ(render(kLlama31, prompt),
            system +
                "<|start_header_id|>user<|end_header_id|>\n\nWhat time is it?<|eot_id|>"
                "<|start_header_id|>assistant<|end_header_id|>\n\n"
                "{\"name\": \"clock\", \"parameters\": {\"zone\":\"UTC\"}}<|eot_id|>"
                "<|start_header_id|>ipython<|end_header_id|>\n\n12:00<|eot_id|>"
                "<|start_header_id|>assistant<|end_header_id|>\n\n");
}

// Gemma: has no system role, so that its text stands before the first question; the assistant is
// called model.
constexpr const char* kGemma = R"({{- $system := "" }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq .Role "system" }}{{ $system = .Content }}{{ continue }}{{ end -}}
{{- if eq .Role "user" }}<start_of_turn>user
{{ if $system }}{{ $system }}

{{ $system = "" }}{{ end }}{{ .Content }}<end_of_turn>
{{ if $last }}<start_of_turn>model
{{ end }}
{{- else if eq .Role "assistant" }}<start_of_turn>model
{{ .Content }}{{ if not $last }}<end_of_turn>
{{ end }}
{{- end }}
{{- end }})";

TEST(GoTemplateFamilies, Gemma) {
  EXPECT_EQ(render(kGemma, conversation()),
            "<start_of_turn>user\nBe kind.\n\nHi<end_of_turn>\n"
            "<start_of_turn>model\nHello<end_of_turn>\n"
            "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n");
  // A reply that is begun is gone on with.
  GoPrompt begun = conversation();
  begun.messages.pop_back();
  EXPECT_EQ(render(kGemma, begun),
            "<start_of_turn>user\nBe kind.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello");
}

TEST(GoTemplateFamilies, GemmaOfOldByTurns) {
  EXPECT_EQ(render("<start_of_turn>user\n{{ if .System }}{{ .System }} {{ end }}{{ .Prompt "
                   "}}<end_of_turn>\n<start_of_turn>model\n{{ .Response }}<end_of_turn>\n",
                   conversation()),
            "<start_of_turn>user\nBe kind. Hi<end_of_turn>\n<start_of_turn>model\nHello"
            "<end_of_turn>\n<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n");
}

// Phi 3 by turns; Phi 4 with a separator behind the role and functions for tools.
TEST(GoTemplateFamilies, Phi3ByTurns) {
  EXPECT_EQ(render("{{ if .System }}<|system|>\n{{ .System }}<|end|>\n{{ end }}{{ if .Prompt "
                   "}}<|user|>\n{{ .Prompt }}<|end|>\n{{ end }}<|assistant|>\n{{ .Response "
                   "}}<|end|>\n",
                   conversation()),
            "<|system|>\nBe kind.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHello<|end|>\n"
            "<|user|>\nBye<|end|>\n<|assistant|>\n");
}

constexpr const char* kPhi4 = R"({{- if or .System .Tools }}<|system|>{{ .System }}
{{- if .Tools }}{{ if .System }} {{ end }}Tools:<|tool|>[{{ range $i, $t := .Tools }}{{ if $i }}, {{ end }}
{{- .Function }}{{ end }}]<|/tool|>{{ end }}<|end|>
{{- end }}
{{- range $i, $m := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if ne .Role "system" }}<|{{ .Role }}|>
{{- if .ToolCalls }}<|tool_call|>[{{ range .ToolCalls }}{"name":"{{ .Function.Name }}","arguments":
{{- json .Function.Arguments }}}{{ end }}]<|/tool_call|>
{{- else }}{{ .Content }}{{ end }}
{{- if not (and $last (eq .Role "assistant")) }}<|end|>{{ end }}
{{- if and $last (ne .Role "assistant") }}<|assistant|>{{ end }}
{{- end }}
{{- end }})";

TEST(GoTemplateFamilies, Phi4) {
  EXPECT_EQ(render(kPhi4, conversation()),
            "<|system|>Be kind.<|end|><|user|>Hi<|end|><|assistant|>Hello<|end|>"
            "<|user|>Bye<|end|><|assistant|>");
  GoPrompt prompt;
  prompt.tools = {Value::Dict{{"function", Value::Dict{{"name", "a"}}}},
                  Value::Dict{{"function", Value::Dict{{"name", "b"}}}}};
  prompt.messages = {message("user", "Do"), call("a", {{"x", 1}, {"y", Value::List{true}}}),
                     message("tool", "done")};
  EXPECT_EQ(render(kPhi4, prompt),
            "<|system|>Tools:<|tool|>[{\"name\":\"a\"}, {\"name\":\"b\"}]<|/tool|><|end|>"
            "<|user|>Do<|end|><|assistant|><|tool_call|>[{\"name\":\"a\",\"arguments\":"
            "{\"x\":1,\"y\":[true]}}]<|/tool_call|><|end|><|tool|>done<|end|><|assistant|>");
}

}  // namespace
}  // namespace sluice::text
