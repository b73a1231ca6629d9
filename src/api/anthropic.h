#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "api/dialect.h"

// Anthropic's dialect.
namespace sluice::api::anthropic {

// /v1/messages. max_tokens is required; what is not said of sampling is the model's. Text blocks
// are joined by newlines; a tool_result is a message of its own. Thinking is a wish: models that
// cannot just answer. Refused with a clear text (kUnsupported): tools with a type of their own but
// for web searches, which are left out, images, and a last message of the assistant's. A stream is
// message_start, for each block content_block_start, content_block_delta ... and
// content_block_stop, then message_delta and message_stop.
std::unique_ptr<Dialect> make_messages(const Stamp& stamp);

// /v1/messages/count_tokens: the same request without what is about the reply; {"input_tokens"}.
std::unique_ptr<Dialect> make_count_tokens(const Stamp& stamp);

// {"type":"error","error":{"type":..,"message":..},"request_id":..}; the type follows from the
// status. In a stream the id is left out.
std::string error_body(int status, std::string_view message, std::string_view request_id = {});

}  // namespace sluice::api::anthropic
