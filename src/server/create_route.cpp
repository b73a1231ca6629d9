#include <utility>

#include "api/ollama.h"
#include "base/error.h"
#include "convert/create.h"
#include "registry/pull.h"
#include "server/job_routes.h"
#include "server/model_request.h"
#include "store/files.h"

namespace sluice::server {
namespace {

convert::ModelRecipe request_of(const api::ollama::CreateRequest& wanted,
                                const store::Store& store) {
  convert::ModelRecipe request;
  request.name = store::ModelName::parse(wanted.model);
  if (!wanted.from.empty()) request.from = store::ModelName::parse(wanted.from);
  for (const auto& [name, digest_text] : wanted.files) {
    const auto digest = store::Digest::parse_or_throw(digest_text);
    const std::string path = store.blob_path(digest);
    if (!store::is_regular_file(path)) {
      throw Error(ErrorCode::kNotFound,
                  "the blob " + digest.text() + " is not there; send it to /api/blobs first");
    }
    request.files[name] = path;
  }
  request.chat_template = wanted.chat_template;
  request.system = wanted.system;
  request.params_json = wanted.parameters_json;
  request.messages_json = wanted.messages_json;
  request.licenses = wanted.licenses;
  request.renderer = wanted.renderer;
  request.parser = wanted.parser;
  request.minimum_version = wanted.minimum_version;
  request.quantize = wanted.quantize;
  return request;
}

// Equal requests share a job; any difference makes it another one.
std::string create_key(const api::ollama::CreateRequest& wanted) {
  std::string all;
  const auto add = [&all](const std::string& text) {
    all += std::to_string(text.size()) + ":" + text;
  };
  for (const std::string* text :
       {&wanted.model, &wanted.from, &wanted.chat_template, &wanted.system, &wanted.parameters_json,
        &wanted.messages_json, &wanted.renderer, &wanted.parser, &wanted.minimum_version,
        &wanted.quantize}) {
    add(*text);
  }
  for (const auto& [name, digest] : wanted.files) add(name), add(digest);
  for (const std::string& license : wanted.licenses) add(license);
  return "create " + wanted.model.substr(0, 200) + " " + store::sha256(all).short_id();
}

JobBoard::Task create_task(const ServerContext& context, convert::ModelRecipe request) {
  return [&context, request = std::move(request)](const registry::OnProgress& tell,
                                                  std::stop_token stop) {
    store::Store& store = context.catalog.store();
    if (request.from && !store.find(*request.from)) {
      const auto reference = registry::Reference::parse(request.from->full_name(), false);
      registry::pull(store, reference, context.registry, tell, stop);
    }
    const auto tell_line = [&tell](const convert::CreateProgress& line) {
      tell({line.status, line.digest, line.total_bytes, line.completed_bytes});
    };
    convert::create(store, request, tell_line, stop);
  };
}

}  // namespace

Awaitable<void> answer_create(const ServerContext& context, Exchange& exchange) {
  const auto parse = [](std::string_view body, Work& work) {
    return api::ollama::parse_create(body, work);
  };
  const api::ollama::CreateRequest wanted = co_await parse_body(context, exchange, parse);
  JobBoard::Task task = create_task(context, request_of(wanted, context.catalog.store()));
  const std::string key = create_key(wanted);
  co_await answer_job(context, exchange, wanted.stream, key, std::move(task));
}

}  // namespace sluice::server
