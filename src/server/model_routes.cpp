#include "server/model_routes.h"

#include <cmath>

#include "api/chat_context.h"
#include "api/model_info.h"
#include "api/ollama.h"
#include "api/openai.h"
#include "base/error.h"
#include "gguf/file.h"
#include "server/chat_style.h"
#include "server/model_layers.h"
#include "server/model_request.h"
#include "store/modelfile.h"

namespace sluice::server {
namespace {

api::ollama::ModelDetails details_of(const store::ModelRecord& record) {
  api::ollama::ModelDetails details;
  details.format = record.config.format;
  details.family = record.config.family;
  details.families = record.config.families;
  details.parameter_size = record.config.parameter_size;
  details.quantization_level = record.config.quantization;
  details.context_length = record.config.context_length;
  details.embedding_length = record.config.embedding_length;
  return details;
}

api::openai::ModelEntry openai_entry(const store::ModelRecord& record) {
  return {record.name.short_name(), std::chrono::system_clock::to_time_t(record.modified),
          record.name.name_space};
}

double seconds_of(std::chrono::nanoseconds duration) {
  return std::round(std::chrono::duration<double>(duration).count() * 10) / 10;
}

// Who runs and who waits; /api/sluice/status has all of a long queue.
api::Json queue_json(const engine::EngineStats& stats) {
  constexpr size_t kMaxListed = 100;
  api::Json queue = api::Json::array();
  for (const engine::RequestStatus& request : stats.requests) {
    if (request.is_running) continue;
    if (queue.size() == kMaxListed) break;
    queue.push_back({{"id", request.id},
                     {"position", request.queue_position},
                     {"estimated_wait", seconds_of(request.estimated_wait)}});
  }
  return {{"running", stats.num_running},
          {"waiting", stats.num_waiting},
          {"estimated_wait", seconds_of(stats.estimated_wait)},
          {"finished", stats.num_requests_finished},
          {"cancelled", stats.num_requests_cancelled},
          {"refused", stats.num_requests_rejected},
          {"draft_tokens", stats.num_draft_tokens},
          {"accepted_tokens", stats.num_accepted_tokens},
          {"queue", std::move(queue)}};
}

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) {
    if (!all.empty()) all += "\n";
    all += text;
  }
  return all;
}

// What creates the model again. A GGUF's own Jinja template is in its blob and no TEMPLATE.
std::string modelfile_of(const store::ModelRecord& record, const api::Json& params,
                         const std::vector<api::Message>& messages) {
  store::Modelfile modelfile;
  modelfile.from = {record.model_path};
  if (!record.texts.chat_template.empty()) modelfile.chat_template = record.texts.chat_template;
  if (!record.texts.system.empty()) modelfile.system = record.texts.system;
  for (auto& [name, value] : api::modelfile_parameters(params)) {
    modelfile.parameters.push_back({std::move(name), std::move(value)});
  }
  for (const api::Message& message : messages) {
    modelfile.messages.push_back({message.role, message.content});
  }
  modelfile.renderer = record.config.renderer;
  modelfile.parser = record.config.parser;
  modelfile.requirement = record.config.minimum_version;
  modelfile.licenses = record.texts.licenses;
  return store::format_modelfile(modelfile, record.name.short_name());
}

// What a model's config says that it can, but for what this program cannot.
std::vector<std::string> our_capabilities(const store::ModelRecord& record) {
  std::vector<std::string> list = record.config.capabilities;
  std::erase_if(list, [](const std::string& name) {
    return name == "vision" || name == "audio" || name == "image";
  });
  return list;
}

// Of what is not there this route alone says the whole name.
SharedRecord get_to_show(const Catalog& catalog, const std::string& name) {
  try {
    return catalog.get(name);
  } catch (const Error& error) {
    const auto parsed = store::ModelName::try_parse(name);
    if (error.code() != ErrorCode::kNotFound || !parsed) throw;
    if (catalog.store().contains(*parsed)) throw;  // a blob is missing
    throw Error(ErrorCode::kNotFound, "model '" + parsed->short_name() + "' not found");
  }
}

}  // namespace

Reply list_tags(const ServerContext& context, const HttpRequest&, Work&) {
  std::vector<api::ollama::TagsEntry> entries;
  std::vector<api::ollama::UnreadableModel> unreadable;
  const store::ModelList list = context.catalog.list();
  for (const store::ModelList::Problem& problem : list.problems) {
    unreadable.push_back({problem.name.short_name(), problem.reason});
  }
  for (const store::ModelRecord& record : list.models) {
    api::ollama::TagsEntry& entry = entries.emplace_back();
    entry.name = record.name.short_name();
    entry.modified_at = record.modified;
    entry.size_bytes = record.size_bytes;
    entry.digest_hex = record.digest.hex();
    entry.details = details_of(record);
    entry.capabilities = our_capabilities(record);
  }
  return json_reply(api::ollama::encode_tags(entries, unreadable));
}

