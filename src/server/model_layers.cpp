#include "server/model_layers.h"

#include <string>

#include "api/chat_context.h"
#include "base/error.h"

namespace sluice::server {
namespace {

template <class Parse>
auto parse_layer(const std::string& path, const Parse& parse) {
  try {
    return parse();
  } catch (const Error& error) {
    throw Error(ErrorCode::kCorruptData,
                "'" + path + "' is damaged (" + error.what() + "); import or pull the model again");
  }
}

}  // namespace

api::Json layer_params(const store::ModelRecord& record) {
  if (record.texts.params_json.empty()) return api::Json::object();
  return parse_layer(record.texts.params_path, [&] {
    api::Json params = api::parse_json(record.texts.params_json);
    api::parse_options(params);  // checks it
    return params;
  });
}

api::ModelOptions layer_options(const store::ModelRecord& record) {
  if (record.texts.params_json.empty()) return {};
  return parse_layer(record.texts.params_path,
                     [&] { return api::parse_options(api::parse_json(record.texts.params_json)); });
}

std::vector<api::Message> layer_messages(const store::ModelRecord& record) {
  if (record.texts.messages_json.empty()) return {};
  return parse_layer(record.texts.messages_path,
                     [&] { return api::parse_messages_layer(record.texts.messages_json); });
}

}  // namespace sluice::server
