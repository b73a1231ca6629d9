// Ollama's requests: any body is parsed or refused with Error, and what was accepted can be merged,
// put before a template and written back.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "api/chat_context.h"
#include "api/embedding.h"
#include "api/ollama.h"
#include "base/error.h"

namespace {

using namespace sluice;

void use(const api::GenerationRequest& request) {
  engine::Request engine_request;
  api::apply_options(api::merge_options({}, request.options), engine_request);
  const auto messages = api::compose_messages(request, {"system", {}});
  api::chat_context(messages, request.tools, request.think, {});
  api::ReplyPiece piece;
  piece.content = request.prompt;
  for (const api::Message& message : messages) {
    piece.content += message.content;
    piece.tool_calls = message.tool_calls;
  }
  const std::string line = api::ollama::encode_chat_chunk(request.model, {}, piece);
  if (line.find('\n') != std::string::npos) __builtin_trap();
  api::parse_body(line, {.max_depth = 300});
}

void use(const api::EmbeddingRequest& request) {
  if (request.inputs.size() > api::kMaxEmbeddingInputs) __builtin_trap();
  api::EmbeddingReply reply;
  reply.model = request.model;
  reply.embeddings = {{0.6f, 0.8f}};
  api::shorten_embedding(reply.embeddings.front(), request.dimensions);
  api::parse_body(api::ollama::encode_embed(reply));
}

template <typename Parse>
void try_parse(Parse parse) {
  try {
    parse();
  } catch (const Error& error) {
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) __builtin_trap();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  try_parse([&] { use(api::ollama::parse_chat(body)); });
  try_parse([&] { use(api::ollama::parse_generate(body)); });
  try_parse([&] { use(api::ollama::parse_embed(body)); });
  try_parse([&] { use(api::ollama::parse_embeddings(body)); });
  try_parse([&] { api::ollama::parse_show(body); });
  try_parse([&] { api::ollama::parse_copy(body); });
  try_parse([&] { api::format_parameters(api::parse_json(body)); });
  try_parse([&] { api::parse_messages_layer(body); });
  return 0;
}
