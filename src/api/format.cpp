#include "api/format.h"

#include <array>
#include <string_view>

#include "api/error.h"

namespace sluice::api {
namespace {

std::string shown(const Json& value) {
  constexpr size_t kMaxBytes = 100;
  std::string text = dump_json(value);
  if (text.size() > kMaxBytes) text = text.substr(0, kMaxBytes) + "...";
  return text;
}

bool is_empty_format(const Json& value) {
  return value.is_null() || (value.is_string() && value.get_ref<const std::string&>().empty());
}

Format of_schema(const Json& value, std::string_view field) {
  if (value.is_string()) {  // as text, which guided_json may be
    return {FormatKind::kSchema, value.get<std::string>()};
  }
  if (!value.is_object() && !value.is_boolean()) {
    fail("field \"" + std::string(field) + "\" must be a JSON Schema");
  }
  return {FormatKind::kSchema, dump_json(value)};
}

Format of_text(FormatKind kind, const Json& value, std::string_view field) {
  if (!value.is_string()) fail("field \"" + std::string(field) + "\" must be a string");
  return {kind, value.get<std::string>()};
}

// One of the texts, as a grammar.
Format of_choices(const Json& value, std::string_view field) {
  if (!value.is_array() || value.empty()) {
    fail("field \"" + std::string(field) + "\" must be a list of strings");
  }
  std::string grammar = "root ::= ";
  for (const Json& choice : value) {
    if (!choice.is_string()) fail("field \"" + std::string(field) + "\" must be a list of strings");
    if (&choice != &value.front()) grammar += " | ";
    grammar += '"';
    for (const char c : choice.get_ref<const std::string&>()) {
      if (c == '\n') {
        grammar += "\\n";
        continue;
      }
      if (c == '"' || c == '\\') grammar += '\\';
      grammar += c;
    }
    grammar += '"';
  }
  return {FormatKind::kGrammar, grammar};
}

Format read_constraint(std::string_view name, const Json& value) {
  if (name == "grammar" || name == "guided_grammar" || name == "ebnf") {
    return of_text(FormatKind::kGrammar, value, name);
  }
  if (name == "regex" || name == "guided_regex") return of_text(FormatKind::kRegex, value, name);
  if (name == "choice" || name == "guided_choice") return of_choices(value, name);
  return of_schema(value, name);
}

void take(const Json& object, std::string_view name, Format& format) {
  const Json* value = find_field(object, name);
  if (value == nullptr || is_empty_format(*value)) return;
  const bool is_list = name == "choice" || name == "guided_choice";
  if (is_list && value->is_array() && value->empty()) return;
  if (format.kind != FormatKind::kText) {
    fail("field \"" + std::string(name) + "\": the reply has a format already; send one");
  }
  format = read_constraint(name, *value);
}

}  // namespace

Format parse_format(const Json& value) {
  if (is_empty_format(value)) return {};
  if (value.is_string() && value.get_ref<const std::string&>() == "json") {
    return {FormatKind::kJson, {}};
  }
  if (value.is_object()) return {FormatKind::kSchema, dump_json(value)};
  fail("invalid format: " + shown(value) + "; expected \"json\" or a valid JSON Schema object");
}

Format parse_response_format(const Json& value) {
  const std::string type = string_field(value, "type").value_or("");
  if (type == "text") return {};
  const Json* schema = find_field(value, "schema");
  if (type == "json_object" && schema == nullptr) return {FormatKind::kJson, {}};
  if (type == "json_schema") {
    if (const Json* named = object_field(value, "json_schema")) {
      schema = find_field(*named, "schema");
    }
    if (schema == nullptr) fail("response_format \"json_schema\" needs json_schema.schema");
  } else if (type != "json_object") {
    fail("invalid response_format type");
  }
  return of_schema(*schema, "schema");
}

Format parse_output_format(const Json& value) {
  const std::string type = string_field(value, "type").value_or("");
  const Json* schema = find_field(value, "schema");
  if (type != "json_schema" || schema == nullptr) {
    fail("an output format must be {\"type\": \"json_schema\", \"schema\": ...}");
  }
  return of_schema(*schema, "schema");
}

void parse_constraints(const Json& body, Format& format) {
  constexpr std::array<std::string_view, 8> kNames = {
      "grammar",       "json_schema",    "guided_json", "guided_regex",
      "guided_choice", "guided_grammar", "regex",       "ebnf"};
  for (const std::string_view name : kNames) take(body, name, format);
  if (const Json* outputs = object_field(body, "structured_outputs")) {
    for (const std::string_view name : {"json", "regex", "choice", "grammar"}) {
      take(*outputs, name, format);
    }
    for (const auto& [name, value] : outputs->get_ref<const Json::object_t&>()) {
      const bool is_known = name == "json" || name == "regex" || name == "choice" ||
                            name == "grammar" || value.is_null();
      if (!is_known) fail("\"" + name + "\" in structured_outputs is not supported");
    }
  }
}

}  // namespace sluice::api
