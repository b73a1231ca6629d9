#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/reply_format.h"

namespace sluice::text {

struct CalledTool {
  std::string name;
  std::string arguments;  // a JSON object as the model wrote it, its members in that order
  std::string id;         // "" when the model gave none
  bool operator==(const CalledTool&) const = default;
};

// What a reply is made of.
struct ReplyPart {
  enum class Kind {
    kText,
    kThinking,
    kCall,
    kMarkup,  // of no interest to anybody: markers, white space around them, control tokens
  };
  Kind kind = Kind::kText;
  std::string text;  // as it came, without the frames: all parts together are the whole reply
  CalledTool call;   // kCall
  bool operator==(const ReplyPart&) const = default;
};

// What a parser may know of a tool.
struct KnownTool {
  std::string name;
  // Parameters by name with what their schema says they are: where the family writes values as
  // plain text, those of a text are taken as they are, others as JSON if they are.
  std::vector<std::pair<std::string, bool>> parameters;  // true: a text
};

struct ReplyContext {
  std::vector<KnownTool> tools;  // none: what looks like a call is text
  std::string_view prompt;       // its end may have begun what the reply goes on with
};

// Takes a reply as it comes and gives its parts, the same whatever the pieces that it comes in.
// A call that is none (broken JSON, no name, never finished) comes through as text. Text is held
// back only while it may be a marker, or white space beside one; a call until it is complete, for
// kMaxCallBytes at most. Linear in the length. `format` must outlive it.
class ReplyParser {
 public:
  static constexpr size_t kMaxCallBytes = size_t{1} << 20;

  ReplyParser(const ReplyFormat& format, const ReplyContext& context);
  ~ReplyParser();
  ReplyParser(ReplyParser&&) noexcept;

  // `text`: UTF-8, with control tokens in frames. Appends to `parts`; a text may go on in the last.
  void push(std::string_view text, std::vector<ReplyPart>& parts);
  // The reply is over.
  void finish(std::vector<ReplyPart>& parts);

  size_t num_held_bytes() const;
  // What comes next is a thought, or its end.
  bool is_thinking() const;

  struct State;

 private:
  std::unique_ptr<State> state_;
};

// Whether a prompt ends where a reply of this format goes on with thinking.
bool begins_with_thinking(const ReplyFormat& format, std::string_view prompt);

}  // namespace sluice::text
