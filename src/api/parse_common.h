#pragma once

#include <string>
#include <string_view>

#include "api/json.h"
#include "api/request.h"

// Parts of requests that the dialects share. All throw Error(kInvalidArgument).
namespace sluice::api {

// Standard base64 with padding; line breaks are allowed. `illegal base64 data in FIELD`.
void check_base64(std::string_view text, std::string_view field);

// "json", a schema object, "" or null.
Format parse_format(const Json& value);
// true, false, or a level.
Think parse_think(const Json& value);
// A list of {type, function{name, ..}}; kept as the client wrote it.
Json parse_tools(const Json& list);
// num_top_logprobs from `logprobs` (boolean) and `top_logprobs`.
int parse_top_logprobs(const Json& body);

// A member that fits a float.
std::optional<float> float_field(const Json& body, std::string_view name);

// timeout, speculate, queue_events and ignore_eos.
Extensions parse_extensions(const Json& body);

// Throws Error(kUnsupported) for what can be asked for but is not there yet, so that nothing is
// ignored silently.
void check_supported(const GenerationRequest& request);

}  // namespace sluice::api
