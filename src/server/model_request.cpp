#include "server/model_request.h"

#include <algorithm>
#include <cmath>

#include "api/reply.h"

namespace sluice::server {

void take_headers(const ServerContext& context, Exchange& exchange, api::Extensions& extensions) {
  const std::string* timeout = exchange.request().header("x-request-timeout");
  if (timeout && !extensions.timeout) extensions.timeout = api::parse_timeout_text(*timeout);
  const std::string* events = exchange.request().header("x-queue-events");
  if (events && (*events == "1" || *events == "true")) extensions.wants_queue_events = true;
  exchange.set_timeout(extensions.timeout.value_or(context.default_timeout));
}

int context_limit(const ServerContext& context, const api::ModelOptions& options, int longest) {
  const int wanted = options.num_ctx.value_or(0);
  return std::min(wanted > 0 ? wanted : context.default_context, longest);
}

int usual_context(const ServerContext& context, const ModelStatus& model) {
  return context_limit(context, model.record->options, model.context_length);
}

void refuse(Exchange& exchange, const engine::Engine& engine, const Error& error) {
  const auto wait = std::chrono::duration<double>(engine.stats().estimated_wait).count();
  const int seconds = static_cast<int>(std::ceil(std::clamp(wait, 1.0, 600.0)));
  exchange.add_header("Retry-After", std::to_string(seconds));
  throw Error(error.code(), "server busy, please try again: " + std::string(error.what()));
}

void add_queue_headers(Exchange& exchange, const engine::QueuePlace& place) {
  exchange.add_header("X-Queue-Position", std::to_string(place.position));
  exchange.add_header("X-Estimated-Wait", api::format_seconds(place.estimated_wait));
}

}  // namespace sluice::server
