#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::text {

// Text that knows which of its bytes are the template's own. Only those may spell control tokens:
// what a template inserts from messages, tools and documents is text, whatever it looks like.
class PromptText {
 public:
  PromptText() = default;
  PromptText(std::string text, bool is_trusted)
      : text_(std::move(text)), origin_(is_trusted ? Origin::kTemplate : Origin::kOutside) {}

  const std::string& text() const { return text_; }
  std::string take_text() && { return std::move(text_); }
  size_t size() const { return text_.size(); }
  bool empty() const { return text_.empty(); }
  // Whether every byte, or no byte, is the template's own. An empty text is both.
  bool is_trusted() const { return text_.empty() || origin_ == Origin::kTemplate; }
  bool is_untrusted() const { return text_.empty() || origin_ == Origin::kOutside; }
  // End of the template's own bytes from `position` on; `position` when that one is not its own.
  size_t trusted_end(size_t position) const;
  // Memory beyond the text's own.
  size_t extra_bytes() const { return stretches_.size() * sizeof(Stretch); }

  void append(std::string_view text, bool is_trusted);
  void append(const PromptText& other) { append(other, 0, other.size()); }
  // Appends the bytes of `other` from `begin` on.
  void append(const PromptText& other, size_t begin, size_t size);
  PromptText substr(size_t begin, size_t size = std::string::npos) const;

 private:
  enum class Origin : uint8_t { kOutside, kTemplate, kMixed };
  struct Stretch {
    size_t begin;
    size_t end;
  };

  // The first stretch that ends behind `position`.
  size_t stretch_at(size_t position) const;

  std::string text_;
  Origin origin_ = Origin::kOutside;
  std::vector<Stretch> stretches_;  // kMixed: the template's own; ascending, with gaps
};

}  // namespace sluice::text
