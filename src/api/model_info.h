#pragma once

#include <string>
#include <utility>
#include <vector>

#include "api/json.h"
#include "gguf/file.h"
#include "text/template_choice.h"

namespace sluice::api {

// `model_info` of /api/show: the file's metadata by key plus general.parameter_count, without
// general.name and tokenizer.chat_template. Arrays are null unless `verbose`. Always an object.
Json model_info(const gguf::File& file, bool verbose);

// `tensors` of /api/show: [{name, type, shape}].
Json tensor_list(const gguf::File& file);

// Whether its model makes embeddings and no text.
bool is_for_embeddings(const gguf::File& file);

// "completion" or "embedding", then "tools", "insert", "thinking" as the metadata and the chat
// template tell. Nothing that a file has and this program does not read: pictures and sounds.
std::vector<std::string> capabilities(const gguf::File& file,
                                      const text::TemplateAbilities& abilities);

// A params layer as a Modelfile has it: a name and a text for each value, one for each of a list.
std::vector<std::pair<std::string, std::string>> modelfile_parameters(const Json& params);

}  // namespace sluice::api
