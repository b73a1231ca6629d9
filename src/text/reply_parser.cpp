#include "text/reply_parser.h"

#include <algorithm>
#include <optional>

#include "text/reply_parser/call_reader.h"
#include "text/reply_parser/harmony.h"

namespace sluice::text {
namespace {

using reply::CallReader;
using reply::Match;
using Kind = ReplyPart::Kind;

constexpr size_t kMaxHeldWhite = 1024;

// A control token in its frame at the beginning of a text.
struct Control {
  size_t size = 0;  // 0: none
  bool may_come = false;
};

Control control_at(std::string_view text, bool is_end) {
  if (text[0] != kControlFrame) return {};
  const std::string_view name = reply::control_at_front(text);
  if (!name.empty()) return {name.size() + 2, false};
  return {0, !is_end && text.size() <= reply::kMaxControlBytes};
}

}  // namespace

struct ReplyParser::State {
  // What becomes of white space before the next text.
  enum class White {
    kKept,
    kHeld,     // at the beginning: not before thinking or a call
    kBetween,  // behind a call: not before another one, nor at the end
    kDropped,  // beside thinking
  };
  enum class Phase { kText, kThinking, kCalls };

  State(const ReplyFormat& reply_format, const ReplyContext& context)
      : format(reply_format), tools(context.tools) {
    if (format.is_harmony) {
      harmony.emplace(!tools.empty(), context.prompt);
    } else if (begins_with_thinking(format, context.prompt)) {
      phase = Phase::kThinking;
      white = White::kDropped;
      is_begin = false;
    }
  }

  bool takes_calls() const { return !tools.empty() && !format.calls.is_none(); }

  std::string_view rest() const { return std::string_view(buffer).substr(num_taken); }
  void take(Kind kind, size_t size, std::vector<ReplyPart>& parts) {
    reply::add_part(kind, rest().substr(0, size), parts);
    num_taken += size;
  }
  void run(bool is_end, std::vector<ReplyPart>& parts) {
    while (step(is_end, parts)) {
    }
    buffer.erase(0, num_taken);
    num_taken = 0;
  }

  // Takes something from the buffer; false when more must come first. `is_end`: none will.
  bool step(bool is_end, std::vector<ReplyPart>& parts);
  bool read_white(bool is_end, std::vector<ReplyPart>& parts);
  bool read_text(bool is_end, std::vector<ReplyPart>& parts);
  bool read_thinking(bool is_end, std::vector<ReplyPart>& parts);
  bool read_calls(bool is_end, std::vector<ReplyPart>& parts);
  Match match_open(std::string_view text, bool is_end, size_t& size) const;
  void begin_calls(size_t open_size, bool is_bare);

