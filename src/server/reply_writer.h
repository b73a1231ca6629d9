#pragma once

#include <memory>
#include <string>
#include <vector>

#include "api/dialect.h"
#include "api/error.h"
#include "server/exchange.h"
#include "server/failure.h"

namespace sluice::server {

// The message as clients get it.
std::string error_text(const Failure& failure);
// A reply that tells of a failure, in the manner of the request's path. Where trying again helps
// the exchange says when: in Retry-After, a second unless it has one.
Reply error_reply_for(Exchange& exchange, const Failure& failure);

// Puts one generation on the wire in a dialect, streamed or whole. The head goes out with the first
// piece, so an error before it has its true status. What is written into a stream waits for
// Exchange::flush(); the functions that end the reply send it.
class ReplyWriter {
 public:
  ReplyWriter(Exchange& exchange, api::Dialect& dialect) : exchange_(exchange), dialect_(dialect) {}

  void set_stream(bool stream) { stream_ = stream; }
  // What the client waits for; in streams only: the status is then settled as 200.
  void write_waiting(const api::Waiting& waiting);
  // Before the first piece or end.
  void begin(int num_prompt_tokens);
  // Throws Error(kOutOfMemory) when a whole reply becomes too large.
  void write_piece(api::ReplyPiece piece);
  void end_choice(const api::ReplyEnd& end);

  // Of a whole reply: what it takes until it is written, and its text when all choices have ended.
  size_t num_kept_bytes() const { return kept_.size(); }
  std::string whole();

  // One of these ends the reply.
  Awaitable<void> finish();
  Awaitable<void> finish_with(std::string object);  // a reply without a generation
  Awaitable<void> fail(const Failure& failure);

 private:
  void write(const std::string& text);
  void keep(api::ReplyPiece piece);
  api::Choice& choice(int index);

  Exchange& exchange_;
  api::Dialect& dialect_;
  bool stream_ = false;
  Charge kept_{exchange_.reply_budget()};
  std::vector<api::Choice> choices_;  // when not streaming
};

}  // namespace sluice::server
