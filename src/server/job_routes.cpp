#include "server/job_routes.h"

#include <spdlog/spdlog.h>

#include <optional>
#include <utility>

#include "api/ollama.h"
#include "registry/pull.h"
#include "registry/push.h"
#include "server/model_request.h"
#include "server/reply_writer.h"

namespace sluice::server {
namespace {

constexpr std::string_view kLinesType = "application/x-ndjson";

std::string encode_line(const registry::Progress& line) {
  return api::ollama::encode_progress(line.status, line.digest, line.total_bytes,
                                      line.completed_bytes);
}

std::string key_of(std::string_view action, const store::ModelName& name,
                   const api::ollama::TransferRequest& request) {
  return std::string(action) + " " + name.full_name() + (request.insecure ? " insecure " : " ") +
         request.url;
}

// Until the job is over; the last line.
Awaitable<std::string> follow_job(Exchange& exchange, JobBoard::Interest& interest, bool stream) {
  std::string last;
  while (true) {
    exchange.check();
    const JobBoard::Interest::News news = interest.take();
    for (const registry::Progress& line : news.lines) {
      last = encode_line(line);
      if (!stream) continue;
      exchange.begin(kLinesType);
      exchange.write(last + "\n");
    }
    if (news.failure) news.failure->raise();
    if (news.is_over) co_return last;
    if (exchange.num_unsent_bytes() > 0) co_await exchange.flush();
    if (news.lines.empty()) co_await exchange.pause();
  }
}

}  // namespace

Awaitable<void> answer_job(const ServerContext& context, Exchange& exchange, bool stream,
                           const std::string& key, JobBoard::Task task) {
  const auto interest = context.jobs.join(key, exchange.waker(), std::move(task));
  std::optional<Failure> failure;
  std::string last;
  try {
    last = co_await follow_job(exchange, *interest, stream);
  } catch (...) {
    failure = failure_of(std::current_exception());
  }
  if (failure) {
    if (!exchange.is_begun()) failure->raise();
    spdlog::info("{}: {}", key, failure->message);
    exchange.write(api::ollama::error_body(0, error_text(*failure)) + "\n");
  }
  if (stream) {
    exchange.begin(kLinesType);
    co_await exchange.end();
  } else {
    Reply reply{200, "application/json", last, {}};
    co_await exchange.respond(std::move(reply));
  }
}

Awaitable<void> answer_pull(const ServerContext& context, Exchange& exchange) {
  const auto request = co_await parse_body(
      context, exchange,
      [](std::string_view body, Work& work) { return api::ollama::parse_transfer(body, work); });
  auto reference = registry::Reference::parse(request.model, request.insecure);
  const std::string key = key_of("pull", reference.name, request);
  JobBoard::Task task = [&context, request, reference = std::move(reference)](
                            const registry::OnProgress& tell, std::stop_token stop) {
    store::Store& store = context.catalog.store();
    if (request.url.empty()) {
      registry::pull(store, reference, context.registry, tell, std::move(stop));
    } else {
      registry::pull_file(store, registry::WebUrl::parse(request.url), request.insecure,
                          reference.name, context.registry, tell, std::move(stop));
    }
  };
  co_await answer_job(context, exchange, request.stream, key, std::move(task));
}

Awaitable<void> answer_push(const ServerContext& context, Exchange& exchange) {
  const auto request = co_await parse_body(
      context, exchange,
      [](std::string_view body, Work& work) { return api::ollama::parse_transfer(body, work); });
  if (request.model.empty()) api::fail("model is required");
  auto reference = registry::Reference::parse(request.model, request.insecure);
  const std::string key = key_of("push", reference.name, request);
  JobBoard::Task task = [&context, reference = std::move(reference)](
                            const registry::OnProgress& tell, std::stop_token stop) {
    registry::push(context.catalog.store(), reference, context.registry, tell, std::move(stop));
  };
  co_await answer_job(context, exchange, request.stream, key, std::move(task));
}

}  // namespace sluice::server
