#include "text/reply_parser/harmony.h"

#include <algorithm>

#include "text/reply_parser/call_reader.h"
#include "text/reply_parser/json_scanner.h"

namespace sluice::text::reply {
namespace {

constexpr size_t kMaxHeaderBytes = 512;
bool ends_body(std::string_view control) {
  return control == "<|end|>" || control == "<|call|>" || control == "<|return|>" ||
         control == "<|start|>";
}

// The word behind `before` in a header.
std::string_view word_behind(std::string_view header, std::string_view before) {
  const size_t found = header.find(before);
  if (found == std::string_view::npos) return {};
  header.remove_prefix(found + before.size());
  const size_t end = header.find_first_of(" \n\t\xFF<");
  return header.substr(0, end);
}

}  // namespace

std::string_view control_at_front(std::string_view text) {
  if (!text.starts_with(kControlFrame)) return {};
  const size_t end = text.substr(0, kMaxControlBytes + 1).find(kControlFrame, 1);
  return end == std::string_view::npos ? std::string_view() : text.substr(1, end - 1);
}

void add_part(ReplyPart::Kind kind, std::string_view text, std::vector<ReplyPart>& parts) {
  if (text.empty()) return;
  const bool goes_on =
      !parts.empty() && parts.back().kind == kind && kind != ReplyPart::Kind::kCall;
  if (!goes_on) parts.push_back({kind, {}, {}});
  std::string& out = parts.back().text;
  for (const char byte : text) {
    if (byte != kControlFrame) out += byte;
  }
}

void add_call(CalledTool call, std::string_view text, std::vector<ReplyPart>& parts) {
  add_part(ReplyPart::Kind::kCall, text, parts);
  parts.back().call = std::move(call);
}

HarmonyReader::HarmonyReader(bool takes_calls, std::string_view prompt)
    : takes_calls_(takes_calls) {
  constexpr std::string_view kStart = "<|start|>assistant", kMessage = "<|message|>";
  const size_t start = prompt.rfind(kStart);
  if (start == std::string_view::npos) return;
  const std::string_view header = prompt.substr(start + kStart.size());
  const size_t message = header.find(kMessage);
  if (message == std::string_view::npos) {
    header_ = header.substr(0, kMaxHeaderBytes);
    return;
  }
  begin_body(header.substr(0, message));
  if (body_ == Body::kCall) body_ = Body::kText;  // nobody knows how it began
}

void HarmonyReader::begin_body(std::string_view header) {
  const std::string_view recipient = word_behind(header, "to=");
  std::string_view channel = word_behind(header, "<|channel|>\xFF");
  if (channel.empty()) channel = word_behind(header, "<|channel|>");
  phase_ = Phase::kBody;
  looked_at_ = 0;
  if (takes_calls_ && !recipient.empty()) {
    constexpr std::string_view kPrefix = "functions.";
    body_ = Body::kCall;
    recipient_ = recipient.substr(recipient.starts_with(kPrefix) ? kPrefix.size() : 0);
    return;
  }
  body_ = channel == "analysis" ? Body::kThinking : Body::kText;
}

void HarmonyReader::push(std::string_view text, std::vector<ReplyPart>& parts) {
  held_ += text;
  while (step(parts)) {
  }
}

void HarmonyReader::finish(std::vector<ReplyPart>& parts) {
  if (phase_ == Phase::kBody && body_ == Body::kCall) {
    const std::string_view held = held_;
    if (end_call(held, held.substr(header_size_), parts)) held_.clear();
  }
  const bool is_nothing = phase_ == Phase::kBehind && count_white(held_) == held_.size();
  const auto kind = is_nothing      ? ReplyPart::Kind::kMarkup
                    : is_thinking() ? ReplyPart::Kind::kThinking
                                    : ReplyPart::Kind::kText;
  take(kind, held_.size(), parts);
}

void HarmonyReader::take(ReplyPart::Kind kind, size_t size, std::vector<ReplyPart>& parts) {
  add_part(kind, std::string_view(held_).substr(0, size), parts);
  held_.erase(0, size);
}

// What looked like a header or a call is text.
void HarmonyReader::fail(size_t size, std::vector<ReplyPart>& parts) {
  take(ReplyPart::Kind::kText, size, parts);
  phase_ = Phase::kBody;
  body_ = Body::kText;
}

bool HarmonyReader::step(std::vector<ReplyPart>& parts) {
  if (held_.empty()) return false;
  switch (phase_) {
    case Phase::kHeader:
      return read_header(parts);
    case Phase::kBody:
      return body_ == Body::kCall ? read_call(parts) : read_body(parts);
    case Phase::kBehind:
      return read_behind(parts);
  }
  return false;
}

// Up to "<|message|>". A reply that begins with anything else has no header.
bool HarmonyReader::read_header(std::vector<ReplyPart>& parts) {
  const std::string_view held = held_;
  const size_t size = count_white(held);
  if (size == held.size() && size <= kMaxHeaderBytes) return false;
  bool may_be_header = size <= kMaxHeaderBytes && held[size] == kControlFrame;
  for (const std::string_view word : {"assistant", "to="}) {
    const bool is_word = size <= kMaxHeaderBytes && match(held.substr(size), word) != Match::kNo;
    may_be_header = may_be_header || is_word;
  }
  if (!may_be_header) {
    fail(0, parts);
    return true;
  }
  for (size_t at = held.find(kControlFrame); at <= kMaxHeaderBytes;) {
    const std::string_view control = control_at_front(held.substr(at));
    if (control.empty()) {
      if (held.size() - at <= kMaxControlBytes) return false;
      break;
    }
    const size_t end = at + control.size() + 2;
    if (control == "<|message|>") {
      header_size_ = end;
      begin_body(header_ + std::string(held.substr(0, at)));
      header_.clear();
      if (body_ != Body::kCall) take(ReplyPart::Kind::kMarkup, end, parts);
      return true;
    }
    if (ends_body(control)) {
      fail(at, parts);
      return true;
    }
    at = held.find(kControlFrame, end);
    if (at == std::string_view::npos && held.size() <= kMaxHeaderBytes) return false;
  }
  if (held.find(kControlFrame) == std::string_view::npos && held.size() <= kMaxHeaderBytes) {
    return false;
  }
  fail(0, parts);
  return true;
}

bool HarmonyReader::read_body(std::vector<ReplyPart>& parts) {
  const auto kind = body_ == Body::kThinking ? ReplyPart::Kind::kThinking : ReplyPart::Kind::kText;
  take(kind, std::min(held_.find(kControlFrame), held_.size()), parts);
  if (held_.empty()) return false;
  const std::string control(control_at_front(held_));
  if (control.empty()) {
    if (held_.size() <= kMaxControlBytes) return false;
    take(kind, 1, parts);  // it is none
    return true;
  }
  take(ReplyPart::Kind::kMarkup, control.size() + 2, parts);
  if (ends_body(control)) phase_ = control == "<|start|>" ? Phase::kHeader : Phase::kBehind;
  return true;
}

bool HarmonyReader::read_call(std::vector<ReplyPart>& parts) {
  const std::string_view held = held_;
  const size_t end = held.find(kControlFrame, std::max(header_size_, looked_at_));
  looked_at_ = std::min(end, held.size());
  if (looked_at_ > ReplyParser::kMaxCallBytes) {
    fail(ReplyParser::kMaxCallBytes, parts);
    return true;
  }
  if (end == std::string_view::npos) return false;
  const std::string control(control_at_front(held.substr(end)));
  if (control.empty() && held.size() - end <= kMaxControlBytes) return false;
  const std::string_view arguments = held.substr(header_size_, end - header_size_);
  if (!ends_body(control) || !end_call(held.substr(0, end), arguments, parts)) {
    fail(end, parts);
    return true;
  }
  held_.erase(0, end);
  body_ = Body::kText;  // which its end follows
  return true;
}

bool HarmonyReader::end_call(std::string_view source, std::string_view arguments,
                             std::vector<ReplyPart>& parts) {
  const bool is_empty = count_white(arguments) == arguments.size();
  if (!is_empty && !read_json_members(arguments)) return false;
  add_call({recipient_, is_empty ? "{}" : std::string(arguments), {}}, source, parts);
  return true;
}

// Another message may follow.
bool HarmonyReader::read_behind(std::vector<ReplyPart>& parts) {
  const std::string_view held = held_;
  const size_t white = count_white(held);
  if (white == held.size() && white <= kMaxHeaderBytes) return false;
  const std::string_view rest = held.substr(white);
  if (rest.starts_with(kControlFrame) && white <= kMaxHeaderBytes) {
    const std::string control(control_at_front(rest));
    if (control.empty() && rest.size() <= kMaxControlBytes) return false;
    if (!control.empty()) {
      take(ReplyPart::Kind::kMarkup, white + control.size() + 2, parts);
      if (control == "<|start|>") phase_ = Phase::kHeader;
      return true;
    }
  }
  fail(0, parts);
  return true;
}

}  // namespace sluice::text::reply
