#include "server/reply_grammar.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "api/error.h"
#include "api/tools.h"
#include "text/reply_parser.h"

namespace sluice::server {
namespace {

using api::Json;
using grammar::Source;
using grammar::SourceKind;
using text::CallSyntax;

Source literal(std::string text) { return {SourceKind::kLiteral, std::move(text)}; }
Source until(std::string text) { return {SourceKind::kUntil, std::move(text)}; }
Source regex(std::string text) { return {SourceKind::kRegex, std::move(text)}; }
Source sequence(std::vector<Source> parts) { return {SourceKind::kSequence, {}, std::move(parts)}; }
Source choice(std::vector<Source> parts) { return {SourceKind::kChoice, {}, std::move(parts)}; }
Source maybe(Source part) { return choice({literal(""), std::move(part)}); }

[[noreturn]] void refuse_parameters(std::string_view tool, const std::string& what) {
  api::refuse("the parameters of tool \"" + std::string(tool) + "\": " + what);
}

// The schema of a tool's arguments, which are an object.
Json arguments_schema(const Json& tool) {
  const Json* parameters = api::tool_parameters(tool);
  if (parameters == nullptr) return Json::object();
  Json schema = *parameters;
  const Json* type = api::find_field(schema, "type");
  if (type == nullptr) {
    schema["type"] = "object";
  } else if (*type != "object") {
    api::fail("the parameters of tool \"" + std::string(api::tool_name(tool)) +
              "\" must be an object");
  }
  return schema;
}

Source arguments_of(const Json& tool) {
  const Json schema = arguments_schema(tool);
  if (schema.empty()) return {SourceKind::kJsonObject};
  return {SourceKind::kJsonSchema, api::dump_json(schema)};
}

// {"name": "f", "arguments": {..}}
Source object_call(const CallSyntax& syntax, const Json& tool) {
  const std::string name = api::dump_json(Json(api::tool_name(tool)));
  return sequence({literal("{\"name\": " + name + ", \"" + syntax.arguments_key + "\": "),
                   arguments_of(tool), literal("}")});
}

Source named_call(const CallSyntax& syntax, const Json& tool) {
  const std::string name(api::tool_name(tool));
  std::vector<Source> parts = {literal(syntax.call_begin + syntax.name_prefix + name)};
  if (!syntax.name_suffix.empty()) parts.push_back(regex(syntax.name_suffix));
  parts.push_back(literal(syntax.argument_prefix));
  parts.push_back(arguments_of(tool));
  parts.push_back(literal(syntax.item_end));
  return sequence(std::move(parts));
}

// The value of a key as plain text: a text as it is, all else as JSON. A text can have no bounds
// but a list.
Source element_value(const CallSyntax& syntax, std::string_view tool, const Json& property,
                     const Json& schema) {
  const std::string end = syntax.pad + syntax.value_end;
  const Json* type = api::find_field(property, "type");
  if (type == nullptr || *type != "string") {
    Json value = property.is_object() ? property : Json::object();
    for (const char* name : {"$defs", "definitions"}) {
      if (const Json* definitions = api::find_field(schema, name)) value[name] = *definitions;
    }
    return sequence({{SourceKind::kJsonSchema, api::dump_json(value)}, literal(end)});
  }
  std::vector<Source> values;
  for (const auto& [keyword, value] : property.get_ref<const Json::object_t&>()) {
    constexpr std::array<std::string_view, 6> kNotes = {"type",     "description", "title",
                                                        "examples", "default",     "$comment"};
    if (std::ranges::find(kNotes, keyword) != kNotes.end()) continue;
    const bool is_list = keyword == "enum" && value.is_array();
    if (!is_list && keyword != "const") {
      refuse_parameters(tool, "\"" + keyword +
                                  "\" of a text cannot be held to in the way in which "
                                  "this model writes calls");
    }
    for (const Json& item : is_list ? value : Json::array({value})) {
      if (item.is_string()) values.push_back(literal(item.get<std::string>()));
    }
  }
  if (values.empty()) return until(end);
  return sequence({choice(std::move(values)), literal(end)});
}

// A name, then keys with their values. Keys come in the order of "properties".
Source element_call(const CallSyntax& syntax, const Json& tool) {
  const std::string name(api::tool_name(tool));
  const Json schema = arguments_schema(tool);
  for (const char* keyword :
       {"anyOf", "oneOf", "allOf", "$ref", "not", "if", "patternProperties"}) {
    if (api::find_field(schema, keyword) != nullptr) {
      refuse_parameters(name,
                        "\"" + std::string(keyword) +
                            "\" cannot be held to in the way in which this model writes calls");
    }
  }
  std::vector<Source> parts = {literal(syntax.call_begin + name + syntax.name_end + "\n")};
  const Json* properties = api::object_field(schema, "properties");
  const Json* required = api::array_field(schema, "required");
  const Json none = Json::object();
  const Json& all = properties != nullptr ? *properties : none;
  for (const auto& [key, property] : all.get_ref<const Json::object_t&>()) {
    std::string begin = syntax.key_begin + key + syntax.key_end;
    if (!syntax.value_begin.empty()) begin += "\n" + syntax.value_begin;
    Source part = sequence({literal(begin + syntax.pad),
                            element_value(syntax, name, property, schema), literal("\n")});
    const bool is_required =
        required != nullptr && std::ranges::find(*required, Json(key)) != required->end();
    parts.push_back(is_required ? std::move(part) : maybe(std::move(part)));
  }
  parts.push_back(literal(syntax.call_end));
  return sequence(std::move(parts));
}

Source one_call(const CallSyntax& syntax, const Json& tool) {
  if (syntax.takes_names && !syntax.key_begin.empty()) return element_call(syntax, tool);
  const bool is_named = syntax.takes_names && !syntax.has_python_arguments;
  return is_named ? named_call(syntax, tool) : object_call(syntax, tool);
}

// The tools of which one must be called.
std::vector<Json> chosen_tools(const api::GenerationRequest& request) {
  std::vector<Json> tools;
  for (const Json& tool : *request.tools) {
    const bool is_any = request.tool_choice.kind == api::ToolChoice::Kind::kRequired;
    if (is_any || api::tool_name(tool) == request.tool_choice.name) tools.push_back(tool);
  }
  return tools;
}

Source calls_source(const CallSyntax& syntax, const api::GenerationRequest& request) {
  std::vector<Source> kinds;
  for (const Json& tool : chosen_tools(request)) kinds.push_back(one_call(syntax, tool));
  Source call = choice(std::move(kinds));
  const bool has_many = request.parallel_tool_calls && !syntax.is_single;
  const auto repeated = [&](Source item, const std::string& between) -> Source {
    if (!has_many) return item;
    return {SourceKind::kMany, {}, {std::move(item), literal(between)}};
  };
  if (syntax.may_be_bare) return call;
  std::string open = syntax.opens.front() + syntax.pad;
  if (syntax.opens.front() == syntax.call_begin) open.clear();
  std::string close = syntax.closes.empty() ? "" : syntax.pad + syntax.closes.front();
  if (syntax.writes_array) {
    return sequence({literal(open + "["), repeated(std::move(call), ", "), literal("]" + close)});
  }
  if (!syntax.repeats_open) {
    return sequence({literal(open), repeated(std::move(call), syntax.separator), literal(close)});
  }
  return repeated(sequence({literal(open), std::move(call), literal(close)}), syntax.separator);
}

std::optional<Source> format_source(const api::Format& format) {
  switch (format.kind) {
    case api::FormatKind::kText:
      return std::nullopt;
    case api::FormatKind::kJson:
      return Source{SourceKind::kJsonObject};
    case api::FormatKind::kSchema:
      return Source{SourceKind::kJsonSchema, format.text};
    case api::FormatKind::kRegex:
      return Source{SourceKind::kRegex, format.text};
    case api::FormatKind::kGrammar:
      return Source{SourceKind::kGbnf, format.text};
  }
  return std::nullopt;
}

// gpt-oss: perhaps a message of thinking, then the one that is wanted.
std::optional<Source> harmony_source(const api::GenerationRequest& request) {
  using text::frame_control;
  const std::string channel = frame_control("<|channel|>"), message = frame_control("<|message|>");
  const Source thinking =
      sequence({literal(channel + "analysis" + message), until(frame_control("<|end|>")),
                literal(frame_control("<|start|>") + "assistant")});
  if (!request.tool_choice.must_call()) {
    auto content = format_source(request.format);
    if (!content) return std::nullopt;
    return sequence({maybe(thinking), literal(channel + "final" + message), std::move(*content)});
  }
  std::vector<Source> calls;
  for (const Json& tool : chosen_tools(request)) {
    const std::string recipient = " to=functions." + std::string(api::tool_name(tool));
    calls.push_back(sequence({literal(channel + "commentary" + recipient + " " +
                                      frame_control("<|constrain|>") + "json" + message),
                              arguments_of(tool)}));
  }
  return sequence({maybe(thinking), choice(std::move(calls))});
}

}  // namespace

std::optional<Source> reply_source(const api::GenerationRequest& request, const ChatStyle& style,
                                   std::string_view prompt) {
  const text::ReplyFormat& format = style.format;
  const bool has_parts = request.takes_parts && !prompt.empty();
  if (format.is_harmony && has_parts) return harmony_source(request);
  std::optional<Source> content = request.tool_choice.must_call()
                                      ? calls_source(format.calls, request)
                                      : format_source(request.format);
  if (!content || !has_parts || !style.has_thinking()) return content;
  const std::string white = "[ \\n]{0,3}";
  const Source end = sequence({until(format.think_close), regex(white)});
  if (text::begins_with_thinking(format, prompt)) return sequence({end, std::move(*content)});
  const auto think = think_of(request, style);
  if (!think || !think->is_enabled) return content;
  return sequence(
      {maybe(sequence({regex(white), literal(format.think_open), end})), std::move(*content)});
}

}  // namespace sluice::server
