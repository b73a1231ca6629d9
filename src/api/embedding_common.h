#pragma once

#include <string>
#include <vector>

#include "api/embedding.h"
#include "api/json_writer.h"

// Parts that the dialects of embeddings share. Parsers throw Error(kInvalidArgument).
namespace sluice::api {

// model, dimensions and the extensions.
EmbeddingRequest parse_embedding_fields(const Json& body);

// A JSON array. As floats: numbers as doubles would take twice the bytes.
std::string numbers_text(const std::vector<float>& numbers);
// The `sluice` member of replies.
std::string explain_embedding(const EmbeddingReply& reply);

}  // namespace sluice::api
