#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "api/reply.h"
#include "engine/engine.h"
#include "server/reply_reader.h"

namespace sluice::server {

// One of a request's replies on its way through the engine: to one of its prompts, of which each
// has as many as the request wants choices.
struct RunningChoice {
  using Clock = std::chrono::steady_clock;

  int num_dropped_tokens = 0;
  int num_prompt_tokens = 0;
  bool shares_prompt = false;   // with the choice before
  int num_output_tokens = 0;    // so far
  int num_thinking_tokens = 0;  // of these
  engine::QueuePlace place;     // when it came
  bool wants_context = false;
  std::vector<text::TokenId> context_ids;  // of prompt and reply, if they are wanted
  std::optional<ReplyReader> reader;       // none: the text is the reply
  const std::string* echo = nullptr;       // what it still has to begin with
  bool may_call_once = false;
  bool is_cut = false;                         // it has the one call that it may have
  std::optional<Clock::time_point> submitted;  // to the engine
  Clock::time_point first_token, last_token;   // when they came, as soon as there are tokens
  bool is_over = false;

  // What an event is to the client; nothing once it is cut. With the final event also what was held
  // back.
  std::vector<api::ReplyPiece> read(const engine::Event& event,
                                    std::vector<api::ReplyLogprob> logprobs);
  // Its end with a final event; what the request as a whole knows is left to fill in.
  api::ReplyEnd end(const engine::Event& event);
  // The final event of one of which the engine has not said the last word: what came by now, and
  // what `status` has (null: it is not known to the engine any more).
  engine::Event cancelled(const engine::RequestStatus* status) const;

 private:
  std::vector<api::ReplyPiece> parts_of(const engine::Event& event);
};

}  // namespace sluice::server
