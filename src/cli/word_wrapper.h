#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace sluice::cli {

// Text that comes in pieces, shown at once and broken between words at the terminal's width: a word
// that turns out too long for its line is taken back and written on the next one. Lines also break
// beside wide characters, as Chinese and Japanese are written without spaces.
class WordWrapper {
 public:
  // `width` is asked for with every piece, as a window changes its size; 0: no breaking.
  explicit WordWrapper(std::function<int()> width) : width_(std::move(width)) {}

  // What to write to the terminal for the next piece.
  std::string push(std::string_view text);

 private:
  void put(std::string_view character, size_t columns, size_t width, std::string& out);

  std::function<int()> width_;
  size_t column_ = 0;      // of the cursor
  std::string word_;       // on the line so far, without a place to break in it
  size_t word_width_ = 0;  // columns
};

}  // namespace sluice::cli
