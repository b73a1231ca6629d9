#pragma once

#include "base/work.h"
#include "server/http_message.h"
#include "server/server_context.h"

// The routes that tell about models or manage them. They may throw Error.
namespace sluice::server {

Reply list_tags(const ServerContext& context, const HttpRequest& request, Work& work);
Reply list_running(const ServerContext& context, const HttpRequest& request, Work& work);
Reply show_model(const ServerContext& context, const HttpRequest& request, Work& work);
Reply copy_model(const ServerContext& context, const HttpRequest& request, Work& work);
Reply delete_model(const ServerContext& context, const HttpRequest& request, Work& work);
Reply list_openai_models(const ServerContext& context, const HttpRequest& request, Work& work);
Reply show_openai_model(const ServerContext& context, const HttpRequest& request, Work& work);

}  // namespace sluice::server
