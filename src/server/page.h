#pragma once

#include "base/work.h"
#include "server/http_message.h"
#include "server/server_context.h"

// The web page: chat and dashboard for browsers. Its files are public; what it shows it asks the
// API for, with the key that its user gives it.
namespace sluice::server {

// GET /: the page for who accepts text/html; everybody else is told "Ollama is running", the very
// text by which clients see that they found such a server.
Reply say_home(const ServerContext& context, const HttpRequest& request, Work& work);

// GET /web/NAME: a file of the page. Throws Error(kNotFound).
Reply give_page_file(const ServerContext& context, const HttpRequest& request, Work& work);

}  // namespace sluice::server
