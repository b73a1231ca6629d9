#include "cli/server_link.h"

#include <utility>
#include <vector>

#include "base/error.h"
#include "cli/log.h"
#include "cli/server_options.h"
#include "cli/suggest.h"
#include "keys/key.h"
#include "server/server.h"

namespace sluice::cli {
namespace {

ErrorCode code_for_status(int status) {
  switch (status) {
    case 400:
      return ErrorCode::kInvalidArgument;
    case 401:
    case 403:
      return ErrorCode::kInvalidArgument;
    case 404:
      return ErrorCode::kNotFound;
    case 409:
      return ErrorCode::kAlreadyExists;
    case 429:
    case 503:
      return ErrorCode::kBusy;
    default:
      return ErrorCode::kIo;
  }
}

// The text of an error reply, or what can be said without one.
Error reply_error(const http::Response& response) {
  std::string text;
  try {
    const api::Json body = api::parse_json(response.body);
    text = api::string_field(body, "error").value_or("");
  } catch (const Error&) {
  }
  if (text.empty()) text = "the server answered with status " + std::to_string(response.status);
  return Error(code_for_status(response.status), text);
}

bool answers(const http::Url& url) {
  try {
    http::ClientOptions options;
    options.connect_timeout = std::chrono::milliseconds(500);
    options.idle_timeout = std::chrono::milliseconds(2000);
    http::Client client(url, options);
    http::Request request;
    request.method = "HEAD";
    request.target = "/";
    return client.send(request).status == 200;
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInvalidArgument) throw;  // there is one, but it is not trusted
    return false;
  }
}

std::unique_ptr<http::Client> make_client(const http::Url& url, const std::string& api_key) {
  http::ClientOptions options;
  options.api_key = api_key;
  return std::make_unique<http::Client>(url, options);
}

}  // namespace

ServerLink::ServerLink() = default;
ServerLink::~ServerLink() = default;
ServerLink::ServerLink(ServerLink&&) noexcept = default;
ServerLink& ServerLink::operator=(ServerLink&&) noexcept = default;

ServerLink ServerLink::connect(const Settings& settings) {
  ServerLink link;
  const http::Url url = http::parse_url(settings.host);
  if (!answers(url)) {
    throw Error(ErrorCode::kIo, "no server answers at " + url.text() +
                                    "; run 'sluice serve' to start one, or set SLUICE_HOST");
  }
  link.client_ = make_client(url, settings.api_key);
  return link;
}

ServerLink ServerLink::embed(const Settings& settings, const std::string& model_path,
                             const OwnServer& own) {
  ServerLink link;
  Settings placed = settings;
  take_device(placed, "", {});
  server::ServerOptions options = server_options(placed);
  options.origins.clear();
  options.without_key = {};
  options.own_key = keys::make_key();  // others on this machine shall not use it
  options.models.keep_alive = api::kForever;
  options.load.num_sequences = 1;
  options.load.placement.num_threads = own.num_threads;
  options.load.longest_sequence = own.longest_sequence;
  if (!model_path.empty()) {
    options.extra_models.push_back({server::name_for_file(model_path), model_path});
    link.model_ = options.extra_models.front().name;
    link.serves_file_ = true;
  }
  // Standard output belongs to the reply; only what goes wrong is told.
  start_log(settings.is_debug ? spdlog::level::debug : spdlog::level::off);
  link.server_ = std::make_unique<server::Server>(options);
  link.server_->start();
  link.client_ = make_client(http::parse_url(link.server_->url()), options.own_key);
  return link;
}

ServerLink ServerLink::connect_or_embed(const Settings& settings) {
  if (answers(http::parse_url(settings.host))) return connect(settings);
  return embed(settings, "", {});
}

ServerLink ServerLink::for_model(const Settings& settings, const std::string& model,
                                 const OwnServer& own) {
  if (is_model_path(model)) return embed(settings, expand_home(model), own);
  const http::Url url = http::parse_url(settings.host);
  ServerLink link;
  if (answers(url)) {
    link.client_ = make_client(url, settings.api_key);
  } else {
    link = embed(settings, "", own);
  }
  link.model_ = model;
  return link;
}

std::string ServerLink::near_models(const std::string& name) {
  std::vector<std::string> names;
  const api::Json reply = call("GET", "/api/tags");
  const api::Json* models = api::array_field(reply, "models");
  for (const api::Json& model : models ? *models : api::Json::array()) {
    names.push_back(api::string_field(model, "name").value_or(""));
  }
  return did_you_mean(name, std::move(names));
}

void ServerLink::fail(const http::Response& response, const api::Json* body) {
  const Error error = reply_error(response);
  if (error.code() != ErrorCode::kNotFound || body == nullptr) throw error;
  const auto model = api::string_field(*body, body->contains("source") ? "source" : "model");
  if (!model) throw error;
  throw Error(error.code(), error.what() + near_models(*model));
}

api::Json ServerLink::call(const std::string& method, const std::string& target,
                           const api::Json* body) {
  http::Request request;
  request.method = method;
  request.target = target;
  if (body) request.body = api::dump_json(*body);
  const http::Response response = client_->send(request);
  if (response.status / 100 != 2) fail(response, body);
  return response.body.empty() ? api::Json::object() : api::parse_json(response.body);
}

void ServerLink::stream(const std::string& target, const api::Json& body,
                        const std::function<bool(const api::Json&)>& on_line) {
  http::Request request;
  request.method = "POST";
  request.target = target;
  request.body = api::dump_json(body);
  std::string held;
  const auto take_line = [&](std::string_view line) {
    const api::Json object = api::parse_json(line);
    if (const auto error = api::string_field(object, "error")) {
      throw Error(ErrorCode::kIo, *error);
    }
    return on_line(object);
  };
  const http::Response response = client_->stream(request, [&](std::string_view data) {
    held += data;
    size_t start = 0;
    for (size_t end; (end = held.find('\n', start)) != std::string::npos; start = end + 1) {
      if (!take_line(std::string_view(held).substr(start, end - start))) return false;
    }
    held.erase(0, start);
    return true;
  });
  if (response.status / 100 != 2) fail(response, &body);
  if (!held.empty()) take_line(held);
}

void ServerLink::send_blob(const std::string& digest, const std::string& path,
                           const std::function<void(uint64_t)>& on_sent) {
  http::Request request;
  request.method = "HEAD";
  request.target = "/api/blobs/" + digest;
  const http::Response found = client_->send(request);
  if (found.status / 100 == 2) return;
  if (found.status != 404) fail(found, nullptr);
  request.method = "POST";
  request.body_file = path;
  request.on_sent = on_sent;
  const http::Response response = client_->send(request);
  if (response.status / 100 != 2) fail(response, nullptr);
}

void ServerLink::abort() { client_->abort(); }

}  // namespace sluice::cli
