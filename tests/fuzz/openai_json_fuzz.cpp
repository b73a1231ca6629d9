// OpenAI's requests: any body is parsed or refused with Error, and what was accepted can be put
// before a template and written back.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "api/chat_context.h"
#include "api/embedding.h"
#include "api/openai.h"
#include "base/error.h"

namespace {

using namespace sluice;

void use(const api::GenerationRequest& request) {
  engine::Request engine_request;
  api::apply_options(request.options, engine_request);
  const auto messages = api::compose_messages(request, {});
  api::chat_context(messages, request.tools, request.think, {});
  const api::openai::ReplyHead head = {"id", 1, request.model, request.include_usage};
  for (const api::Message& message : messages) {
    api::ReplyPiece piece = {message.content, message.thinking, message.tool_calls, {}};
    api::openai::encode_chat_chunk(head, piece, true);
    api::parse_body(api::openai::encode_chat_reply(head, piece, {}));
  }
}

void use(const api::EmbeddingRequest& request) {
  if (request.inputs.empty() || request.inputs.size() > api::kMaxEmbeddingInputs) __builtin_trap();
  api::EmbeddingReply reply;
  reply.model = request.model;
  reply.embeddings = {{0.6f, 0.8f}};
  api::shorten_embedding(reply.embeddings.front(), request.dimensions);
  api::parse_body(api::openai::encode_embeddings(reply, request.is_base64));
}

template <typename Parse>
void try_parse(Parse parse) {
  try {
    use(parse());
  } catch (const Error& error) {
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) __builtin_trap();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  try_parse([&] { return api::openai::parse_chat_completion(body); });
  try_parse([&] { return api::openai::parse_completion(body); });
  try_parse([&] { return api::openai::parse_embeddings(body); });
  return 0;
}
