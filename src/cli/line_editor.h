#pragma once

#include <memory>
#include <optional>
#include <string>

namespace sluice::cli {

// Lines from a person at the terminal, with editing and a history that is kept in a file. What is
// pasted is one line however many it has: a line break shows as the symbol U+240A while it is
// edited, and is a newline in what comes out.
class LineEditor {
 public:
  // `history_path` "": nothing is kept on disk. A file that cannot be read or written is no error.
  explicit LineEditor(const std::string& history_path);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  enum class End { kLine, kInterrupt, kEndOfInput };
  struct Result {
    End end = End::kLine;
    std::string line;  // without the newline that ended it
  };
  // kInterrupt: Ctrl-C, what was typed is dropped. kEndOfInput: Ctrl-D on an empty line.
  // `typed` stands in the line from the start, as if it had just been typed.
  Result read_line(const std::string& prompt, const std::string& typed = "");

  void add_to_history(const std::string& text);
  void set_history_enabled(bool enabled);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice::cli
