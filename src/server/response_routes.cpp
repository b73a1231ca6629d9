#include "server/response_routes.h"

#include <string>

#include "api/json_writer.h"
#include "api/openai_responses.h"
#include "base/error.h"
#include "server/generation.h"
#include "server/response_store.h"

namespace sluice::server {
namespace {

std::string id_of(const HttpRequest& request) {
  return request.path.substr(std::string_view("/v1/responses/").size());
}

[[noreturn]] void fail_unknown(const std::string& id) {
  throw Error(ErrorCode::kNotFound,
              "Response with id " + api::json_text(id.substr(0, 100)) + " not found");
}

}  // namespace

Awaitable<void> answer_response(const ServerContext& context, Exchange& exchange) {
  ClientResponses memory(context.responses, exchange.request().client.name);
  const auto dialect = api::openai::make_response(api::fresh_stamp(), memory);
  co_await answer_generation(context, exchange, *dialect);
}

Reply show_response(const ServerContext& context, const HttpRequest& request, Work&) {
  const std::string id = id_of(request);
  const auto response = context.responses.find(request.client.name, id);
  if (!response) fail_unknown(id);
  return json_reply(response->body);
}

Reply remove_response(const ServerContext& context, const HttpRequest& request, Work&) {
  const std::string id = id_of(request);
  if (!context.responses.remove(request.client.name, id)) fail_unknown(id);
  api::JsonObject json;
  json.add("id", id);
  json.add("object", "response.deleted");
  json.add("deleted", true);
  return json_reply(json.take());
}

}  // namespace sluice::server
