#pragma once

#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "convert/safetensors.h"
#include "store/store.h"

namespace sluice::convert {

// What a model is to be made of.
struct ModelRecipe {
  store::ModelName name;
  std::optional<store::ModelName> from;  // a model of the store; or else `files`
  ModelFiles files;                      // a GGUF file, its parts, or a Hugging Face folder's
  // What is not given is as the model of `from` has it. An empty text is as one not given.
  std::string chat_template;
  std::string system;
  std::string params_json;            // an object of options, put over those of `from`
  std::string messages_json;          // an array of {role, content}, instead of those of `from`
  std::vector<std::string> licenses;  // further ones
  std::string renderer, parser, minimum_version;
  std::string quantize;  // name of a mix; "": as it is
};

// A line of what is told: a step, or how far one is.
struct CreateProgress {
  std::string status;
  std::string digest = {};  // "": no bytes to count
  uint64_t total_bytes = 0;
  uint64_t completed_bytes = 0;
};
using OnCreateProgress = std::function<void(const CreateProgress&)>;

// Makes the model and gives it its name, replacing what had that name; ends with the line
// "success". On any failure the store keeps what it had (new blobs that nobody uses may stay;
// doctor removes them). Throws Error: kInvalidArgument, kUnsupported, kCorruptData with what is
// wrong in the request or its files; kNotFound for a model or blob that is missing; kCancelled when
// stopped; kNoSpace, kIo.
void create(store::Store& store, const ModelRecipe& request, const OnCreateProgress& tell,
            std::stop_token stop);

}  // namespace sluice::convert
