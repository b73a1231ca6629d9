#include "server/routes.h"

#include <algorithm>
#include <array>
#include <boost/beast/core/string.hpp>
#include <utility>

#include "api/anthropic.h"
#include "api/embedding.h"
#include "api/error.h"
#include "api/ollama.h"
#include "api/openai.h"
#include "server/access.h"
#include "server/blob_routes.h"
#include "server/content_encoding.h"
#include "server/embedding.h"
#include "server/generation.h"
#include "server/job_routes.h"
#include "server/model_request.h"
#include "server/model_routes.h"
#include "server/openapi.h"
#include "server/page.h"
#include "server/reply_writer.h"
#include "server/response_routes.h"
#include "server/usage_route.h"
#include "server/version.h"
#include "server/watch_routes.h"

namespace sluice::server {
namespace {

Reply say_version(const ServerContext&, const HttpRequest&, Work&) {
  return json_reply(api::ollama::encode_version(kOllamaVersion));
}

Reply say_openapi(const ServerContext&, const HttpRequest&, Work&) {
  return json_reply(std::string(openapi_json()));
}

using Answer = Reply (*)(const ServerContext&, const HttpRequest&, Work&);
// What has more to say than one reply, or more to hear than one body.
using Conversation = Awaitable<void> (*)(const ServerContext&, Exchange&);

struct Route {
  std::string_view method;
  std::string_view path;  // ends with "/*" where more follows
  keys::Access access;    // has no default: a route that does not say it does not compile
  std::variant<Answer, Conversation, api::MakeDialect, api::MakeEmbeddingDialect> answer;
  bool is_light = false;  // neither disk nor much input: answered on the connection's thread
  bool changes_store = false;
  bool takes_body_in_pieces = false;
  bool costs_tokens = false;  // told where the kind of the answer does not
};

bool is_about_a_model(const Route& route) {
  return route.costs_tokens || std::holds_alternative<api::MakeDialect>(route.answer) ||
         std::holds_alternative<api::MakeEmbeddingDialect>(route.answer);
}

using keys::Scope;
constexpr keys::Access kEverybody = keys::Access::for_everybody();
constexpr keys::Access kAnyKey = keys::Access::for_any_key();
constexpr keys::Access kLookers = Scope::kInfer | Scope::kManage;

// The one list of what the server answers, and to whom. GET includes HEAD.
constexpr std::array kRoutes = {
    Route{"GET", "/", kEverybody, say_home, true},
    Route{"GET", "/web/*", kEverybody, give_page_file, true},
    Route{"GET", "/health", kEverybody, say_alive, true},  // what load generators ask for
    Route{"GET", "/healthz", kEverybody, say_alive, true},
    Route{"GET", "/readyz", kEverybody, say_ready, true},
    Route{"GET", "/metrics", Scope::kMetrics, say_metrics},
    Route{"GET", "/openapi.json", kAnyKey, say_openapi, true},
    Route{"GET", "/api/version", kAnyKey, say_version, true},
    Route{"GET", "/api/sluice/status", Scope::kMetrics, say_status, true},
    Route{"GET", "/api/sluice/machine", Scope::kMetrics, say_machine},
    Route{"GET", "/api/sluice/requests", Scope::kMetrics, list_requests},
    Route{"GET", "/api/sluice/requests/*", Scope::kMetrics, show_request},
    Route{"DELETE", "/api/sluice/requests/*", Scope::kManage, cancel_request},
    Route{"GET", "/api/sluice/usage", Scope::kMetrics, say_usage},
    Route{"GET", "/api/tags", kLookers, list_tags},
    Route{"GET", "/api/ps", kAnyKey, list_running, true},
    Route{"POST", "/api/show", kLookers, show_model},
    Route{"POST", "/api/chat", Scope::kInfer, api::ollama::make_chat},
    Route{"POST", "/api/generate", Scope::kInfer, api::ollama::make_generate},
    Route{"POST", "/api/embed", Scope::kInfer, api::ollama::make_embed},
    Route{"POST", "/api/embeddings", Scope::kInfer, api::ollama::make_embeddings},
    Route{"POST", "/api/copy", Scope::kManage, copy_model, false, true},
    Route{"POST", "/api/pull", Scope::kManage, answer_pull},
    Route{"POST", "/api/push", Scope::kManage, answer_push},
    Route{"POST", "/api/create", Scope::kManage, answer_create},
    Route{"HEAD", "/api/blobs/*", Scope::kManage, check_blob},
    Route{"POST", "/api/blobs/*", Scope::kManage, take_blob, false, false, true},
    Route{"DELETE", "/api/delete", Scope::kManage, delete_model, false, true},
    Route{"POST", "/v1/chat/completions", Scope::kInfer, api::openai::make_chat_completion},
    Route{"POST", "/v1/completions", Scope::kInfer, api::openai::make_completion},
    Route{"POST", "/v1/embeddings", Scope::kInfer, api::openai::make_embeddings},
    Route{"POST", "/v1/responses", Scope::kInfer, answer_response, false, false, false, true},
    Route{"GET", "/v1/responses/*", Scope::kInfer, show_response, true},
    Route{"DELETE", "/v1/responses/*", Scope::kInfer, remove_response, true},
    Route{"POST", "/v1/rerank", Scope::kInfer, api::make_rerank},
    Route{"POST", "/v2/rerank", Scope::kInfer, api::make_rerank},
    Route{"POST", "/rerank", Scope::kInfer, api::make_rerank},
    Route{"POST", "/v1/messages", Scope::kInfer, api::anthropic::make_messages},
    Route{"POST", "/v1/messages/count_tokens", Scope::kInfer, api::anthropic::make_count_tokens},
    Route{"GET", "/v1/models", kLookers, list_openai_models},
    Route{"GET", "/v1/models/*", kLookers, show_openai_model},
};

bool matches_path(std::string_view pattern, std::string_view path) {
  if (!pattern.ends_with("/*")) return pattern == path;
  const std::string_view stem = pattern.substr(0, pattern.size() - 1);
  return path.starts_with(stem) && path.size() > stem.size();
}

// In whose manner is answered under a path: the first whose prefix fits.
struct Manner {
  std::string_view path_prefix;
  api::ErrorBody error_body;
  std::string_view id_header;  // where its clients look for the request's id, beside X-Request-Id
};
constexpr std::array kManners = {
    Manner{"/v1/messages", api::anthropic::error_body, "request-id"},
    Manner{"/v1/", api::openai::error_body, ""},
    Manner{"/v2/", api::openai::error_body, ""},
    Manner{"/rerank", api::openai::error_body, ""},
    Manner{"", api::ollama::error_body, ""},
};

const Manner& manner_of(std::string_view path) {
  return *std::find_if(kManners.begin(), kManners.end(),
                       [&](const Manner& manner) { return path.starts_with(manner.path_prefix); });
}

// The route, or the reply for a request that has none.
std::variant<const Route*, Reply> find_route(const HttpRequest& request) {
  const std::string_view method =
      request.method == "HEAD" ? std::string_view("GET") : std::string_view(request.method);
  std::string allowed;
  for (const Route& route : kRoutes) {
    if (!matches_path(route.path, request.path)) continue;
    if (route.method == method || route.method == request.method) return &route;
    if (!allowed.empty()) allowed += ", ";
    allowed += route.method;
    if (route.method == "GET") allowed += ", HEAD";
  }
  if (allowed.empty()) return refusal(request, 404, "page not found");
  Reply reply = refusal(request, 405, "method not allowed");
  reply.headers.emplace_back("Allow", allowed);
  return reply;
}

// The headers for replies to pages of other origins; the request passed check_access().
void add_cors_headers(Exchange& exchange) {
  const std::string* origin = exchange.request().header("origin");
  if (!origin) return;
  for (auto& [name, value] : cors_headers(*origin, false)) exchange.add_header(name, value);
}

void add_id_header(Exchange& exchange) {
  const std::string_view name = manner_of(exchange.request().path).id_header;
  if (!name.empty()) exchange.add_header(std::string(name), exchange.request().id);
}

constexpr int kClientLeft = 499;  // as nginx counts it

RequestLife life_of(const ServerContext& context, const HttpRequest& request) {
  RequestLife life;
  life.number = context.journal.next_number();
  life.id = request.id;
  life.method = request.method;
  life.path = request.path;
  life.key = request.client.name;
  life.address = request.address;
  life.arrived_at = std::chrono::system_clock::now();
  return life;
}

// The request's line in the journal, from here to the end of the scope.
class JournalEntry {
 public:
  JournalEntry(const ServerContext& context, Exchange& exchange, const Route* route)
      : context_(context), exchange_(exchange), is_reading_(route && route->method == "GET") {
    RequestLife& life = exchange.life() = life_of(context, exchange.request());
    if (route) life.route = route->path;
    if (route && is_about_a_model(*route)) context.journal.begin(life, exchange.waker());
  }
  ~JournalEntry() {
    RequestLife& life = exchange_.life();
    life.total = Exchange::Clock::now() - exchange_.request().arrival;
    life.status = exchange_.status() == 0 ? kClientLeft : exchange_.status();
    life.num_sent_bytes = exchange_.num_sent_bytes();
    // Monitors ask all the time.
    const bool is_quiet = is_reading_ && life.status < 400;
    context_.journal.end(std::move(life), is_quiet);
  }
  JournalEntry(const JournalEntry&) = delete;
  JournalEntry& operator=(const JournalEntry&) = delete;

