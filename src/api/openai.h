#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api/reply.h"
#include "api/request.h"

// OpenAI's dialect: /v1/*. Parsers throw Error(kInvalidArgument). Stream encoders give whole
// server-sent events ("data: {...}\n\n"), the others one JSON object.
namespace sluice::api::openai {

// /v1/chat/completions. temperature and top_p are 1 unless given; max_completion_tokens counts
// before max_tokens. A part of a message's content must be text (or an image as a data: URL).
// Text parts are joined by a newline; role developer becomes system. tool_choice "none" hides the
// tools; its other values mean "auto", as with Ollama. Refused with a clear text (kUnsupported):
// response_format other than text, images, n above 1, logit_bias.
GenerationRequest parse_chat_completion(std::string_view body, const JsonLimits& limits = {});
// /v1/completions: prompt as one string.
GenerationRequest parse_completion(std::string_view body, const JsonLimits& limits = {});

// What all objects of one reply share.
struct ReplyHead {
  std::string id;  // "chatcmpl-7", "cmpl-7"
  int64_t created_unix = 0;
  std::string model;  // as the client wrote it
  bool include_usage = false;
};

// A delta; `is_first` puts the role into it. Thinking goes into `reasoning`, in an event of its
// own.
std::string encode_chat_chunk(const ReplyHead& head, const ReplyPiece& piece, bool is_first);
// The end of a stream: finish_reason, usage if it was asked for, and [DONE].
std::string encode_chat_end(const ReplyHead& head, const ReplyEnd& end, bool has_tool_calls);
// The whole reply.
std::string encode_chat_reply(const ReplyHead& head, const ReplyPiece& piece, const ReplyEnd& end);

std::string encode_completion_chunk(const ReplyHead& head, const ReplyPiece& piece);
std::string encode_completion_end(const ReplyHead& head, const ReplyEnd& end);
std::string encode_completion_reply(const ReplyHead& head, const ReplyPiece& piece,
                                    const ReplyEnd& end);

// A comment in the stream, which clients skip: ": queue position 3, about 1.2 s\n\n" or
// ": loading 42%\n\n".
std::string encode_waiting(const Waiting& waiting);

// An error in a stream that has begun: one event; the connection is closed after it.
std::string encode_stream_error(int status, std::string_view message);

// "stop", "length", "tool_calls".
std::string_view finish_reason(engine::FinishReason reason, bool has_tool_calls);

struct ModelEntry {
  std::string id;  // short name with the tag
  int64_t created_unix = 0;
  std::string owned_by;  // the namespace
};
std::string encode_models(const std::vector<ModelEntry>& models);
std::string encode_model(const ModelEntry& model);

}  // namespace sluice::api::openai
