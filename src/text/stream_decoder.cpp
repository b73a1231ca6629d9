#include "text/stream_decoder.h"

#include <algorithm>
#include <utility>

#include "text/unicode.h"

namespace sluice::text {

void Utf8Repairer::push(std::string_view bytes, std::string& out) {
  if (pending_.empty() && is_utf8(bytes)) {
    out += bytes;
    return;
  }
  pending_ += bytes;
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const Utf8Step step = utf8_step(rest);
    if (step.is_incomplete) break;
    out += step.is_valid ? rest.substr(0, step.size) : kReplacement;
    rest.remove_prefix(step.size);
  }
  pending_.erase(0, pending_.size() - rest.size());
}

void Utf8Repairer::flush(std::string& out) {
  if (!pending_.empty()) out += kReplacement;
  pending_.clear();
}

std::string StreamDecoder::push(TokenId id) {
  std::string text;
  repairer_.push(tokenizer_->token_bytes(id), text);
  return text;
}

std::string StreamDecoder::flush() {
  std::string text;
  repairer_.flush(text);
  return text;
}

StopMatcher::StopMatcher(std::vector<std::string> stops) {
  for (std::string& text : stops) {
    Stop stop;
    stop.failure.assign(text.size() + 1, 0);
    for (size_t i = 1, length = 0; i < text.size(); ++i) {
      while (length > 0 && text[i] != text[length]) length = stop.failure[length];
      if (text[i] == text[length]) ++length;
      stop.failure[i + 1] = length;
    }
    stop.text = std::move(text);
    stops_.push_back(std::move(stop));
  }
}

void StopMatcher::advance(Stop& stop, char byte) const {
  if (stop.text.empty()) return;
  while (stop.matched > 0 && stop.text[stop.matched] != byte) {
    stop.matched = stop.failure[stop.matched];
  }
  if (stop.text[stop.matched] == byte) ++stop.matched;
}

StopMatcher::Result StopMatcher::push(std::string_view piece) {
  if (hit_) return {"", hit_};
  for (size_t i = 0; i < piece.size(); ++i) {
    size_t longest = 0;
    for (size_t s = 0; s < stops_.size(); ++s) {
      Stop& stop = stops_[s];
      advance(stop, piece[i]);
      if (!stop.text.empty() && stop.matched == stop.text.size() && stop.matched > longest) {
        longest = stop.matched;
        hit_ = s;
      }
    }
    if (hit_) {
      held_ += piece.substr(0, i + 1);
      held_.resize(held_.size() - longest);
      return {std::exchange(held_, ""), hit_};
    }
  }
  size_t keep = 0;
  for (const Stop& stop : stops_) keep = std::max(keep, stop.matched);
  held_ += piece;
  Result result;
  result.text = held_.substr(0, held_.size() - keep);
  held_.erase(0, result.text.size());
  return result;
}

std::string StopMatcher::flush() {
  for (Stop& stop : stops_) stop.matched = 0;
  return std::exchange(held_, "");
}

}  // namespace sluice::text
