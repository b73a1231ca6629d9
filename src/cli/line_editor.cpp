#include "cli/line_editor.h"

#include <histedit.h>
#include <sys/stat.h>

#include <algorithm>
#include <clocale>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <vector>

namespace sluice::cli {
namespace {

constexpr int kMaxHistory = 1000;

}  // namespace

struct LineEditor::State {
  EditLine* editor = nullptr;
  History* history = nullptr;
  std::string prompt;
  std::string history_path;
  bool is_history_enabled = true;
  bool was_interrupted = false;

  static State& of(EditLine* editor) {
    void* state = nullptr;
    el_get(editor, EL_CLIENTDATA, &state);
    return *static_cast<State*>(state);
  }
  static char* get_prompt(EditLine* editor) { return of(editor).prompt.data(); }
  static unsigned char interrupt(EditLine* editor, int) {
    of(editor).was_interrupted = true;
    std::fputs("^C", stdout);
    return CC_NEWLINE;
  }
  void load_history();
  void append_to_file(const std::string& line) const;
};

void LineEditor::State::load_history() {
  std::ifstream file(history_path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty()) lines.push_back(std::move(line));
  }
  const size_t first = lines.size() > kMaxHistory ? lines.size() - kMaxHistory : 0;
  HistEvent event;
  for (size_t i = first; i < lines.size(); ++i) {
    ::history(history, &event, H_ENTER, lines[i].c_str());
  }
  if (first > kMaxHistory) {  // the file has grown long: keep what is used
    std::ofstream out(history_path, std::ios::trunc);
    for (size_t i = first; i < lines.size(); ++i) out << lines[i] << '\n';
  }
}

// Prompts are private: the file is the user's alone.
void LineEditor::State::append_to_file(const std::string& line) const {
  if (history_path.empty()) return;
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(history_path).parent_path(), ignored);
  const mode_t before = umask(0077);
  std::ofstream(history_path, std::ios::app) << line << '\n';
  umask(before);
}

LineEditor::LineEditor(const std::string& history_path) : state_(std::make_unique<State>()) {
  std::setlocale(LC_CTYPE, "");  // libedit counts columns by it
  if (MB_CUR_MAX == 1) std::setlocale(LC_CTYPE, "C.UTF-8");
  state_->history_path = history_path;
  state_->history = history_init();
  HistEvent event;
  history(state_->history, &event, H_SETSIZE, kMaxHistory);
  history(state_->history, &event, H_SETUNIQUE, 1);
  state_->editor = el_init("sluice", stdin, stdout, stderr);
  el_set(state_->editor, EL_CLIENTDATA, state_.get());
  el_set(state_->editor, EL_PROMPT, State::get_prompt);
  el_set(state_->editor, EL_EDITOR, "emacs");
  el_set(state_->editor, EL_HIST, ::history, state_->history);
  el_set(state_->editor, EL_ADDFN, "sluice-interrupt", "Drop the line", State::interrupt);
  el_set(state_->editor, EL_BIND, "^C", "sluice-interrupt", nullptr);
  el_set(state_->editor, EL_BIND, "^R", "em-inc-search-prev", nullptr);
  // While a line is edited Ctrl-C is a key, not a signal.
  el_set(state_->editor, EL_SETTY, "-d", "-isig", nullptr);
  if (!history_path.empty()) state_->load_history();
}

LineEditor::~LineEditor() {
  el_end(state_->editor);
  history_end(state_->history);
}

LineEditor::Result LineEditor::read_line(const std::string& prompt) {
  state_->prompt = prompt;
  state_->was_interrupted = false;
  int count = 0;
  const char* text = el_gets(state_->editor, &count);
  if (state_->was_interrupted) {
    std::fputs("\n", stdout);
    return {End::kInterrupt, ""};
  }
  if (text == nullptr || count <= 0) return {End::kEndOfInput, ""};
  std::string line(text, static_cast<size_t>(count));
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
  return {End::kLine, std::move(line)};
}

void LineEditor::add_to_history(const std::string& line) {
  if (!state_->is_history_enabled || line.empty()) return;
  HistEvent event;
  ::history(state_->history, &event, H_ENTER, line.c_str());
  state_->append_to_file(line);
}

void LineEditor::set_history_enabled(bool enabled) { state_->is_history_enabled = enabled; }

}  // namespace sluice::cli
