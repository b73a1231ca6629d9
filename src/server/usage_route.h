#pragma once

#include "base/work.h"
#include "server/http_message.h"
#include "server/server_context.h"

namespace sluice::server {

// GET /api/sluice/usage?days=30: what each key has used on each day (UTC), the newest first; "key"
// is null for requests without one. Tokens are those of prompts and replies; `refused` were over a
// limit or out of scope.
//
// {"usage":[{"key":"ann","is_revoked":false,"day":"2026-08-21","requests":3,"refused":0,
//            "prompt_tokens":120,"output_tokens":64}]}
Reply say_usage(const ServerContext& context, const HttpRequest& request, Work& work);

}  // namespace sluice::server
