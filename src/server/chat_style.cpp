#include "server/chat_style.h"

namespace sluice::server {

ChatStyle choose_template(const FileTemplate& jinja, const CatalogRecord& record,
                          text::TemplatePreference preference) {
  ChatStyle style;
  const auto use_jinja = [&] {
    style.kind = TemplateKind::kJinja;
    style.fault = jinja.fault;
    if (jinja.parsed) style.source = jinja.parsed->source();
    style.abilities = text::jinja_abilities(style.source);
  };
  const auto use_go = [&] {
    style.kind = TemplateKind::kGo;
    style.fault = record.go_template_fault;
    if (record.go_template) style.source = record.go_template->source();
    if (record.go_template) style.abilities = text::go_abilities(*record.go_template);
  };
  bool is_jinja = jinja.parsed != nullptr;
  if (is_jinja && record.go_template) {
    // Models for which Ollama has a renderer of its own come with a Go template that says nothing.
    is_jinja = !record.config.renderer.empty() ||
               prefers_jinja(text::jinja_abilities(jinja.parsed->source()),
                             text::go_abilities(*record.go_template), preference);
  }
  if (is_jinja || (!record.go_template && !jinja.fault.empty())) {
    use_jinja();
  } else if (record.go_template || !record.go_template_fault.empty()) {
    use_go();
  }
  style.abilities.has_insert = record.go_template && record.go_template->reads("Suffix");
  return style;
}

ChatStyle chat_style(const LoadedModel& model, const CatalogRecord& record,
                     text::TemplatePreference preference) {
  ChatStyle style = choose_template(model.chat_template, record, preference);
  const text::Tokenizer& tokenizer = *model.tokenizer;
  style.format = text::find_reply_format(style.source, [&](std::string_view token_text) {
    const auto id = tokenizer.find_token(token_text);
    return id && tokenizer.is_control(*id);
  });
  return style;
}

std::optional<api::Think> think_of(const api::GenerationRequest& request, const ChatStyle& style) {
  if (request.think || !style.has_thinking() || !request.takes_parts) return request.think;
  return api::Think{true, "", false};
}

}  // namespace sluice::server
