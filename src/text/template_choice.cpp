#include "text/template_choice.h"

#include <algorithm>
#include <initializer_list>

#include "text/reply_format.h"

namespace sluice::text {
namespace {

bool has_any(std::string_view source, std::initializer_list<std::string_view> words) {
  return std::ranges::any_of(
      words, [&](std::string_view word) { return source.find(word) != std::string_view::npos; });
}

bool has_thinking(std::string_view source) {
  return find_reply_format(source, [](std::string_view) { return false; }).has_thinking();
}

int num_abilities(const TemplateAbilities& abilities) {
  return int{abilities.has_tools} + int{abilities.has_thinking} + int{abilities.has_insert};
}

bool are_same(const TemplateAbilities& a, const TemplateAbilities& b) {
  return a.has_tools == b.has_tools && a.has_thinking == b.has_thinking &&
         a.has_insert == b.has_insert;
}

}  // namespace

TemplateAbilities jinja_abilities(std::string_view source) {
  TemplateAbilities abilities;
  abilities.has_tools = has_any(source, {"tools", "tool_call"});
  abilities.has_tool_results =
      abilities.has_tools && has_any(source, {"tool_calls", "assistant_tool_call"}) &&
      has_any(source, {"tool_response", "tool_results", "ipython", "role'] == 'tool'",
                       "role'] == \"tool\"", "role\"] == 'tool'", "role\"] == \"tool\"",
                       "message.role == 'tool'", "message.role == \"tool\""});
  abilities.has_thinking = has_thinking(source);
  return abilities;
}

TemplateAbilities go_abilities(const GoTemplate& go) {
  TemplateAbilities abilities;
  abilities.has_tools = go.reads("Tools");
  abilities.has_tool_results =
      abilities.has_tools && go.reads("ToolCalls") &&
      has_any(go.source(), {"eq .Role \"tool\"", "tool_response", "TOOL_RESULTS"});
  abilities.has_thinking = has_thinking(go.source());
  abilities.has_insert = go.reads("Suffix");
  return abilities;
}

bool prefers_jinja(const TemplateAbilities& jinja, const TemplateAbilities& go,
                   TemplatePreference preference) {
  if (preference != TemplatePreference::kByAbilities) {
    return preference == TemplatePreference::kJinja;
  }
  const bool would_lose_results = go.has_tool_results && !jinja.has_tool_results;
  if (num_abilities(jinja) > num_abilities(go)) return !would_lose_results;
  return are_same(jinja, go) && jinja.has_tools && jinja.has_tool_results && !go.has_tool_results;
}

}  // namespace sluice::text
