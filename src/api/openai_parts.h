#pragma once

#include <map>
#include <string>
#include <string_view>

#include "api/json.h"
#include "api/request.h"

// Parts of requests that OpenAI's chats and responses share. All throw Error(kInvalidArgument).
namespace sluice::api::openai {

// The base64 text of an image whose `image_url` is a data: URL, as text or {"url"}.
std::string image_data(const Json& part);

// The `arguments` of a call that is sent back: JSON as text, an object.
JsonTree parse_arguments(const Json& call, Work& work);

// "none" to "max".
Think think_of_effort(const std::string& effort);

// The names of the calls so far, by their ids. A sorted map: a client could choose ids that have
// one hash.
using CalledNames = std::map<std::string, std::string, std::less<>>;

}  // namespace sluice::api::openai
