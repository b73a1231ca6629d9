#include "server/routes.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <utility>
#include <variant>

#include "api/embedding.h"
#include "api/ollama.h"
#include "api/openai.h"
#include "server/access.h"
#include "server/embedding.h"
#include "server/http_message.h"
#include "server/model_routes.h"
#include "server/status.h"
#include "server/version.h"

namespace sluice::server {
namespace {

using Answer = void (*)(const RouteContext&, const std::shared_ptr<Exchange>&);

void say_running(const RouteContext&, const std::shared_ptr<Exchange>& exchange) {
  // Clients look for this very text to see that they found an Ollama server.
  exchange->respond(Reply{200, "text/plain; charset=utf-8", "Ollama is running", {}});
}

void say_version(const RouteContext&, const std::shared_ptr<Exchange>& exchange) {
  exchange->respond(Reply{
      200, "application/json; charset=utf-8", api::ollama::encode_version(kOllamaVersion), {}});
}

void say_status(const RouteContext& context, const std::shared_ptr<Exchange>& exchange) {
  ServerFacts facts;
  facts.uptime = std::chrono::steady_clock::now() - context.started;
  facts.num_connections = context.num_connections();
  facts.is_draining = context.is_draining;
  facts.max_memory_bytes = context.generation.models.max_memory_bytes();
  exchange->respond(Reply{200,
                          "application/json; charset=utf-8",
                          encode_status(facts, context.generation.models.status()),
                          {}});
}

// What a client said in headers, where its body does not.
api::Extensions with_headers(api::Extensions extensions, const HttpRequest& request) {
  const std::string* timeout = request.header("x-request-timeout");
  if (timeout && !extensions.timeout) extensions.timeout = api::parse_timeout_text(*timeout);
  const std::string* events = request.header("x-queue-events");
  if (events && (*events == "1" || *events == "true")) extensions.wants_queue_events = true;
  return extensions;
}

void generate(const RouteContext& context, const std::shared_ptr<Exchange>& exchange,
              std::unique_ptr<api::Dialect> dialect) {
  Work work;
  api::GenerationRequest request = dialect->parse(exchange->take_body(), work);
  request.extensions = with_headers(request.extensions, exchange->request());
  start_generation(context.generation, exchange, std::move(dialect), std::move(request));
}

void embed(const RouteContext& context, const std::shared_ptr<Exchange>& exchange,
           std::unique_ptr<api::EmbeddingDialect> dialect) {
  Work work;
  api::EmbeddingRequest request = dialect->parse(exchange->take_body(), work);
  request.extensions = with_headers(request.extensions, exchange->request());
  start_embedding(context.generation, exchange, std::move(dialect), std::move(request));
}

struct Route {
  std::string_view method;
  std::string_view path;  // ends with "/*" where one more segment follows
  std::variant<Answer, api::MakeDialect, api::MakeEmbeddingDialect> answer;
  bool is_light = false;  // neither disk nor much input: answered on the connection's thread
};

// The one list of what the server answers. GET includes HEAD.
constexpr std::array kRoutes = {
    Route{"GET", "/", say_running, true},
    Route{"GET", "/api/version", say_version, true},
    Route{"GET", "/api/sluice/status", say_status, true},
    Route{"GET", "/api/tags", list_tags},
    Route{"GET", "/api/ps", list_running, true},
    Route{"POST", "/api/show", show_model},
    Route{"POST", "/api/chat", api::ollama::make_chat},
    Route{"POST", "/api/generate", api::ollama::make_generate},
    Route{"POST", "/api/embed", api::ollama::make_embed},
    Route{"POST", "/api/embeddings", api::ollama::make_embeddings},
    Route{"DELETE", "/api/delete", delete_model},
    Route{"POST", "/v1/chat/completions", api::openai::make_chat_completion},
    Route{"POST", "/v1/completions", api::openai::make_completion},
    Route{"POST", "/v1/embeddings", api::openai::make_embeddings},
    Route{"GET", "/v1/models", list_openai_models},
    Route{"GET", "/v1/models/*", show_openai_model},
};

bool matches_path(std::string_view pattern, std::string_view path) {
  if (!pattern.ends_with("/*")) return pattern == path;
  const std::string_view stem = pattern.substr(0, pattern.size() - 1);
  return path.starts_with(stem) && path.size() > stem.size() &&
         path.find('/', stem.size()) == std::string_view::npos;
}

// Whose errors are told under a path: the first whose prefix fits.
struct ErrorShape {
  std::string_view path_prefix;
  api::ErrorBody body;
};
constexpr std::array kErrorShapes = {
    ErrorShape{"/v1/", api::openai::error_body},
    ErrorShape{"", api::ollama::error_body},
};

api::ErrorBody error_body_for(std::string_view path) {
  return std::find_if(kErrorShapes.begin(), kErrorShapes.end(),
                      [&](const ErrorShape& shape) { return path.starts_with(shape.path_prefix); })
      ->body;
}

void start(const Route& route, const RouteContext& context,
           const std::shared_ptr<Exchange>& exchange) {
  if (const auto* make = std::get_if<api::MakeDialect>(&route.answer)) {
    generate(context, exchange, (*make)(api::fresh_stamp()));
  } else if (const auto* make_embedding = std::get_if<api::MakeEmbeddingDialect>(&route.answer)) {
    embed(context, exchange, (*make_embedding)());
  } else {
    std::get<Answer>(route.answer)(context, exchange);
  }
}

// The whole reply is lost to the client only if the exchange was answered before the error.
void answer(const Route& route, const RouteContext& context,
            const std::shared_ptr<Exchange>& exchange) {
  const api::ErrorBody error_body = error_body_for(route.path);
  try {
    start(route, context, exchange);
  } catch (const Error& error) {
    spdlog::info("{} {}: {}", route.method, route.path, error.what());
    exchange->respond(error_reply_for(error, error_body));
  } catch (const std::bad_alloc&) {
    exchange->respond(error_reply_for(
        Error(ErrorCode::kOutOfMemory, "not enough memory for this request"), error_body));
  } catch (const std::exception& exception) {
    spdlog::error("{} {}: {}", route.method, route.path, exception.what());
    exchange->respond(error_reply_for(
        Error(ErrorCode::kInternal, "internal error; the server's log has more"), error_body));
  }
}

}  // namespace

std::vector<std::string> route_names() {
  std::vector<std::string> names;
  for (const Route& route : kRoutes) {
    names.push_back(std::string(route.method) + " " + std::string(route.path));
  }
  return names;
}

void dispatch(const RouteContext& context, std::shared_ptr<Exchange> exchange) {
  const HttpRequest& request = exchange->request();
  add_cors_headers(exchange);
  const std::string_view method =
      request.method == "HEAD" ? std::string_view("GET") : std::string_view(request.method);
  bool is_path_known = false;
  for (const Route& route : kRoutes) {
    if (!matches_path(route.path, request.path)) continue;
    is_path_known = true;
    if (route.method != method) continue;
    if (route.is_light) {
      answer(route, context, exchange);
    } else {
      context.generation.preparers.post(
          [&route, &context, exchange] { answer(route, context, exchange); });
    }
    return;
  }
  exchange->respond(is_path_known ? refusal(request, 405, "method not allowed")
                                  : refusal(request, 404, "page not found"));
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
  return Reply{status, "application/json; charset=utf-8", error_body(status, message), {}};
}

std::optional<Reply> check_access(const AccessRules& rules, const HttpRequest& request) {
  const std::string* host = request.header("host");
  if (rules.checks_host && host && !is_local_host(*host)) {
    return refusal(request, 403, "the Host header names another machine");
  }
  const std::string* origin = request.header("origin");
  if (!origin) return std::nullopt;
  if (!is_allowed_origin(*origin, rules.origins)) {
    return refusal(request, 403, "the Origin header names a page that is not allowed");
  }
  if (request.method == "OPTIONS") return Reply{204, "", "", cors_headers(*origin, true)};
  return std::nullopt;
}

void add_cors_headers(const std::shared_ptr<Exchange>& exchange) {
  const std::string* origin = exchange->request().header("origin");
  if (!origin) return;
  for (auto& [name, value] : cors_headers(*origin, false)) exchange->add_header(name, value);
}

}  // namespace sluice::server
