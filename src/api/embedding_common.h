#pragma once

#include <string>
#include <vector>

#include "api/embedding.h"

// Parts that the dialects of embeddings share. Parsers throw Error(kInvalidArgument).
namespace sluice::api {

// A string or a list of strings; null counts as an empty list.
std::vector<std::string> parse_inputs(const Json* input);
// model, dimensions and the extensions.
EmbeddingRequest parse_embedding_fields(const Json& body);

// A JSON array. Written by hand: a JSON value for every number would take ten times the memory, and
// numbers as doubles twice the bytes.
std::string numbers_text(const std::vector<float>& numbers);
// The `sluice` member of replies.
Json explain_embedding(const EmbeddingReply& reply);
// Puts `members`, an object, behind what is written of another one.
void append_members(std::string& object, const Json& members);

}  // namespace sluice::api
