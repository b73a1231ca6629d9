#include "server/reply_writer.h"

#include <atomic>
#include <iterator>
#include <utility>

#include "api/error.h"
#include "api/ollama.h"

namespace sluice::server {
namespace {

constexpr std::string_view kJsonType = "application/json; charset=utf-8";

api::ollama::TimePoint now() { return std::chrono::system_clock::now(); }

std::string next_id(std::string_view prefix) {
  static std::atomic<uint64_t> counter = 0;
  return std::string(prefix) + std::to_string(++counter);
}

}  // namespace

Reply error_reply_for(const Error& error, bool is_openai, int retry_after_seconds) {
  Reply reply;
  reply.status = api::http_status(error.code());
  reply.content_type = kJsonType;
  std::string message = error.what();
  // Clients look for this word to know that they may try again.
  if (error.code() == ErrorCode::kBusy && message.find("busy") == std::string::npos) {
    message = "server busy: " + message;
  }
  reply.body = is_openai ? api::encode_openai_error(reply.status, message)
                         : api::encode_ollama_error(message);
  if (error.code() == ErrorCode::kBusy) {
    reply.headers.emplace_back("Retry-After", std::to_string(retry_after_seconds));
  }
  return reply;
}

ReplyWriter::ReplyWriter(std::shared_ptr<Exchange> exchange, Dialect dialect,
                         const api::GenerationRequest& request)
    : exchange_(std::move(exchange)),
      dialect_(dialect),
      stream_(request.stream),
      wants_queue_events_(request.extensions.wants_queue_events) {
  head_.model = request.model;
  head_.include_usage = request.include_usage;
  head_.created_unix = std::chrono::system_clock::to_time_t(now());
  if (is_openai()) head_.id = next_id(dialect == Dialect::kOpenAiChat ? "chatcmpl-" : "cmpl-");
}

bool ReplyWriter::is_openai() const {
  return dialect_ == Dialect::kOpenAiChat || dialect_ == Dialect::kOpenAiCompletion;
}

bool ReplyWriter::write(std::string text) {
  if (!is_begun_) {
    is_begun_ = true;
    exchange_->begin(200, is_openai() ? "text/event-stream" : "application/x-ndjson");
  }
  if (!is_openai()) text += '\n';
  return exchange_->write(text);
}

bool ReplyWriter::write_piece(api::ReplyPiece piece) {
  if (is_over_) return false;
  if (stream_) return write(encode_chunk(piece));
  whole_.content += piece.content;
  whole_.thinking += piece.thinking;
  std::move(piece.tool_calls.begin(), piece.tool_calls.end(),
            std::back_inserter(whole_.tool_calls));
  std::move(piece.logprobs.begin(), piece.logprobs.end(), std::back_inserter(whole_.logprobs));
  return !exchange_->is_disconnected();
}

void ReplyWriter::write_waiting(const api::Waiting& waiting) {
  if (stream_ && wants_queue_events_ && !is_over_) write(encode_waiting(waiting));
}

void ReplyWriter::finish_with(std::string object) {
  if (std::exchange(is_over_, true)) return;
  if (!is_begun_) {
    exchange_->respond(Reply{200, std::string(kJsonType), std::move(object), {}});
    return;
  }
  write(std::move(object));
  exchange_->end();
}

void ReplyWriter::finish(const api::ReplyEnd& end) {
  if (std::exchange(is_over_, true)) return;
  if (!stream_) {
    exchange_->respond(Reply{200, std::string(kJsonType), encode_whole(end), {}});
    return;
  }
  // OpenAI's clients want a first delta, with the role, also for an empty reply.
  if (is_first_ && dialect_ == Dialect::kOpenAiChat) write(encode_chunk({}));
  write(encode_end(end));
  exchange_->end();
}

void ReplyWriter::fail(const Error& error, int retry_after_seconds) {
  if (std::exchange(is_over_, true)) return;
  if (!is_begun_) {
    exchange_->respond(error_reply_for(error, is_openai(), retry_after_seconds));
    return;
  }
  write(is_openai() ? api::openai::encode_stream_error(api::http_status(error.code()), error.what())
                    : api::encode_ollama_error(error.what()));
  exchange_->end();
}

std::string ReplyWriter::encode_waiting(const api::Waiting& waiting) {
  if (is_openai()) return api::openai::encode_waiting(waiting);
  return dialect_ == Dialect::kOllamaChat
             ? api::ollama::encode_chat_waiting(head_.model, now(), waiting)
             : api::ollama::encode_generate_waiting(head_.model, now(), waiting);
}

std::string ReplyWriter::encode_chunk(const api::ReplyPiece& piece) {
  const bool is_first = std::exchange(is_first_, false);
  switch (dialect_) {
    case Dialect::kOllamaChat:
      return api::ollama::encode_chat_chunk(head_.model, now(), piece);
    case Dialect::kOllamaGenerate:
      return api::ollama::encode_generate_chunk(head_.model, now(), piece);
    case Dialect::kOpenAiChat:
      return api::openai::encode_chat_chunk(head_, piece, is_first);
    case Dialect::kOpenAiCompletion:
      return api::openai::encode_completion_chunk(head_, piece);
  }
  return "";
}

std::string ReplyWriter::encode_end(const api::ReplyEnd& end) {
  switch (dialect_) {
    case Dialect::kOllamaChat:
      return api::ollama::encode_chat_final(head_.model, now(), {}, end);
    case Dialect::kOllamaGenerate:
      return api::ollama::encode_generate_final(head_.model, now(), {}, end);
    case Dialect::kOpenAiChat:
      return api::openai::encode_chat_end(head_, end, false);
    case Dialect::kOpenAiCompletion:
      return api::openai::encode_completion_end(head_, end);
  }
  return "";
}

std::string ReplyWriter::encode_whole(const api::ReplyEnd& end) {
  switch (dialect_) {
    case Dialect::kOllamaChat:
      return api::ollama::encode_chat_final(head_.model, now(), whole_, end);
    case Dialect::kOllamaGenerate:
      return api::ollama::encode_generate_final(head_.model, now(), whole_, end);
    case Dialect::kOpenAiChat:
      return api::openai::encode_chat_reply(head_, whole_, end);
    case Dialect::kOpenAiCompletion:
      return api::openai::encode_completion_reply(head_, whole_, end);
  }
  return "";
}

}  // namespace sluice::server