  const ReplyFormat& format;
  const std::vector<KnownTool> tools;
  std::optional<reply::HarmonyReader> harmony;
  std::optional<CallReader> calls;
  std::string buffer;
  size_t num_taken = 0;  // of the buffer
  Phase phase = Phase::kText;
  White white = White::kHeld;
  bool is_begin = true;     // thinking may begin here
  bool may_be_bare = true;  // a call without a marker may
};

bool ReplyParser::State::step(bool is_end, std::vector<ReplyPart>& parts) {
  if (rest().empty()) return false;
  if (phase == Phase::kCalls) return read_calls(is_end, parts);
  if (phase == Phase::kText && white == White::kKept) return read_text(is_end, parts);
  return phase == Phase::kThinking ? read_thinking(is_end, parts) : read_white(is_end, parts);
}

// Whether calls are opened at the beginning of `text`, by a marker of this size.
Match ReplyParser::State::match_open(std::string_view text, bool is_end, size_t& size) const {
  if (!takes_calls()) return Match::kNo;
  Match best = Match::kNo;
  for (const std::string& open : format.calls.opens) {
    const Match found = reply::match(text, open);
    if (found == Match::kYes) {
      // Where calls begin as the block does, the reader takes both.
      size = open == format.calls.call_begin ? 0 : open.size();
      return Match::kYes;
    }
    if (found == Match::kPartly && !is_end) best = Match::kPartly;
  }
  return best;
}

void ReplyParser::State::begin_calls(size_t open_size, bool is_bare) {
  calls.emplace(format.calls, tools, open_size, is_bare);
  phase = Phase::kCalls;
  is_begin = may_be_bare = false;
}

bool ReplyParser::State::read_white(bool is_end, std::vector<ReplyPart>& parts) {
  size_t size = reply::count_white(rest());
  if (white == White::kDropped && size > 0) {
    take(Kind::kMarkup, size, parts);
    return true;
  }
  const std::string_view text = rest().substr(size);
  if (size > kMaxHeldWhite || (text.empty() && is_end && white == White::kHeld)) {
    white = White::kKept;
    return true;
  }
  if (text.empty()) {
    if (is_end) take(Kind::kMarkup, size, parts);
    return false;
  }
  if (is_begin) {
    const Match found = reply::match(text, format.think_open);
    if (found == Match::kPartly && !is_end) return false;
    if (found == Match::kYes) {
      take(Kind::kMarkup, size + format.think_open.size(), parts);
      phase = Phase::kThinking;
      white = White::kDropped;
      is_begin = false;
      return true;
    }
  }
  size_t open_size = 0;
  const Match open = match_open(text, is_end, open_size);
  if (open == Match::kPartly) return false;
  const bool is_bare = takes_calls() && format.calls.may_be_bare && may_be_bare &&
                       (text[0] == '{' || text[0] == '[');
  if (open == Match::kYes || is_bare) {
    begin_calls(size + open_size, open != Match::kYes);
    return true;
  }
  if (size == 0) {  // nothing has begun yet
    const Control control = control_at(text, is_end);
    if (control.may_come) return false;
    if (control.size > 0) {
      take(Kind::kMarkup, control.size, parts);
      return true;
    }
  }
  white = White::kKept;
  is_begin = may_be_bare = false;
  return true;
}

bool ReplyParser::State::read_text(bool is_end, std::vector<ReplyPart>& parts) {
  const std::string_view all = rest();
  for (size_t i = 0; i < all.size(); ++i) {
    size_t open_size = 0;
    const Match open = match_open(all.substr(i), is_end, open_size);
    const Control control = control_at(all.substr(i), is_end);
    if (open == Match::kNo && control.size == 0 && !control.may_come) continue;
    take(Kind::kText, i, parts);
    if (open == Match::kPartly || control.may_come) return false;
    if (open == Match::kYes) {
      begin_calls(open_size, false);
    } else {
      take(Kind::kMarkup, control.size, parts);
    }
    return true;
  }
  take(Kind::kText, all.size(), parts);
  return false;
}

bool ReplyParser::State::read_thinking(bool is_end, std::vector<ReplyPart>& parts) {
  const std::string_view all = rest();
  if (white == White::kDropped) {
    const size_t size = reply::count_white(all);
    if (size < all.size()) white = White::kKept;
    take(Kind::kMarkup, size, parts);
    return true;
  }
  size_t end = 0;  // of the thinking that is certain: white space before its end is none
  for (size_t i = 0; i < all.size(); ++i) {
    const Match close = reply::match(all.substr(i), format.think_close);
    if (close == Match::kYes) {
      take(Kind::kThinking, end, parts);
      take(Kind::kMarkup, i - end + format.think_close.size(), parts);
      phase = Phase::kText;
      white = White::kDropped;
      return true;
    }
    const Control control = control_at(all.substr(i), is_end);
    if (control.may_come || (close == Match::kPartly && !is_end)) {
      take(Kind::kThinking, end, parts);
      return false;
    }
    if (control.size > 0) {
      take(Kind::kThinking, i, parts);
      take(Kind::kMarkup, control.size, parts);
      return true;
    }
    if (!reply::is_white(all[i]) || i - end >= kMaxHeldWhite) end = i + 1;
  }
  take(Kind::kThinking, is_end ? all.size() : end, parts);
  return false;
}

bool ReplyParser::State::read_calls(bool is_end, std::vector<ReplyPart>& parts) {
  auto result = calls->read(rest());
  if (result == CallReader::Result::kMore) {
    if (!is_end && rest().size() <= kMaxCallBytes) return false;
    result = calls->finish(rest());
  }
  size_t size = calls->position();
  if (size > kMaxCallBytes) {
    size = kMaxCallBytes;
    result = CallReader::Result::kFailed;
  }
  if (result == CallReader::Result::kCall) {
    reply::add_call(calls->take_call(), rest().substr(0, size), parts);
    num_taken += size;
    return true;
  }
  const bool has_ended = result == CallReader::Result::kEnded;
  take(has_ended ? Kind::kMarkup : Kind::kText, size, parts);
  white = has_ended ? White::kBetween : White::kKept;
  phase = Phase::kText;
  calls.reset();
  return true;
}

ReplyParser::ReplyParser(const ReplyFormat& format, const ReplyContext& context)
    : state_(std::make_unique<State>(format, context)) {}
ReplyParser::~ReplyParser() = default;
ReplyParser::ReplyParser(ReplyParser&&) noexcept = default;

void ReplyParser::push(std::string_view text, std::vector<ReplyPart>& parts) {
  if (state_->harmony) return state_->harmony->push(text, parts);
  state_->buffer += text;
  state_->run(false, parts);
}

void ReplyParser::finish(std::vector<ReplyPart>& parts) {
  if (state_->harmony) return state_->harmony->finish(parts);
  state_->run(true, parts);
}

size_t ReplyParser::num_held_bytes() const {
  return state_->harmony ? state_->harmony->num_held_bytes() : state_->buffer.size();
}

bool ReplyParser::is_thinking() const {
  return state_->harmony ? state_->harmony->is_thinking()
                         : state_->phase == State::Phase::kThinking;
}

bool begins_with_thinking(const ReplyFormat& format, std::string_view prompt) {
  if (format.is_harmony || format.think_open.empty()) return false;
  std::string open = format.think_open;
  std::erase(open, kControlFrame);
  while (!prompt.empty() && reply::is_white(prompt.back())) prompt.remove_suffix(1);
  return prompt.ends_with(open);
}

}  // namespace sluice::text
