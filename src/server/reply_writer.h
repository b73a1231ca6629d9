#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "api/dialect.h"
#include "base/error.h"
#include "server/http_server.h"

namespace sluice::server {

// What is sent for an error: its status, a text that clients know, and Retry-After when trying
// again helps. `error_body` makes the dialect's body of the status and the text.
Reply error_reply_for(const Error& error,
                      const std::function<std::string(int, std::string_view)>& error_body,
                      int retry_after_seconds = 1);

// Puts what a dialect says on the wire, streaming or collected. The reply's head goes out with the
// first piece, so an error before it has its true status. Used by one thread at a time.
class ReplyWriter {
 public:
  ReplyWriter(std::shared_ptr<Exchange> exchange, std::unique_ptr<api::Dialect> dialect,
              const api::GenerationRequest& request);

  // False when the client is gone or too slow: the generation should be cancelled.
  bool write_piece(api::ReplyPiece piece);
  // What the client waits for; only into streams, and only if it asked for it: the status is then
  // settled as 200.
  void write_waiting(const api::Waiting& waiting);
  // Before the first piece.
  void set_num_prompt_tokens(int num_tokens) { num_prompt_tokens_ = num_tokens; }
  // One of these ends the reply; what is called after it does nothing.
  void finish(const api::ReplyEnd& end);
  void finish_with(std::string object);  // a reply without a generation
  void fail(const Error& error, int retry_after_seconds = 1);
  // For what finish_with() sends.
  api::Dialect& dialect() { return *dialect_; }

 private:
  bool write(const std::string& text);
  void write_first();

  std::shared_ptr<Exchange> exchange_;
  std::unique_ptr<api::Dialect> dialect_;
  bool stream_;
  bool wants_queue_events_;
  int num_prompt_tokens_ = 0;
  bool is_begun_ = false;
  bool has_first_ = false;
  bool is_over_ = false;
  api::ReplyPiece whole_;  // when not streaming
};

}  // namespace sluice::server
