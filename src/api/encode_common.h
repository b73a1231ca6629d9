#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/json_writer.h"
#include "api/reply.h"

namespace sluice::api {

// Whether text is whole UTF-8; a token may be a part of a character.
bool is_utf8(std::string_view text);

// JSON has no minus infinity; OpenAI sends -9999.
double finite_logprob(double logprob);

// [{token, logprob, bytes, top_logprobs}]: `bytes` are the token's own, so that those of all tokens
// make up the reply; in `token` what is no UTF-8 is replaced. The list of others is left out when
// empty unless `always_top`.
std::string logprobs_json(const std::vector<ReplyLogprob>& logprobs, bool always_top);

// What a request waits for, as a comment in a stream of server-sent events, which clients skip:
// ": queue position 3, about 1.2 s\n\n" or ": loading 42%\n\n".
std::string waiting_comment(const Waiting& waiting);

}  // namespace sluice::api
