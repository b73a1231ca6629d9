#include "cli/word_wrapper.h"

#include <algorithm>

#include "base/print.h"

namespace sluice::cli {

std::string WordWrapper::push(std::string_view text) {
  const int asked = width_();
  if (asked <= 0) return std::string(text);
  // The last column stays free: a cursor behind it stands in no column that could be counted from.
  const size_t width = static_cast<size_t>(std::max(asked - 1, 2));
  std::string out;
  while (!text.empty()) {
    const Character character = next_character(text);
    put(text.substr(0, character.size), static_cast<size_t>(character.width), width, out);
    text.remove_prefix(character.size);
  }
  return out;
}

void WordWrapper::put(std::string_view character, size_t columns, size_t width, std::string& out) {
  const auto begin_word = [this] {
    word_.clear();
    word_width_ = 0;
  };
  if (character == "\n") {
    out += '\n';
    column_ = 0;
    return begin_word();
  }
  if (character == "\t") columns = 8 - column_ % 8;
  const bool is_space = character == " " || character == "\t";
  if (column_ + columns > width) {
    // A word that is alone on its line is broken where the line ends.
    const bool is_moved = !is_space && word_width_ > 0 && word_width_ < column_;
    if (is_moved) out += "\x1b[" + std::to_string(word_width_) + "D\x1b[K";
    out += '\n';
    column_ = 0;
    if (is_moved) {
      out += word_;
      column_ = word_width_;
    } else {
      begin_word();
    }
    if (is_space) return;
  }
  out += character;
  column_ += columns;
  if (is_space || columns > 1) return begin_word();
  word_ += character;
  word_width_ += columns;
}

}  // namespace sluice::cli
