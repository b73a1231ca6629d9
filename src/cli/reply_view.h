#pragma once

#include <string>

#include "api/json.h"
#include "cli/server_link.h"

namespace sluice::cli {

struct ReplyViewOptions {
  bool verbose = false;    // timings afterwards, on standard error
  bool word_wrap = false;  // at the terminal's width
  bool hide_thinking = false;
};

// What came of one streamed reply.
struct ShownReply {
  std::string content, thinking;
  api::Json last;  // the final object; null when the reply was interrupted
  bool was_interrupted = false;
};

// Sends `body` to /api/chat or /api/generate and prints the reply as it comes; Ctrl-C ends it.
// Throws Error.
ShownReply show_reply(ServerLink& link, const std::string& target, const api::Json& body,
                      const ReplyViewOptions& options);

// The lines that --verbose prints, in Ollama's form.
std::string timing_text(const api::Json& final_object);

// Reads "key=value" or its two parts into `options` with the type that the value looks like; `stop`
// becomes a list and may be given again. Throws Error(kInvalidArgument), also for a name that is no
// option.
void set_option(api::Json& options, const std::string& key, const std::string& value);

}  // namespace sluice::cli
