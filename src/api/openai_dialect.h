#pragma once

#include <string>
#include <string_view>

#include "api/dialect.h"
#include "api/json.h"

namespace sluice::api::openai {

// What both kinds of completion share: server-sent events ("data: {...}\n\n") whose objects have
// one id and time, and [DONE] behind the last.
class OpenAiDialect : public Dialect {
 public:
  std::string_view content_type() const override { return "text/event-stream"; }
  std::string first(int) override { return {}; }
  std::string piece(const ReplyPiece& piece) override = 0;
  // A comment, which clients skip: ": queue position 3, about 1.2 s\n\n" or ": loading 42%\n\n".
  std::string waiting(const Waiting& waiting) override;
  // After the last one the usage, if it was asked for, and [DONE].
  std::string end(const ReplyEnd& end) override;
  std::string stream_error(int status, std::string_view message) override;
  std::string whole(std::span<const Choice> choices) override;
  std::string error_body(int status, std::string_view message) const override;

 protected:
  // `object`: of a whole reply; `chunk_object`: of an event.
  OpenAiDialect(const Stamp& stamp, std::string_view id_prefix, const char* object,
                const char* chunk_object);

  // The fields that both requests have. temperature and top_p are 1 unless given;
  // max_completion_tokens counts before max_tokens.
  GenerationRequest parse_shared(const Json& body);

  // The item of `choices` for a whole reply, and for the event that ends one in a stream.
  virtual Json choice_json(const Choice& choice) const = 0;
  virtual Json last_choice_json(const ReplyEnd& end) const = 0;

  // An event with one choice.
  std::string event(Json choice) const;

 private:
  Json head(const char* object) const;
  std::string event_of(const Json& json) const;

  const char* object_;
  const char* chunk_object_;
  std::string id_;
  int64_t created_unix_;
  std::string model_;
  bool include_usage_ = false;
  ReplyEnd sum_;  // of the replies that have ended: what usage tells
  int num_open_ = 1;
};

// "stop", "length", "tool_calls".
std::string_view finish_reason(engine::FinishReason reason, bool has_tool_calls);

}  // namespace sluice::api::openai
