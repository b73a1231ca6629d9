#pragma once

#include <memory>
#include <string>

#include "server/http_server.h"
#include "server/routes.h"

// The routes that tell about models or manage them. Each answers the exchange or throws Error.
namespace sluice::server {

void list_tags(const RouteContext& context, const std::shared_ptr<Exchange>& exchange);
void list_running(const RouteContext& context, const std::shared_ptr<Exchange>& exchange);
void show_model(const RouteContext& context, const std::shared_ptr<Exchange>& exchange);
void delete_model(const RouteContext& context, const std::shared_ptr<Exchange>& exchange);
void list_openai_models(const RouteContext& context, const std::shared_ptr<Exchange>& exchange);
void show_openai_model(const RouteContext& context, const std::shared_ptr<Exchange>& exchange);

}  // namespace sluice::server
