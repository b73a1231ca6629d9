#include "server/model_layers.h"

#include <string>

#include "api/chat_context.h"
#include "base/error.h"

namespace sluice::server {
namespace {

template <class Parse>
auto parse_layer(const std::string& path, Work& work, const Parse& parse) {
  try {
    return parse();
  } catch (const Error& error) {
    work.check();
    throw Error(ErrorCode::kCorruptData,
                "'" + path + "' is damaged (" + error.what() + "); import or pull the model again");
  }
}

}  // namespace

api::JsonTree layer_params(const store::ModelRecord& record, Work& work) {
  if (record.texts.params_json.empty()) return api::Json::object();
  return parse_layer(record.texts.params_path, work,
                     [&] { return api::parse_json(record.texts.params_json, work); });
}

api::ModelOptions layer_options(const store::ModelRecord& record) {
  Work unlimited;
  const api::JsonTree params = layer_params(record, unlimited);
  return parse_layer(record.texts.params_path, unlimited,
                     [&] { return api::parse_options(params); });
}

std::vector<api::Message> layer_messages(const store::ModelRecord& record, Work& work) {
  if (record.texts.messages_json.empty()) return {};
  return parse_layer(record.texts.messages_path, work,
                     [&] { return api::parse_messages_layer(record.texts.messages_json, work); });
}

}  // namespace sluice::server
