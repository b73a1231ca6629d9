#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/json.h"
#include "api/request.h"

// Parts of requests that the dialects share. All throw Error(kInvalidArgument).
namespace sluice::api {

// Standard base64 with padding; line breaks are allowed. `illegal base64 data in FIELD`.
void check_base64(std::string_view text, std::string_view field);

// true, false, or a level.
Think parse_think(const Json& value);
// A list of strings, moved out.
std::vector<std::string> parse_strings(Json& value, std::string_view name);
// The same for stop strings, of which there may be engine::kMaxStopStrings.
std::vector<std::string> parse_stops(Json& value, std::string_view name);
// What is sent as text or token ids, alone or in a list: "a", ["a","b"], [1,2], [[1,2],[3]]. null
// and [] give none.
std::vector<TextOrTokens> parse_texts_or_tokens(Json* value, std::string_view name,
                                                size_t max_items);
// Token ids.
std::vector<text::TokenId> parse_tokens(const Json& list, std::string_view name);
// num_top_logprobs from `logprobs` (boolean) and `top_logprobs`.
int parse_top_logprobs(const Json& body);

// "model", in older clients "name"; "" when there is neither.
std::string model_field(const Json& body);

// A member that fits a float.
std::optional<float> float_field(const Json& body, std::string_view name);

// timeout, speculate, queue_events and ignore_eos.
Extensions parse_extensions(const Json& body);

// Throws Error(kUnsupported) for what can be asked for but is not there yet, so that nothing is
// ignored silently.
void check_supported(const GenerationRequest& request);

// Throws Error(kUnsupported) for a field of another server's (llama.cpp, vLLM, SGLang) or of
// another dialect that would change the reply and that we do not honour, unless its value changes
// nothing. `honoured`: those that the request's own dialect does honour.
void refuse_unhonoured(const Json& body, std::initializer_list<std::string_view> honoured = {});

}  // namespace sluice::api
