#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/dialect.h"

// Ollama's dialects (/api/*) and what it tells of models. Parsers throw Error(kInvalidArgument);
// fields that they do not know are ignored, names of fields match without regard to case.
namespace sluice::api::ollama {

std::unique_ptr<Dialect> make_chat(const Stamp& stamp);      // /api/chat
std::unique_ptr<Dialect> make_generate(const Stamp& stamp);  // /api/generate

// {"error":"message"}
std::string error_body(int status, std::string_view message, std::string_view request_id = {});

struct ShowRequest {
  std::string model;
  bool verbose = false;
};
ShowRequest parse_show(std::string_view body, Work& work);
// {model|name}; also for /api/delete. "model is required" for an empty one.
std::string parse_model(std::string_view body, Work& work);

struct CopyRequest {
  std::string source;
  std::string destination;
};
CopyRequest parse_copy(std::string_view body, Work& work);

// /api/pull and /api/push.
struct TransferRequest {
  std::string model;  // may be ""
  std::string url;    // of a file to pull, ours: Ollama has none
  bool insecure = false;
  bool stream = true;
};
TransferRequest parse_transfer(std::string_view body, Work& work);

// /api/create.
struct CreateRequest {
  std::string model;                                       // may be ""
  std::string from;                                        // a model's name
  std::vector<std::pair<std::string, std::string>> files;  // name, digest as written
  std::string chat_template, system;
  std::vector<std::string> licenses;
  std::string parameters_json;  // an object of known options, or ""
  std::string messages_json;    // [{role, content}], or ""
  std::string quantize, renderer, parser, minimum_version;
  bool stream = true;
};
// Throws Error(kUnsupported) naming adapters and the like.
CreateRequest parse_create(std::string_view body, Work& work);

// A line of their progress; without a digest the status alone. `completed` is left out while it is
// 0, as Ollama does.
std::string encode_progress(std::string_view status, std::string_view digest, uint64_t total_bytes,
                            uint64_t completed_bytes);

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
struct UnreadableModel {
  std::string name;
  std::string reason;
};
// `unreadable` is left out when there is none; Ollama's clients do not know it.
std::string encode_tags(const std::vector<TagsEntry>& models,
                        const std::vector<UnreadableModel>& unreadable = {});

struct PsEntry {
  std::string name;
  uint64_t size_bytes = 0;
  uint64_t device_bytes = 0;  // of these, in memory of a GPU
  std::string digest_hex;
  ModelDetails details;
  TimePoint expires_at;  // never_expires() for a model that stays
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
