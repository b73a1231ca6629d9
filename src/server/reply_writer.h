#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "api/openai.h"
#include "api/reply.h"
#include "api/request.h"
#include "base/error.h"
#include "server/http_server.h"

namespace sluice::server {

enum class Dialect { kOllamaChat, kOllamaGenerate, kOpenAiChat, kOpenAiCompletion };

// An error in the dialect of a route, with Retry-After when trying again helps.
Reply error_reply_for(const Error& error, bool is_openai, int retry_after_seconds = 1);

// Puts the events of one generation on the wire in a dialect, streaming or collected. The reply's
// head goes out with the first piece, so an error before it has its true status. Used by one thread
// at a time.
class ReplyWriter {
 public:
  ReplyWriter(std::shared_ptr<Exchange> exchange, Dialect dialect,
              const api::GenerationRequest& request);

  // False when the client is gone or too slow: the generation should be cancelled.
  bool write_piece(api::ReplyPiece piece);
  // What the client waits for; only into streams, and only if it asked for it: the status is then
  // settled as 200.
  void write_waiting(const api::Waiting& waiting);
  // One of these ends the reply; what is called after it does nothing.
  void finish(const api::ReplyEnd& end);
  void finish_with(std::string object);  // a reply without a generation
  void fail(const Error& error, int retry_after_seconds = 1);
  bool is_openai() const;

 private:
  std::string encode_waiting(const api::Waiting& waiting);
  std::string encode_chunk(const api::ReplyPiece& piece);
  std::string encode_end(const api::ReplyEnd& end);
  std::string encode_whole(const api::ReplyEnd& end);
  bool write(std::string text);

  std::shared_ptr<Exchange> exchange_;
  Dialect dialect_;
  bool stream_;
  api::openai::ReplyHead head_;  // also the model's name for the other dialect
  bool wants_queue_events_;
  bool is_begun_ = false;
  bool is_over_ = false;
  bool is_first_ = true;
  api::ReplyPiece whole_;  // when not streaming
};

}  // namespace sluice::server
