#include "text/template_choice.h"

#include <gtest/gtest.h>

namespace sluice::text {
namespace {

constexpr const char* kPlainJinja = "{% for m in messages %}{{ m.content }}{% endfor %}";
constexpr const char* kJinjaTools = "{{ tools }}{% if m.role == 'user' %}";
constexpr const char* kJinjaResults =
    "{{ tools }}{% if message.tool_calls %}{% endif %}{% if message.role == 'tool' %}";
constexpr const char* kPlainGo = "{{ .System }}{{ .Prompt }}";
constexpr const char* kGoTools = "{{ .Tools }}{{ range .Messages }}{{ .Content }}{{ end }}";
constexpr const char* kGoResults =
    "{{ .Tools }}{{ range .Messages }}{{ .ToolCalls }}{{ if eq .Role \"tool\" }}{{ end }}{{ end }}";
constexpr const char* kGoThinks =
    "{{ .Tools }}{{ range .Messages }}<think>{{ .Thinking }}</think>{{ end }}";

bool is_jinja(const char* jinja, const char* go,
              TemplatePreference preference = TemplatePreference::kByAbilities) {
  return prefers_jinja(jinja_abilities(jinja), go_abilities(GoTemplate(go)), preference);
}

TEST(TemplateAbilities, AreReadFromTheTemplate) {
  EXPECT_FALSE(jinja_abilities(kPlainJinja).has_tools);
  EXPECT_TRUE(jinja_abilities(kJinjaTools).has_tools);
  EXPECT_FALSE(jinja_abilities(kJinjaTools).has_tool_results);
  EXPECT_TRUE(jinja_abilities(kJinjaResults).has_tool_results);
  EXPECT_TRUE(jinja_abilities("<think> </think>").has_thinking);
  EXPECT_FALSE(go_abilities(GoTemplate(kPlainGo)).has_tools);
  EXPECT_TRUE(go_abilities(GoTemplate(kGoTools)).has_tools);
  EXPECT_FALSE(go_abilities(GoTemplate(kGoTools)).has_tool_results);
  EXPECT_TRUE(go_abilities(GoTemplate(kGoResults)).has_tool_results);
  EXPECT_TRUE(go_abilities(GoTemplate(kGoThinks)).has_thinking);
  EXPECT_TRUE(go_abilities(GoTemplate("{{ .Prompt }}{{ .Suffix }}")).has_insert);
}

TEST(TemplateChoice, IsTheGoTemplateUnlessTheOtherOffersMore) {
  EXPECT_FALSE(is_jinja(kPlainJinja, kPlainGo));
  EXPECT_TRUE(is_jinja(kJinjaTools, kPlainGo));
  EXPECT_TRUE(is_jinja(kJinjaResults, kPlainGo));
  EXPECT_FALSE(is_jinja(kPlainJinja, kGoTools));
  EXPECT_FALSE(is_jinja(kJinjaTools, kGoTools));
  EXPECT_TRUE(is_jinja(kJinjaResults, kGoTools));
  EXPECT_FALSE(is_jinja(kJinjaResults, kGoResults));
  EXPECT_FALSE(is_jinja(kJinjaResults, kGoThinks));
}

TEST(TemplateChoice, GivesUpNoResultsOfToolsForMore) {
  const std::string thinking = "<think></think>";
  EXPECT_FALSE(is_jinja((kJinjaTools + thinking).c_str(), kGoResults));
  EXPECT_TRUE(is_jinja((kJinjaResults + thinking).c_str(), kGoResults));
  EXPECT_TRUE(is_jinja((kJinjaTools + thinking).c_str(), kGoTools));
}

TEST(TemplateChoice, IsTheOwnersWhoHasOne) {
  EXPECT_TRUE(is_jinja(kPlainJinja, kGoResults, TemplatePreference::kJinja));
  EXPECT_FALSE(is_jinja(kJinjaResults, kPlainGo, TemplatePreference::kGo));
}

}  // namespace
}  // namespace sluice::text