 private:
  const ServerContext& context_;
  Exchange& exchange_;
  const bool is_reading_;
};

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
Awaitable<void> tell_failure(Exchange& exchange, const Failure& failure) {
  exchange.life().set_error(failure.message);
  Reply reply = error_reply_for(exchange, failure);
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
  exchange.life().set_error(failure->message);
  if (exchange.is_begun()) co_return;  // it cannot be told any more: the connection is cut
  co_await tell_failure(exchange, *failure);
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
  if (failure) co_await tell_failure(exchange, *failure);
}

}  // namespace

std::vector<RouteInfo> all_routes() {
  std::vector<RouteInfo> routes;
  for (const Route& route : kRoutes) routes.push_back({route.method, route.path, route.access});
  return routes;
}

std::optional<RouteTerms> terms_of(const HttpRequest& request) {
  const auto found = find_route(request);
  const Route* const* route = std::get_if<const Route*>(&found);
  if (!route) return std::nullopt;
  return RouteTerms{(*route)->access, is_about_a_model(**route)};
}

std::string error_text_for(const HttpRequest& request, int status, std::string_view message) {
  return manner_of(request.path).error_body(status, message, request.id);
}

void note_refused(const ServerContext& context, const HttpRequest& request, int status) {
  RequestLife life = life_of(context, request);
  life.status = status;
  context.journal.end(std::move(life), false);
}

bool takes_body_in_pieces(const HttpRequest& request) {
  const auto found = find_route(request);
  const Route* const* route = std::get_if<const Route*>(&found);
  return route && (*route)->takes_body_in_pieces;
}

namespace {

// A body that came compressed, as it was before; what becomes of it counts as the body. One at a
// time, as each may ask for a window of 128 MiB.
Awaitable<void> unpack_body(const ServerContext& context, Exchange& exchange) {
  const std::string packed = exchange.take_body();
  const size_t limit = exchange.options().max_body_bytes;
  const auto unpack = [&](Work& work) { return unpack_zstd(packed, limit, work); };
  std::string body = co_await on_worker(context.workers.parse_large, exchange, unpack);
  exchange.charge_body(body.size());
  exchange.set_body(std::move(body));
}

bool is_packed(const HttpRequest& request) {
  const std::string* encoding = request.header("content-encoding");
  return encoding && boost::beast::iequals(*encoding, "zstd");
}

Awaitable<void> answer_route(const ServerContext& context, Exchange& exchange, const Route& route) {
  if (is_packed(exchange.request())) {
    std::optional<Failure> failure;
    try {
      co_await unpack_body(context, exchange);
    } catch (...) {
      failure = failure_of(std::current_exception());
    }
    if (failure) {
      co_await tell_failure(exchange, *failure);
      co_return;
    }
  }
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

}  // namespace

Awaitable<void> dispatch(const ServerContext& context, Exchange& exchange) {
  add_cors_headers(exchange);
  add_id_header(exchange);
  std::variant<const Route*, Reply> found = find_route(exchange.request());
  const Route* const* known = std::get_if<const Route*>(&found);
  const JournalEntry entry(context, exchange, known ? *known : nullptr);
  if (auto* reply = std::get_if<Reply>(&found)) {
    co_await exchange.respond(std::move(*reply));
    co_return;
  }
  co_await answer_route(context, exchange, *std::get<const Route*>(found));
}

Reply refusal(const HttpRequest& request, int status, std::string_view message) {
  // These three are no JSON with Ollama.
  if (manner_of(request.path).error_body == api::ollama::error_body) {
    if (status == 403) return Reply{403, "", "", {}};
    if (status == 404 || status == 405) {
      return Reply{status, "text/plain", std::to_string(status) + " " + std::string(message), {}};
    }
  }
  Reply reply = json_reply(error_text_for(request, status, message));
  reply.status = status;
  return reply;
}

}  // namespace sluice::server
