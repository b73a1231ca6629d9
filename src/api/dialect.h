#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "api/error.h"
#include "api/reply.h"
#include "api/request.h"

namespace sluice::api {

using TimePoint = std::chrono::system_clock::time_point;

// What a reply bears that neither the request nor the engine says.
struct Stamp {
  std::string id;  // 24 hexadecimal digits
  TimePoint (*now)() = &std::chrono::system_clock::now;
};
// With a random id: that of a server does not tell how many it has answered.
Stamp fresh_stamp();

// One reply as a whole.
struct Choice {
  ReplyPiece piece;
  ReplyEnd end;
};

// How a chat or a completion is asked for and answered on the wire. One object serves one request:
// parse() comes first and remembers what replies repeat. Knows no sockets; used by one thread at a
// time. A new dialect is one file with a class, and a line in the server's table of routes.
//
// A streamed reply is first(), piece() ..., end() for each of its choices, with waiting() before
// and between them; after stream_error() nothing follows. What they give goes out as it is.
class Dialect {
 public:
  virtual ~Dialect() = default;

  // Throws Error(kInvalidArgument) for a body that is wrong, kUnsupported for what we do not do,
  // and what Work::charge() throws.
  virtual GenerationRequest parse(std::string_view body, Work& work) = 0;

  // Of a stream; everything else is a JSON object.
  virtual std::string_view content_type() const = 0;
  // What stands before the first piece or end; may be empty, as may waiting().
  virtual std::string first(int num_prompt_tokens) = 0;
  virtual std::string piece(const ReplyPiece& piece) = 0;
  virtual std::string waiting(const Waiting& waiting) = 0;
  virtual std::string end(const ReplyEnd& end) = 0;
  virtual std::string stream_error(int status, std::string_view message) = 0;

  // A reply in one, with an item for each choice in their order.
  virtual std::string whole(std::span<const Choice> choices) = 0;

  // Replies without a generation. Only dialects whose parse() can give is_load_only,
  // debug_render_only or is_count_only have them. `reason`: "load" or "unload"; `load`: how long it
  // took.
  virtual std::string loaded(std::string_view reason, std::chrono::nanoseconds load);
  virtual std::string rendered(const std::string& prompt);
  virtual std::string counted(int num_prompt_tokens);
};

using MakeDialect = std::unique_ptr<Dialect> (*)(const Stamp& stamp);

}  // namespace sluice::api
