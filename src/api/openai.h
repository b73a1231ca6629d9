#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/dialect.h"

// OpenAI's dialects (/v1/*) and what it tells of models.
namespace sluice::api::openai {

std::unique_ptr<Dialect> make_chat_completion(const Stamp& stamp);  // /v1/chat/completions
std::unique_ptr<Dialect> make_completion(const Stamp& stamp);       // /v1/completions

// {"error":{"message":..,"type":..,"param":null,"code":null}}; the type follows from the status.
std::string error_body(int status, std::string_view message, std::string_view request_id = {});

struct ModelEntry {
  std::string id;  // short name with the tag
  int64_t created_unix = 0;
  std::string owned_by;  // the namespace
};
std::string encode_models(const std::vector<ModelEntry>& models);
std::string encode_model(const ModelEntry& model);

}  // namespace sluice::api::openai
