#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/reply_parser.h"

namespace sluice::text::reply {

// Appends a part to `parts`; what goes on in the last one becomes a part of it. Frames are left
// out.
void add_part(ReplyPart::Kind kind, std::string_view text, std::vector<ReplyPart>& parts);
void add_call(CalledTool call, std::string_view text, std::vector<ReplyPart>& parts);

// The control token in its frame at the beginning of a text, without the frame; "" when there is
// none, or not all of it.
inline constexpr size_t kMaxControlBytes = 1024;
std::string_view control_at_front(std::string_view text);

// gpt-oss's replies: messages
//   <|start|>assistant<|channel|>CHANNEL to=RECIPIENT <|constrain|>json<|message|>TEXT<|end|>
// of which the prompt ends within the first one's header. The channel "analysis" is thinking;
// a recipient is a tool, called with the text; the rest is text.
class HarmonyReader {
 public:
  HarmonyReader(bool takes_calls, std::string_view prompt);

  void push(std::string_view text, std::vector<ReplyPart>& parts);
  void finish(std::vector<ReplyPart>& parts);
  size_t num_held_bytes() const { return held_.size(); }
  bool is_thinking() const { return phase_ == Phase::kBody && body_ == Body::kThinking; }

 private:
  enum class Phase { kHeader, kBody, kBehind };
  enum class Body { kText, kThinking, kCall };

  bool step(std::vector<ReplyPart>& parts);
  bool read_header(std::vector<ReplyPart>& parts);
  bool read_body(std::vector<ReplyPart>& parts);
  bool read_call(std::vector<ReplyPart>& parts);
  bool read_behind(std::vector<ReplyPart>& parts);
  void begin_body(std::string_view header);
  bool end_call(std::string_view source, std::string_view arguments, std::vector<ReplyPart>& parts);
  void take(ReplyPart::Kind kind, size_t size, std::vector<ReplyPart>& parts);
  void fail(size_t size, std::vector<ReplyPart>& parts);

  bool takes_calls_;
  Phase phase_ = Phase::kHeader;
  Body body_ = Body::kText;
  std::string header_;      // what the prompt has of it
  std::string recipient_;   // of a call
  std::string held_;        // of a call: with its header
  size_t header_size_ = 0;  // of a call
  size_t looked_at_ = 0;    // of a call: no frame in what comes before
};

}  // namespace sluice::text::reply
