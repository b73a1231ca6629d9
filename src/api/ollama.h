#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api/reply.h"
#include "api/request.h"

// Ollama's dialect: /api/*. Parsers take a request's body and throw Error(kInvalidArgument); fields
// they do not know are ignored, names of fields match without regard to case. Encoders give one
// JSON object without a newline; in a stream each is one line (application/x-ndjson). Field order
// and presence are Ollama's: `response`, `content` and `done` always, metrics of zero never.
namespace sluice::api::ollama {

// /api/chat. "model is required" for an empty name.
GenerationRequest parse_chat(std::string_view body, const JsonLimits& limits = {});
// /api/generate. An empty model name is left to the look-up (404).
GenerationRequest parse_generate(std::string_view body, const JsonLimits& limits = {});

struct ShowRequest {
  std::string model;
  bool verbose = false;
};
ShowRequest parse_show(std::string_view body, const JsonLimits& limits = {});
// {model|name}; also for /api/delete. "model is required" for an empty one.
std::string parse_model(std::string_view body, const JsonLimits& limits = {});
struct CopyRequest {
  std::string source;
  std::string destination;
};
CopyRequest parse_copy(std::string_view body, const JsonLimits& limits = {});

using TimePoint = std::chrono::system_clock::time_point;

std::string encode_chat_chunk(const std::string& model, TimePoint now, const ReplyPiece& piece);
std::string encode_generate_chunk(const std::string& model, TimePoint now, const ReplyPiece& piece);

// A line of a stream that has no text yet: an empty piece with "status":"queued","queue_position",
// "estimated_wait" (seconds), or "status":"loading","progress" (0 to 1). Clients that do not know
// these members see an empty piece.
std::string encode_chat_waiting(const std::string& model, TimePoint now, const Waiting& waiting);
std::string encode_generate_waiting(const std::string& model, TimePoint now,
                                    const Waiting& waiting);

// The last line of a stream (an empty piece, as a rule) or the whole reply when not streaming.
// load_duration includes the time in the queue and is never 0, as clients expect.
std::string encode_chat_final(const std::string& model, TimePoint now, const ReplyPiece& piece,
                              const ReplyEnd& end);
std::string encode_generate_final(const std::string& model, TimePoint now, const ReplyPiece& piece,
                                  const ReplyEnd& end);

// Answers to requests without anything to say. `reason` is "load" or "unload".
std::string encode_chat_load(const std::string& model, TimePoint now, std::string_view reason);
std::string encode_generate_load(const std::string& model, TimePoint now, std::string_view reason);

// _debug_render_only.
std::string encode_rendered_prompt(const std::string& model, TimePoint now, bool is_chat,
                                   const std::string& prompt);

struct ModelDetails {
  std::string parent_model;
  std::string format = "gguf";
  std::string family;
  std::vector<std::string> families;
  std::string parameter_size;
  std::string quantization_level;
  uint64_t context_length = 0;    // 0: left out
  uint64_t embedding_length = 0;  // 0: left out
};

struct TagsEntry {
  std::string name;  // short, with the tag
  TimePoint modified_at;
  uint64_t size_bytes = 0;
  std::string digest_hex;
  ModelDetails details;
  std::vector<std::string> capabilities;  // empty: left out
};
std::string encode_tags(const std::vector<TagsEntry>& models);

struct PsEntry {
  std::string name;
  uint64_t size_bytes = 0;
  std::string digest_hex;
  ModelDetails details;
  TimePoint expires_at;  // never_expires() for a model that stays
  uint64_t size_vram_bytes = 0;
  uint64_t context_length = 0;
  Json extra = Json::object();  // our own members, put under "sluice" unless empty
};
// Sorted by latest expiry first.
std::string encode_ps(std::vector<PsEntry> models);
// What Ollama prints for "for ever": about 290 years from the epoch.
TimePoint never_expires();

struct ShowReply {
  std::string license;
  std::string modelfile;
  std::string parameters;
  std::string chat_template;
  std::string system;
  std::string renderer;
  std::string parser;
  ModelDetails details;
  std::vector<Message> messages;
  Json model_info = Json::object();
  Json tensors = Json::array();
  std::vector<std::string> capabilities;
  TimePoint modified_at;
};
std::string encode_show(const ShowReply& reply);
std::string encode_version(std::string_view version);

}  // namespace sluice::api::ollama
