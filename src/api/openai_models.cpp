#include "api/json.h"
#include "api/openai.h"

namespace sluice::api::openai {

std::string encode_model(const ModelEntry& model) {
  Json json;
  json["id"] = model.id;
  json["object"] = "model";
  json["created"] = model.created_unix;
  json["owned_by"] = model.owned_by;
  return dump_json(json);
}

std::string encode_models(const std::vector<ModelEntry>& models) {
  std::string list;
  for (const ModelEntry& model : models) {
    if (!list.empty()) list += ',';
    list += encode_model(model);
  }
  return R"({"object":"list","data":[)" + list + "]}";
}

}  // namespace sluice::api::openai
