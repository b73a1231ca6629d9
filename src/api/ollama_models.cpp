#include <algorithm>

#include "api/json_writer.h"
#include "api/ollama.h"
#include "base/units.h"

namespace sluice::api::ollama {
namespace {

Json details_json(const ModelDetails& details) {
  Json json;
  json["parent_model"] = details.parent_model;
  json["format"] = details.format;
  json["family"] = details.family;
  json["families"] = details.families;
  json["parameter_size"] = details.parameter_size;
  json["quantization_level"] = details.quantization_level;
  if (details.context_length > 0) json["context_length"] = details.context_length;
  if (details.embedding_length > 0) json["embedding_length"] = details.embedding_length;
  return json;
}

std::string model_or_name(const Json& body) {
  std::string model = model_field(body);
  if (model.empty()) throw Error(ErrorCode::kInvalidArgument, "model is required");
  return model;
}

void set_text(Json& json, const char* name, const std::string& text) {
  if (!text.empty()) json[name] = text;
}

}  // namespace

ShowRequest parse_show(std::string_view body_text, Work& work) {
  const JsonTree body = parse_body(body_text, work);
  return {model_or_name(body), bool_field(body, "verbose").value_or(false)};
}

std::string parse_model(std::string_view body_text, Work& work) {
  return model_or_name(parse_body(body_text, work));
}

CopyRequest parse_copy(std::string_view body_text, Work& work) {
  const JsonTree body = parse_body(body_text, work);
  return {string_field(body, "source").value_or(""),
          string_field(body, "destination").value_or("")};
}

TransferRequest parse_transfer(std::string_view body_text, Work& work) {
  const JsonTree body = parse_body(body_text, work);
  TransferRequest request;
  request.model = model_field(body);
  request.url = string_field(body, "url").value_or("");
  request.insecure = bool_field(body, "insecure").value_or(false);
  request.stream = bool_field(body, "stream").value_or(true);
  return request;
}

std::string encode_progress(std::string_view status, std::string_view digest, uint64_t total_bytes,
                            uint64_t completed_bytes) {
  JsonObject line;
  line.add("status", status);
  if (!digest.empty()) {
    line.add("digest", digest);
    line.add("total", total_bytes);
    if (completed_bytes > 0) line.add("completed", completed_bytes);
  }
  return line.take();
}

std::string encode_tags(const std::vector<TagsEntry>& models,
                        const std::vector<UnreadableModel>& unreadable) {
  Json json;
  json["models"] = Json::array();
  for (const TagsEntry& entry : models) {
    Json item;
    item["name"] = entry.name;
    item["model"] = entry.name;
    item["modified_at"] = format_rfc3339(entry.modified_at);
    item["size"] = entry.size_bytes;
    item["digest"] = entry.digest_hex;
    item["details"] = details_json(entry.details);
    if (!entry.capabilities.empty()) item["capabilities"] = entry.capabilities;
    json["models"].push_back(std::move(item));
  }
  for (const UnreadableModel& model : unreadable) {
    json["unreadable"].push_back({{"name", model.name}, {"reason", model.reason}});
  }
  return dump_json(json);
}

TimePoint never_expires() { return TimePoint::max(); }

std::string encode_ps(std::vector<PsEntry> models) {
  std::stable_sort(models.begin(), models.end(), [](const PsEntry& left, const PsEntry& right) {
    return left.expires_at > right.expires_at;
  });
  Json json;
  json["models"] = Json::array();
  for (PsEntry& entry : models) {
    Json item;
    item["name"] = entry.name;
    item["model"] = entry.name;
    item["size"] = entry.size_bytes;
    item["digest"] = entry.digest_hex;
    item["details"] = details_json(entry.details);
    item["expires_at"] = format_rfc3339(entry.expires_at);
    item["size_vram"] = entry.device_bytes;
    item["context_length"] = entry.context_length;
    if (!entry.extra.empty()) item["sluice"] = std::move(entry.extra);
    json["models"].push_back(std::move(item));
  }
  return dump_json(json);
}

std::string encode_show(const ShowReply& reply) {
  Json json;
  set_text(json, "license", reply.license);
  set_text(json, "modelfile", reply.modelfile);
  set_text(json, "parameters", reply.parameters);
  set_text(json, "template", reply.chat_template);
  set_text(json, "system", reply.system);
  set_text(json, "renderer", reply.renderer);
  set_text(json, "parser", reply.parser);
  json["details"] = details_json(reply.details);
  if (!reply.messages.empty()) {
    json["messages"] = Json::array();
    for (const Message& message : reply.messages) {
      Json item;
      item["role"] = message.role;
      item["content"] = message.content;
      json["messages"].push_back(std::move(item));
    }
  }
  json["model_info"] = reply.model_info;
  json["tensors"] = reply.tensors;
  json["capabilities"] = reply.capabilities;
  json["modified_at"] = format_rfc3339(reply.modified_at);
  return dump_json(json);
}

std::string encode_version(std::string_view version) {
  Json json;
  json["version"] = version;
  return dump_json(json);
}

}  // namespace sluice::api::ollama
