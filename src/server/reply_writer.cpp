#include "server/reply_writer.h"

#include <iterator>
#include <utility>

namespace sluice::server {
namespace {

constexpr std::string_view kJsonType = "application/json; charset=utf-8";

}  // namespace

Reply error_reply_for(const Error& error,
                      const std::function<std::string(int, std::string_view)>& error_body,
                      int retry_after_seconds) {
  Reply reply;
  reply.status = api::http_status(error.code());
  reply.content_type = kJsonType;
  std::string message = error.what();
  // Clients look for this word to know that they may try again.
  if (error.code() == ErrorCode::kBusy && message.find("busy") == std::string::npos) {
    message = "server busy: " + message;
  }
  reply.body = error_body(reply.status, message);
  if (error.code() == ErrorCode::kBusy) {
    reply.headers.emplace_back("Retry-After", std::to_string(retry_after_seconds));
  }
  return reply;
}

ReplyWriter::ReplyWriter(std::shared_ptr<Exchange> exchange, std::unique_ptr<api::Dialect> dialect,
                         const api::GenerationRequest& request)
    : exchange_(std::move(exchange)),
      dialect_(std::move(dialect)),
      stream_(request.stream),
      wants_queue_events_(request.extensions.wants_queue_events) {}

bool ReplyWriter::write(const std::string& text) {
  if (!std::exchange(is_begun_, true)) {
    // Or proxies such as nginx collect the pieces.
    exchange_->add_header("X-Accel-Buffering", "no");
    exchange_->begin(200, dialect_->content_type());
  }
  return exchange_->write(text);
}

void ReplyWriter::write_first() {
  if (std::exchange(has_first_, true)) return;
  const std::string first = dialect_->first(num_prompt_tokens_);
  if (!first.empty()) write(first);
}

bool ReplyWriter::write_piece(api::ReplyPiece piece) {
  if (is_over_) return false;
  if (stream_) {
    write_first();
    return write(dialect_->piece(piece));
  }
  whole_.content += piece.content;
  whole_.thinking += piece.thinking;
  std::move(piece.tool_calls.begin(), piece.tool_calls.end(),
            std::back_inserter(whole_.tool_calls));
  std::move(piece.logprobs.begin(), piece.logprobs.end(), std::back_inserter(whole_.logprobs));
  return !exchange_->is_disconnected();
}

void ReplyWriter::write_waiting(const api::Waiting& waiting) {
  if (stream_ && wants_queue_events_ && !is_over_) write(dialect_->waiting(waiting));
}

void ReplyWriter::finish_with(std::string object) {
  if (std::exchange(is_over_, true)) return;
  if (!is_begun_) {
    exchange_->respond(Reply{200, std::string(kJsonType), std::move(object), {}});
    return;
  }
  write(object + "\n");
  exchange_->end();
}

void ReplyWriter::finish(const api::ReplyEnd& end) {
  if (std::exchange(is_over_, true)) return;
  if (!stream_) {
    const api::Choice choice = {std::move(whole_), end};
    exchange_->respond(Reply{200, std::string(kJsonType), dialect_->whole({&choice, 1}), {}});
    return;
  }
  write_first();
  write(dialect_->end(end));
  exchange_->end();
}

void ReplyWriter::fail(const Error& error, int retry_after_seconds) {
  if (std::exchange(is_over_, true)) return;
  if (!is_begun_) {
    const auto error_body = [this](int status, std::string_view message) {
      return dialect_->error_body(status, message);
    };
    exchange_->respond(error_reply_for(error, error_body, retry_after_seconds));
    return;
  }
  write(dialect_->stream_error(api::http_status(error.code()), error.what()));
  exchange_->end();
}

}  // namespace sluice::server
