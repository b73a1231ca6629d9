#pragma once

#include <string>
#include <vector>

#include "api/dialect.h"
#include "api/json_writer.h"

namespace sluice::api::ollama {

// What chat and generate share: a stream of lines, each an object that begins with the model's name
// and the time (application/x-ndjson). The order of fields and their presence are Ollama's: the
// text and `done` always, metrics of zero never. `sluice` is our own addition.
class OllamaDialect : public Dialect {
 public:
  explicit OllamaDialect(const Stamp& stamp) : now_(stamp.now) {}

  GenerationRequest parse(std::string_view body, Work& work) override;
  std::string_view content_type() const override { return "application/x-ndjson"; }
  std::string first(int) override { return {}; }
  std::string piece(const ReplyPiece& piece) override;
  // An empty piece with "status":"queued","queue_position","estimated_wait" (seconds), or
  // "status":"loading","progress" (0 to 1): clients that do not know these see an empty piece.
  std::string waiting(const Waiting& waiting) override;
  std::string end(const ReplyEnd& end) override;
  std::string stream_error(int status, std::string_view message) override;
  std::string whole(std::span<const Choice> choices) override;
  std::string loaded(std::string_view reason, std::chrono::nanoseconds load) override;
  std::string rendered(const std::string& prompt) override;

 protected:
  // Takes the fields that only this request has.
  virtual void take_fields(Json& body, GenerationRequest& request) const = 0;
  // Puts a piece's text where the dialect has it.
  virtual void put_piece(JsonObject& json, const ReplyPiece& piece) const = 0;
  // What else the last object has, behind its reason.
  virtual void put_end(JsonObject&, const Choice&) const {}

 private:
  GenerationRequest take_shared_fields(Json& body);
  JsonObject head(const ReplyPiece& piece) const;
  std::string last(const Choice& choice) const;

  TimePoint (*now_)();
  std::string model_;
};

// `images` of a message or a prompt, moved out: base64, checked.
std::vector<std::string> parse_images(Json& object);
std::string tool_calls_json(const std::vector<ToolCall>& calls);

}  // namespace sluice::api::ollama
