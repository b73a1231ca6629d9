#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "api/json.h"
#include "api/request.h"
#include "text/reply_parser.h"

// What requests say about tools. All throw Error(kInvalidArgument).
namespace sluice::api {

// A list of {type, function{name, ..}}; kept as the client wrote it (moved out).
Json parse_tools(Json& list);

// OpenAI's `tool_choice`, of chats and of responses: "auto", "none", "required",
// {"type":"function","function":{"name"}} or {"type":"function","name"}, and "allowed_tools", which
// leaves the named ones of `tools` only.
ToolChoice parse_tool_choice(const Json& value, Json& tools);

// For a request whose tools and choice are there: the tools of "none" go, a choice must be one that
// can be met.
void apply_tool_choice(GenerationRequest& request);

// The `parameters` (a schema) of the tool with this name; null when it has none.
const Json* tool_parameters(const Json& tool);
// "" for what is no tool.
std::string_view tool_name(const Json& tool);
// What a parser of replies may know of the tools.
std::vector<text::KnownTool> known_tools(const Json& tools);

// For a call whose model gave none: "call_" and 8 letters or digits, or `size` of them where the
// model's template asks for so many.
std::string fresh_call_id(size_t size = 0);

}  // namespace sluice::api
