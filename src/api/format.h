#pragma once

#include <string>

#include "api/json.h"

namespace sluice::api {

enum class FormatKind { kText, kJson, kSchema, kRegex, kGrammar };

// What a reply has to be.
struct Format {
  FormatKind kind = FormatKind::kText;
  // kSchema: a JSON Schema; kRegex: an expression that the whole reply matches; kGrammar: GBNF.
  std::string text;
};

// All throw Error(kInvalidArgument).

// Ollama's: "json", a schema object, "" or null.
Format parse_format(const Json& value);
// OpenAI's response_format: {"type": "text"}, "json_object", or "json_schema" with its schema.
Format parse_response_format(const Json& value);
// Anthropic's output_config.format and output_format: {"type": "json_schema", "schema"}.
Format parse_output_format(const Json& value);

// The names under which other servers take the same, in any dialect: "grammar" and "json_schema"
// (llama.cpp), "guided_json", "guided_regex", "guided_choice", "guided_grammar" and
// "structured_outputs" (vLLM), "regex" and "ebnf" (SGLang). Into `format`, of which there may be
// only one.
void parse_constraints(const Json& body, Format& format);

}  // namespace sluice::api
