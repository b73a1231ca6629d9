#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "api/request.h"
#include "server/catalog.h"
#include "server/loaded_model.h"
#include "text/reply_format.h"
#include "text/template_choice.h"

namespace sluice::server {

// Whose template writes the prompts of a model under a name: two names may share a file, and each
// bring a Go template of its own.
enum class TemplateKind { kNone, kJinja, kGo };

// How a model chats under a name: by the template that is used for it.
struct ChatStyle {
  TemplateKind kind = TemplateKind::kNone;
  // Why that cannot be used; "" when it can. (A faulty one is passed over when there is another.)
  std::string fault;
  std::string_view source;  // of that template, in the model or its record
  // Text between prompt and suffix is asked for by the Go template, whichever writes the rest.
  text::TemplateAbilities abilities;
  text::ReplyFormat format;

  bool has_thinking() const { return format.has_thinking(); }
};
ChatStyle chat_style(const LoadedModel& model, const CatalogRecord& record,
                     text::TemplatePreference preference);

// The same without a loaded model: which template, and what it can. `jinja`: the file's.
ChatStyle choose_template(const FileTemplate& jinja, const CatalogRecord& record,
                          text::TemplatePreference preference);

// Whether the model shall think. A model that can does unless the request says otherwise.
std::optional<api::Think> think_of(const api::GenerationRequest& request, const ChatStyle& style);

}  // namespace sluice::server
