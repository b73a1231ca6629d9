#pragma once

#include <string_view>

#include "text/go_template.h"

namespace sluice::text {

// What a chat template lets its model do.
struct TemplateAbilities {
  bool has_tools = false;
  bool has_tool_results = false;  // it also writes earlier calls and what came of them
  bool has_thinking = false;
  bool has_insert = false;  // text between a prompt and a suffix
};
TemplateAbilities jinja_abilities(std::string_view source);
TemplateAbilities go_abilities(const GoTemplate& go);

// What whoever runs the server wants of models that have two templates.
enum class TemplatePreference { kByAbilities, kGo, kJinja };

// Which of a model's two templates writes its prompts, by Ollama's rule (server/images.go): the Go
// template, which somebody made for this very model, unless the Jinja one of the file offers more,
// or as much and it alone can write the results of tools.
bool prefers_jinja(const TemplateAbilities& jinja, const TemplateAbilities& go,
                   TemplatePreference preference);

}  // namespace sluice::text
