#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "api/request.h"
#include "engine/engine.h"
#include "server/exchange.h"
#include "server/memory_reserve.h"
#include "server/on_worker.h"
#include "server/server_context.h"

// What every request that needs a model does on its way.
namespace sluice::server {

// A body that parses in no time does so at once.
inline constexpr size_t kTinyBodyBytes = 16u << 10;
// What parsing a body takes at the most: many messages without text.
inline constexpr size_t kMostTimesBody = 24;

// The exchange's body, parsed: `parse`, T(std::string_view, Work&). Frees the body.
template <typename Parse>
Awaitable<std::invoke_result_t<Parse, std::string_view, Work&>> parse_body(
    const ServerContext& context, Exchange& exchange, Parse parse) {
  std::string body = exchange.take_body();
  auto task = [&](Work& work) {
    require_memory(body.size() * kMostTimesBody);
    const std::string text = std::move(body);  // its memory goes here, which takes time as well
    return parse(text, work);
  };
  if (body.size() <= kTinyBodyBytes) {
    Work unlimited;
    co_return task(unlimited);
  }
  co_return co_await on_worker(context.workers.parser(body.size()), exchange, task);
}

// What a client said in headers, where its body does not. Sets the time of the exchange.
void take_headers(const ServerContext& context, Exchange& exchange, api::Extensions& extensions);

// Tokens of prompt and reply that a request with these options may have: as it or the model's
// params layer says, else the server's default, and at most `longest`.
int context_limit(const ServerContext& context, const api::ModelOptions& options, int longest);
// That of a request which does not say, for a model that is loaded.
int usual_context(const ServerContext& context, const ModelStatus& model);

// What the engine refused with kBusy, thrown again with what the client should know: how many wait,
// and when it may try again (Retry-After: 1 to 600 seconds).
[[noreturn]] void refuse(Exchange& exchange, const engine::Engine& engine, const Error& error);
// Calls `submit`, T(), which the engine may refuse.
template <typename Submit>
auto submit_or_refuse(Exchange& exchange, const engine::Engine& engine, Submit submit) {
  try {
    return submit();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kBusy) refuse(exchange, engine, error);
    throw;
  }
}

// Tells the client where its request stands: X-Queue-Position, X-Estimated-Wait (seconds).
void add_queue_headers(Exchange& exchange, const engine::QueuePlace& place);

}  // namespace sluice::server
