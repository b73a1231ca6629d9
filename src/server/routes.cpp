#include "server/routes.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <utility>

#include "api/anthropic.h"
#include "api/embedding.h"
#include "api/error.h"
#include "api/ollama.h"
#include "api/openai.h"
#include "server/access.h"
#include "server/blob_routes.h"
#include "server/embedding.h"
#include "server/generation.h"
#include "server/job_routes.h"
#include "server/model_request.h"
#include "server/model_routes.h"
#include "server/reply_writer.h"
#include "server/status.h"
#include "server/version.h"

namespace sluice::server {
namespace {

Reply say_running(const ServerContext&, const HttpRequest&, Work&) {
  // Clients look for this very text to see that they found an Ollama server.
  return Reply{200, "text/plain; charset=utf-8", "Ollama is running", {}};
}

// What load balancers and load generators ask for.
Reply say_healthy(const ServerContext&, const HttpRequest&, Work&) {
  return json_reply(R"({"status":"ok"})");
}

Reply say_version(const ServerContext&, const HttpRequest&, Work&) {
  return json_reply(api::ollama::encode_version(kOllamaVersion));
}

Reply say_status(const ServerContext& context, const HttpRequest&, Work&) {
  ServerFacts facts;
  facts.uptime = std::chrono::steady_clock::now() - context.started;
  facts.num_connections = context.num_connections();
  facts.is_draining = context.is_draining;
  facts.max_memory_bytes = context.models.max_memory_bytes();
  facts.totals = context.models.totals();
  return json_reply(encode_status(facts, context.models.status()));
}

using Answer = Reply (*)(const ServerContext&, const HttpRequest&, Work&);
// What has more to say than one reply, or more to hear than one body.
using Conversation = Awaitable<void> (*)(const ServerContext&, Exchange&);

struct Route {
  std::string_view method;
  std::string_view path;  // ends with "/*" where more follows
  std::variant<Answer, Conversation, api::MakeDialect, api::MakeEmbeddingDialect> answer;
  bool is_light = false;  // neither disk nor much input: answered on the connection's thread
  bool changes_store = false;
  bool takes_body_in_pieces = false;
};

// The one list of what the server answers. GET includes HEAD.
constexpr std::array kRoutes = {
    Route{"GET", "/", say_running, true},
    Route{"GET", "/health", say_healthy, true},
    Route{"GET", "/api/version", say_version, true},
    Route{"GET", "/api/sluice/status", say_status, true},
    Route{"GET", "/api/tags", list_tags},
    Route{"GET", "/api/ps", list_running, true},
    Route{"POST", "/api/show", show_model},
    Route{"POST", "/api/chat", api::ollama::make_chat},
    Route{"POST", "/api/generate", api::ollama::make_generate},
    Route{"POST", "/api/embed", api::ollama::make_embed},
    Route{"POST", "/api/embeddings", api::ollama::make_embeddings},
    Route{"POST", "/api/copy", copy_model, false, true},
    Route{"POST", "/api/pull", answer_pull},
    Route{"POST", "/api/push", answer_push},
    Route{"POST", "/api/create", answer_create},
    Route{"HEAD", "/api/blobs/*", check_blob},
    Route{"POST", "/api/blobs/*", take_blob, false, false, true},
    Route{"DELETE", "/api/delete", delete_model, false, true},
    Route{"POST", "/v1/chat/completions", api::openai::make_chat_completion},
    Route{"POST", "/v1/completions", api::openai::make_completion},
    Route{"POST", "/v1/embeddings", api::openai::make_embeddings},
    Route{"POST", "/v1/messages", api::anthropic::make_messages},
    Route{"GET", "/v1/models", list_openai_models},
    Route{"GET", "/v1/models/*", show_openai_model},
};

bool matches_path(std::string_view pattern, std::string_view path) {
  if (!pattern.ends_with("/*")) return pattern == path;
  const std::string_view stem = pattern.substr(0, pattern.size() - 1);
  return path.starts_with(stem) && path.size() > stem.size();
}

// Whose errors are told under a path: the first whose prefix fits.
struct ErrorShape {
  std::string_view path_prefix;
  api::ErrorBody body;
};
constexpr std::array kErrorShapes = {
    ErrorShape{"/v1/messages", api::anthropic::error_body},
    ErrorShape{"/v1/", api::openai::error_body},
    ErrorShape{"", api::ollama::error_body},
};

api::ErrorBody error_body_for(std::string_view path) {
  return std::find_if(kErrorShapes.begin(), kErrorShapes.end(),
                      [&](const ErrorShape& shape) { return path.starts_with(shape.path_prefix); })
      ->body;
}

// The route, or the reply for a request that has none.
std::variant<const Route*, Reply> find_route(const HttpRequest& request) {
  const std::string_view method =
      request.method == "HEAD" ? std::string_view("GET") : std::string_view(request.method);
  bool is_path_known = false;
  for (const Route& route : kRoutes) {
    if (!matches_path(route.path, request.path)) continue;
    is_path_known = true;
    if (route.method == method || route.method == request.method) return &route;
  }
  return is_path_known ? refusal(request, 405, "method not allowed")
                       : refusal(request, 404, "page not found");
}

// The headers for replies to pages of other origins; the request passed check_access().
void add_cors_headers(Exchange& exchange) {
  const std::string* origin = exchange.request().header("origin");
  if (!origin) return;
  for (auto& [name, value] : cors_headers(*origin, false)) exchange.add_header(name, value);
}

Awaitable<Reply> make_reply(const ServerContext& context, Exchange& exchange, const Route& route) {
  const HttpRequest& request = exchange.request();
  auto answer = [&](Work& work) { return std::get<Answer>(route.answer)(context, request, work); };
  Work unlimited;
  if (route.is_light) co_return answer(unlimited);
  WorkerPool& pool =
      route.changes_store ? context.workers.store : context.workers.reader(request.body.size());
  co_return co_await on_worker(pool, exchange, answer);
}

// What an exchange ends with that failed.
Awaitable<void> tell_failure(Exchange& exchange, const Route& route, const Failure& failure) {
  spdlog::info("{} {}: {}", route.method, route.path, failure.message);
  Reply reply = error_reply_for(exchange, failure, error_body_for(route.path));
  co_await exchange.respond(std::move(reply));
}

Awaitable<void> answer_at_length(const ServerContext& context, Exchange& exchange,
                                 const Route& route) {
  std::optional<Failure> failure;
  try {
    co_await std::get<Conversation>(route.answer)(context, exchange);
  } catch (...) {
    failure = failure_of(std::current_exception());
  }
  if (!failure) co_return;
  if (exchange.is_begun()) co_return;  // it cannot be told any more: the connection is cut
  co_await tell_failure(exchange, route, *failure);
}

Awaitable<void> answer_plainly(const ServerContext& context, Exchange& exchange,
                               const Route& route) {
  exchange.serve_half_closed();
  std::optional<Failure> failure;
  try {
    Reply reply = co_await make_reply(context, exchange, route);
    co_await exchange.respond(std::move(reply));
  } catch (...) {
    failure = failure_of(std::current_exception());
  }
  if (failure) co_await tell_failure(exchange, route, *failure);
}

}  // namespace

std::vector<std::string> route_names() {
  std::vector<std::string> names;
  for (const Route& route : kRoutes) {
    names.push_back(std::string(route.method) + " " + std::string(route.path));
  }
  return names;
}

bool takes_body_in_pieces(const HttpRequest& request) {
  const auto found = find_route(request);
  const Route* const* route = std::get_if<const Route*>(&found);
  return route && (*route)->takes_body_in_pieces;
}

Awaitable<void> dispatch(const ServerContext& context, Exchange& exchange) {
  add_cors_headers(exchange);
  std::variant<const Route*, Reply> found = find_route(exchange.request());
  if (auto* reply = std::get_if<Reply>(&found)) {
    co_await exchange.respond(std::move(*reply));
    co_return;
  }
  const Route& route = *std::get<const Route*>(found);
  if (const auto* dialect = std::get_if<api::MakeDialect>(&route.answer)) {
    co_await answer_generation(context, exchange, *dialect);
  } else if (const auto* embedding = std::get_if<api::MakeEmbeddingDialect>(&route.answer)) {
    co_await answer_embedding(context, exchange, *embedding);
  } else if (std::holds_alternative<Conversation>(route.answer)) {
    co_await answer_at_length(context, exchange, route);
  } else {
    co_await answer_plainly(context, exchange, route);
  }
}

Reply refusal(const HttpRequest& request, int status, std::string_view message) {
  const api::ErrorBody error_body = error_body_for(request.path);
  // These three are no JSON with Ollama.
  if (error_body == api::ollama::error_body) {
    if (status == 403) return Reply{403, "", "", {}};
    if (status == 404 || status == 405) {
      return Reply{status, "text/plain", std::to_string(status) + " " + std::string(message), {}};
    }
  }
  Reply reply = json_reply(error_body(status, message));
  reply.status = status;
  return reply;
}

}  // namespace sluice::server
