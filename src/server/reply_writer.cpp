#include "server/reply_writer.h"

#include <iterator>
#include <utility>

#include "api/error.h"
#include "base/units.h"
#include "server/routes.h"

namespace sluice::server {
namespace {

size_t size_of(const api::ReplyPiece& piece) {
  size_t size = piece.content.size() + piece.thinking.size();
  for (const api::ToolCall& call : piece.tool_calls) {
    constexpr size_t kTimesText = 16;  // of JSON in memory
    size += sizeof call + call.id.size() + call.name.size();
    size += kTimesText * api::dump_json(call.arguments).size();
  }
  for (const api::ReplyLogprob& logprob : piece.logprobs) {
    size += sizeof logprob + logprob.token.size();
    for (const api::ReplyLogprob& other : logprob.top) size += sizeof other + other.token.size();
  }
  return size;
}

}  // namespace

std::string error_text(const Failure& failure) {
  // Clients look for this word to know that they may try again.
  const bool is_said = failure.message.find("busy") != std::string::npos;
  return failure.code == ErrorCode::kBusy && !is_said ? "server busy: " + failure.message
                                                      : failure.message;
}

Reply error_reply_for(Exchange& exchange, const Failure& failure) {
  if (failure.code == ErrorCode::kBusy && !exchange.has_header("Retry-After")) {
    exchange.add_header("Retry-After", "1");
  }
  const int status = api::http_status(failure.code);
  Reply reply = json_reply(error_text_for(exchange.request(), status, error_text(failure)));
  reply.status = status;
  return reply;
}

void ReplyWriter::write(const std::string& text) {
  if (text.empty()) return;
  exchange_.begin(dialect_.content_type());
  exchange_.write(text);
}

void ReplyWriter::write_waiting(const api::Waiting& waiting) {
  if (stream_) write(dialect_.waiting(waiting));
}

void ReplyWriter::begin(int num_prompt_tokens) {
  if (stream_) write(dialect_.first(num_prompt_tokens));
}

void ReplyWriter::write_piece(api::ReplyPiece piece) {
  if (stream_) {
    write(dialect_.piece(piece));
  } else {
    keep(std::move(piece));
  }
}

void ReplyWriter::keep(api::ReplyPiece piece) {
  const size_t limit = exchange_.options().max_whole_reply_bytes;
  const size_t more = size_of(piece);
  if (kept_.size() + more > limit || !kept_.grow(more)) {
    throw Error(ErrorCode::kOutOfMemory,
                "the reply is too large to be given as a whole (" + format_bytes(limit) +
                    ", less when many are made at once); ask for a stream");
  }
  api::ReplyPiece& whole = choice(piece.index).piece;
  whole.content += piece.content;
  whole.thinking += piece.thinking;
  std::move(piece.tool_calls.begin(), piece.tool_calls.end(), std::back_inserter(whole.tool_calls));
  std::move(piece.logprobs.begin(), piece.logprobs.end(), std::back_inserter(whole.logprobs));
}

api::Choice& ReplyWriter::choice(int index) {
  const auto position = static_cast<size_t>(index);
  if (position >= choices_.size()) choices_.resize(position + 1);
  return choices_[position];
}

void ReplyWriter::end_choice(const api::ReplyEnd& end) {
  if (stream_) {
    write(dialect_.end(end));
  } else {
    choice(end.index).end = end;
  }
}

std::string ReplyWriter::whole() {
  const std::vector<api::Choice> choices = std::exchange(choices_, {});
  return dialect_.whole(choices);
}

Awaitable<void> ReplyWriter::finish() {
  if (stream_) {
    co_await exchange_.end();
    co_return;
  }
  co_await exchange_.respond(json_reply(whole()));
}

Awaitable<void> ReplyWriter::finish_with(std::string object) {
  if (exchange_.is_begun()) {
    exchange_.write(object + '\n');
    co_await exchange_.end();
  } else {
    co_await exchange_.respond(json_reply(std::move(object)));
  }
}

Awaitable<void> ReplyWriter::fail(const Failure& failure) {
  choices_ = {};
  if (exchange_.is_begun()) {
    exchange_.write(dialect_.stream_error(api::http_status(failure.code), error_text(failure)));
    co_await exchange_.end();
    co_return;
  }
  co_await exchange_.respond(error_reply_for(exchange_, failure));
}

}  // namespace sluice::server
