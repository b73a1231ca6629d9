#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/client.h"

// The little that a load generator must know of what servers speak.
namespace sluice::measure {

enum class Api {
  kOllama,      // POST /api/chat
  kOpenai,      // POST /v1/chat/completions
  kCompletion,  // POST /v1/completions
  kEmbedding,   // POST /v1/embeddings: the reply is no stream and has no tokens
};

std::string_view api_name(Api api);  // "ollama", "openai", "completions", "embeddings"
std::vector<std::string> api_names();
Api api_of(std::string_view name);  // one of those

// What was said before.
struct ChatTurn {
  std::string question, answer;
};

struct ChatQuery {
  std::string model;
  std::string prompt;
  std::vector<ChatTurn> history = {};
  std::optional<uint64_t> seed = {};
  std::optional<double> temperature = {};  // none: the server's default
  std::optional<int> max_tokens = {};      // none: until the model ends
  // Asks for all of max_tokens, whatever the model says. OpenAI's protocol only, and there only for
  // servers that know the field "ignore_eos" (llama.cpp, vLLM); others take no notice.
  bool ignore_end = false;
  std::map<std::string, std::string> headers = {};  // more of them
  bool keeps_text = false;                          // of the reply
};

// A request, streaming where there is a stream; with usage asked for where it must be.
http::Request make_chat_request(Api api, const ChatQuery& query);

// What a reply said about itself. Counts are the server's own; -1 where it gave none.
struct ReplyFigures {
  int num_prompt_tokens = -1;
  int num_cached_tokens = -1;  // of the prompt, taken from a cache
  int num_output_tokens = -1;
  std::chrono::nanoseconds load_duration{-1};  // Ollama only, as are the next two
  std::chrono::nanoseconds prefill_duration{-1};
  std::chrono::nanoseconds decode_duration{-1};
  std::chrono::nanoseconds queue_duration{-1};  // Sluice alone
  std::string finish_reason;  // "stop", "length", ...; empty when the reply broke off
  std::string error;          // an error sent inside the stream
};

// Reads a reply: lines of JSON (Ollama), server-sent events (OpenAI), or one object (embeddings).
class WireReader {
 public:
  explicit WireReader(Api api, bool keeps_text = false) : api_(api), keeps_text_(keeps_text) {}

  // Takes the next bytes of the body; returns how many pieces of text (content or reasoning, not
  // empty) they completed. Throws Error(kCorruptData) for what is not JSON and for endless lines.
  int feed(std::string_view bytes);
  // The body has ended: takes a last line that has no newline. As feed().
  int finish();

  // The final message has come.
  bool is_complete() const { return is_complete_; }
  const ReplyFigures& figures() const { return figures_; }
  // Without reasoning; only where it is kept.
  const std::string& text() const { return text_; }

 private:
  int take_line(std::string_view line);
  int take_whole(std::string_view body);

  Api api_;
  bool keeps_text_;
  std::string text_;
  std::string partial_line_;
  bool is_complete_ = false;
  ReplyFigures figures_;
};

// The message in an error body of either protocol, on one line; the start of the body when it is
// something else.
std::string error_text_of(std::string_view body);

// The name of the first model the server lists (/api/tags, /v1/models). Throws Error: kNotFound
// when there is none, what http::Client throws, kCorruptData for a reply of another shape.
std::string first_model(http::Client& client, Api api,
                        const std::map<std::string, std::string>& headers = {});

}  // namespace sluice::measure
