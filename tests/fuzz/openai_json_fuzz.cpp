// OpenAI's and Anthropic's requests: any body is parsed or refused with Error, and what was
// accepted can be put before a template and written back.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "api/anthropic.h"
#include "api/chat_context.h"
#include "api/embedding.h"
#include "api/openai.h"
#include "base/error.h"

namespace {

using namespace sluice;

void use(std::unique_ptr<api::Dialect> dialect, std::string_view body) {
  Work work;
  const api::GenerationRequest request = dialect->parse(body, work);
  engine::Request engine_request;
  api::apply_options(request.options, engine_request);
  const auto messages = api::compose_messages(request, {});
  api::chat_context(messages, request.tools, request.think, {});
  if (request.biases.size() > engine::kMaxBiases) __builtin_trap();
  const auto last_choice = static_cast<int>(request.num_prompts()) * request.num_choices - 1;
  if (last_choice < 0 || last_choice >= 128) __builtin_trap();
  for (const api::Message& message : messages) {
    api::Choice choice = {{message.content, message.thinking, message.tool_calls, {}, last_choice},
                          {}};
    choice.end.index = last_choice;
    dialect->piece(choice.piece);
    api::parse_json(dialect->whole({&choice, 1}));
  }
}

void use_count(std::unique_ptr<api::Dialect> dialect, std::string_view body) {
  Work work;
  if (!dialect->parse(body, work).is_count_only) __builtin_trap();
  api::parse_json(dialect->counted(7));
}

void use(std::unique_ptr<api::EmbeddingDialect> dialect, std::string_view body) {
  Work work;
  const api::EmbeddingRequest request = dialect->parse(body, work);
  if (request.inputs.empty() || request.inputs.size() > api::kMaxEmbeddingInputs) __builtin_trap();
  api::EmbeddingReply reply;
  reply.embeddings.assign(request.inputs.size(), {0.6f, 0.8f});
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
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  try_parse([&] { use(api::openai::make_chat_completion({}), body); });
  try_parse([&] { use(api::openai::make_completion({}), body); });
  try_parse([&] { use(api::anthropic::make_messages({}), body); });
  try_parse([&] { use_count(api::anthropic::make_count_tokens({}), body); });
  try_parse([&] { use(api::openai::make_embeddings(), body); });
  try_parse([&] { use(api::make_rerank(), body); });
  return 0;
}
