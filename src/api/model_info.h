#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/json.h"
#include "gguf/file.h"

namespace sluice::api {

// `model_info` of /api/show: the file's metadata by key plus general.parameter_count, without
// general.name and tokenizer.chat_template. Arrays are null unless `verbose`. Always an object.
Json model_info(const gguf::File& file, bool verbose);

// `tensors` of /api/show: [{name, type, shape}].
Json tensor_list(const gguf::File& file);

// "completion" or "embedding", then "vision", "audio", "tools", "thinking" as the metadata and the
// Jinja template (may be empty) tell.
std::vector<std::string> capabilities(const gguf::File& file, std::string_view chat_template);

// A params layer as a Modelfile has it: a name and a text for each value, one for each of a list.
std::vector<std::pair<std::string, std::string>> modelfile_parameters(const Json& params);

}  // namespace sluice::api
