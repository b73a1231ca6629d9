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

void use(std::unique_ptr<api::Dialect> dialect, std::string_view body) {
  Work work;
  const api::GenerationRequest request = dialect->parse(body, work);
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
  const std::string line = dialect->piece(piece);
  if (line.find('\n') != line.size() - 1) __builtin_trap();
  api::parse_json(line, {.max_depth = 300});
}

void use(std::unique_ptr<api::EmbeddingDialect> dialect, std::string_view body) {
  Work work;
  const api::EmbeddingRequest request = dialect->parse(body, work);
  if (request.inputs.size() > api::kMaxEmbeddingInputs) __builtin_trap();
  api::EmbeddingReply reply;
  reply.embeddings = {{0.6f, 0.8f}};
  api::shorten_embedding(reply.embeddings.front(), request.dimensions);
  api::parse_json(dialect->whole(reply));
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
  Work work;
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  try_parse([&] { use(api::ollama::make_chat({}), body); });
  try_parse([&] { use(api::ollama::make_generate({}), body); });
  try_parse([&] { use(api::ollama::make_embed(), body); });
  try_parse([&] { use(api::ollama::make_embeddings(), body); });
  try_parse([&] { api::ollama::parse_show(body, work); });
  try_parse([&] { api::ollama::parse_copy(body, work); });
  try_parse([&] { api::ollama::parse_transfer(body, work); });
  try_parse([&] { api::ollama::parse_create(body, work); });
  try_parse([&] { api::format_parameters(api::parse_json(body)); });
  try_parse([&] { api::parse_messages_layer(body, work); });
  return 0;
}