Reply list_running(const ServerContext& context, const HttpRequest&, Work&) {
  std::vector<api::ollama::PsEntry> entries;
  for (const ModelStatus& status : context.models.status()) {
    if (status.is_loading) continue;
    api::ollama::PsEntry& entry = entries.emplace_back();
    entry.name = status.record->name.short_name();
    entry.size_bytes = status.memory.weights + status.memory.cache + status.memory.workspace;
    entry.device_bytes = status.memory.on_device;
    entry.digest_hex = status.record->digest.hex();
    entry.details = details_of(*status.record);
    entry.expires_at = status.stays_for_ever ? api::ollama::never_expires() : status.expires_at;
    entry.context_length = static_cast<uint64_t>(usual_context(context, status));
    entry.extra = queue_json(status.engine);
    if (!status.parts.empty()) entry.extra["parts"] = parts_json(status.parts);
  }
  return json_reply(api::ollama::encode_ps(std::move(entries)));
}

Reply show_model(const ServerContext& context, const HttpRequest& request, Work& work) {
  const api::ollama::ShowRequest wanted = api::ollama::parse_show(request.body, work);
  const SharedRecord shared = get_to_show(context.catalog, wanted.model);
  const CatalogRecord& record = *shared;
  api::ollama::ShowReply reply;
  reply.license = joined(record.texts.licenses);
  reply.system = record.texts.system;
  reply.renderer = record.config.renderer;
  reply.parser = record.config.parser;
  reply.details = details_of(record);
  reply.modified_at = record.modified;
  reply.messages = layer_messages(record, work);
  const api::JsonTree params = layer_params(record, work);
  reply.parameters = api::format_parameters(params);
  reply.chat_template = record.texts.chat_template;
  if (!record.model_path.empty()) {
    const gguf::File file = gguf::File::open(record.model_path);
    const FileTemplate jinja = read_chat_template(file);
    const ChatStyle style = choose_template(jinja, record, context.template_preference);
    if (style.kind == TemplateKind::kJinja) {
      reply.chat_template = file.get_string("tokenizer.chat_template").value_or("");
    }
    reply.model_info = api::model_info(file, wanted.verbose);
    // Copilot shows that as the model's name.
    const std::string* agent = request.header("user-agent");
    if (agent && agent->starts_with("GitHubCopilotChat/")) {
      reply.model_info["general.basename"] = wanted.model;
    }
    reply.tensors = api::tensor_list(file);
    reply.capabilities = api::capabilities(file, style.abilities);
    for (const std::string& name : our_capabilities(record)) {
      if (std::ranges::find(reply.capabilities, name) == reply.capabilities.end()) {
        reply.capabilities.push_back(name);
      }
    }
  }
  reply.modelfile = modelfile_of(record, *params, reply.messages);
  return json_reply(api::ollama::encode_show(reply));
}

Reply copy_model(const ServerContext& context, const HttpRequest& request, Work& work) {
  const api::ollama::CopyRequest copy = api::ollama::parse_copy(request.body, work);
  context.catalog.copy(copy.source, copy.destination);
  return Reply{200, "", "", {}};
}

Reply delete_model(const ServerContext& context, const HttpRequest& request, Work& work) {
  const std::string name = api::ollama::parse_model(request.body, work);
  SharedRecord record;
  try {
    record = context.catalog.get(name);
  } catch (const Error&) {
    // A broken model can be removed, too; what is not there at all is told below.
  }
  context.catalog.remove(name);
  context.models.unload(name, record.get());
  return Reply{200, "", "", {}};
}

Reply list_openai_models(const ServerContext& context, const HttpRequest&, Work&) {
  std::vector<api::openai::ModelEntry> entries;
  const store::ModelList list = context.catalog.list();
  for (const store::ModelRecord& record : list.models) {
    entries.push_back(openai_entry(record));
  }
  return json_reply(api::openai::encode_models(entries));
}

Reply show_openai_model(const ServerContext& context, const HttpRequest& request, Work&) {
  const std::string name = request.path.substr(std::string_view("/v1/models/").size());
  api::openai::ModelEntry entry = openai_entry(*context.catalog.get(name));
  entry.id = name;
  return json_reply(api::openai::encode_model(entry));
}

}  // namespace sluice::server
