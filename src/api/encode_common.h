#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/json.h"
#include "api/reply.h"

namespace sluice::api {

// [{token, logprob, bytes, top_logprobs}]: `bytes` are those of `token` as sent; the list of others
// is left out when empty unless `always_top`.
Json encode_logprobs(const std::vector<TokenLogprob>& logprobs, bool always_top);

}  // namespace sluice::api
