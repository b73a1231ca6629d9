#include "text/prompt_text.h"

#include <algorithm>

namespace sluice::text {

size_t PromptText::stretch_at(size_t position) const {
  const auto found =
      std::upper_bound(stretches_.begin(), stretches_.end(), position,
                       [](size_t wanted, const Stretch& stretch) { return wanted < stretch.end; });
  return static_cast<size_t>(found - stretches_.begin());
}

size_t PromptText::trusted_end(size_t position) const {
  if (origin_ == Origin::kTemplate) return text_.size();
  if (origin_ == Origin::kOutside) return position;
  const size_t i = stretch_at(position);
  return i < stretches_.size() && stretches_[i].begin <= position ? stretches_[i].end : position;
}

void PromptText::append(std::string_view text, bool is_trusted) {
  if (text.empty()) return;
  const Origin origin = is_trusted ? Origin::kTemplate : Origin::kOutside;
  const size_t begin = text_.size();
  if (begin == 0) {
    origin_ = origin;
  } else if (origin_ != origin) {
    if (origin_ == Origin::kTemplate) stretches_ = {{0, begin}};
    origin_ = Origin::kMixed;
    if (is_trusted) {
      if (!stretches_.empty() && stretches_.back().end == begin) {
        stretches_.back().end += text.size();
      } else {
        stretches_.push_back({begin, begin + text.size()});
      }
    }
  }
  text_ += text;
}

void PromptText::append(const PromptText& other, size_t begin, size_t size) {
  const std::string_view part = std::string_view(other.text_).substr(begin, size);
  if (other.origin_ != Origin::kMixed) {
    append(part, other.origin_ == Origin::kTemplate);
    return;
  }
  const size_t end = begin + part.size();
  const auto piece = [&](size_t from, size_t to) {
    return std::string_view(other.text_).substr(from, to - from);
  };
  for (size_t i = other.stretch_at(begin); i < other.stretches_.size(); ++i) {
    const Stretch& stretch = other.stretches_[i];
    if (stretch.begin >= end) break;
    const size_t from = std::max(stretch.begin, begin);
    append(piece(begin, from), false);
    begin = std::min(stretch.end, end);
    append(piece(from, begin), true);
  }
  append(piece(begin, end), false);
}

PromptText PromptText::substr(size_t begin, size_t size) const {
  PromptText result;
  result.append(*this, begin, size);
  return result;
}

}  // namespace sluice::text
