#pragma once

#include <string>
#include <string_view>
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

// What `show` prints as the model's Modelfile. `parameters` is the text of format_parameters.
struct ModelfileParts {
  std::string name;  // in the comment
  std::string from;  // the blob's path
  std::string chat_template;
  std::string system;
  Json params = Json::object();
  std::vector<std::string> licenses;
};
std::string format_modelfile(const ModelfileParts& parts);

}  // namespace sluice::api
