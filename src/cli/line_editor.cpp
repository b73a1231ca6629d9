#include "cli/line_editor.h"

#include <fcntl.h>
#include <histedit.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cwchar>
#include <filesystem>
#include <span>
#include <sstream>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/input_file.h"
#include "cli/terminal_mode.h"

namespace sluice::cli {
namespace {

constexpr int kMaxHistory = 1000;
// A line break in the one line that can be edited, and in the file of the history.
constexpr wchar_t kLineBreak = L'\u240A';  // the symbol for line feed
constexpr std::string_view kLineBreakText = "\u240A";

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

std::wstring wide(const std::string& text) {
  std::wstring out;
  std::mbstate_t state = {};
  for (size_t i = 0; i < text.size();) {
    wchar_t character = 0;
    const size_t size = std::mbrtowc(&character, text.data() + i, text.size() - i, &state);
    if (size == 0 || size > text.size() - i) {  // no character of the locale: left out
      ++i;
      state = {};
      continue;
    }
    out += character;
    i += size;
  }
  return out;
}

// The end of a file, from the beginning of a line on. Throws Error.
std::string end_of_file(const std::string& path) {
  constexpr uint64_t kMostBytes = uint64_t{16} << 20;
  const InputFile file(path);
  const uint64_t size = std::min(file.size_bytes(), kMostBytes);
  std::string text(size, '\0');
  file.read(file.size_bytes() - size, std::as_writable_bytes(std::span(text)));
  if (size < file.size_bytes()) text.erase(0, text.find('\n') + 1);
  return text;
}

// Into a file that is the user's alone, prompts are private; not into what is no file: opening a
// pipe would wait for a reader. `flag`: O_APPEND or O_TRUNC.
void write_private(const std::string& path, const std::string& text, int flag) {
  const int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | flag;
  const FileDescriptor file(::open(path.c_str(), flags, 0600));
  struct stat status {};
  if (::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return;
  if (::write(file.get(), text.data(), text.size()) < 0) return;
}

std::atomic<bool> g_was_resized = false;
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler sets it");

}  // namespace

struct LineEditor::State {
  EditLine* editor = nullptr;
  History* history = nullptr;
  std::string prompt;
  std::string history_path;
  bool is_history_enabled = true;
  bool was_interrupted = false;
  std::wstring typed;  // to be read before any key
  std::mbstate_t mb_state = {};

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
  static int read_character(EditLine* editor, wchar_t* character);
  static unsigned char paste(EditLine* editor, int);
  void load_history();
  void append_to_file(const std::string& line) const;
};

// As libedit's own, and sees a new size of the window.
int LineEditor::State::read_character(EditLine* editor, wchar_t* character) {
  State& state = of(editor);
  if (!state.typed.empty()) {
    *character = state.typed.front();
    state.typed.erase(0, 1);
    return 1;
  }
  while (true) {
    if (g_was_resized.exchange(false)) {
      std::fputs("\r\x1b[J", stdout);
      el_resize(editor);
      el_set(editor, EL_REFRESH);
    }
    char byte = 0;
    const ssize_t size = ::read(STDIN_FILENO, &byte, 1);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return static_cast<int>(size);
    const size_t used = std::mbrtowc(character, &byte, 1, &state.mb_state);
    if (used == static_cast<size_t>(-1)) state.mb_state = {};
    if (used <= 1) return 1;
  }
}

// Takes what the terminal frames as pasted into the line, however many lines it is.
unsigned char LineEditor::State::paste(EditLine* editor, int) {
  static constexpr std::wstring_view kEnd = L"\x1b[201~";
  std::wstring text;
  wchar_t character = 0;
  while (!text.ends_with(kEnd)) {
    if (el_wgetc(editor, &character) != 1) return CC_EOF;
    if (character == L'\n' && text.ends_with(L'\r')) text.pop_back();
    text += character;
  }
  text.resize(text.size() - kEnd.size());
  while (text.ends_with(L'\n') || text.ends_with(L'\r')) text.pop_back();
  std::replace_if(
      text.begin(), text.end(), [](wchar_t c) { return c == L'\n' || c == L'\r'; }, kLineBreak);
  std::erase_if(text, [](wchar_t c) { return (c < L' ' && c != L'\t') || c == 127; });
  return el_winsertstr(editor, text.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
}

void LineEditor::State::load_history() {
  std::istringstream file;
  try {
    file.str(end_of_file(history_path));
  } catch (const Error&) {
    return;
  }
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
    std::string text;
    for (size_t i = first; i < lines.size(); ++i) text += lines[i] + "\n";
    write_private(history_path, text, O_TRUNC);
  }
}

void LineEditor::State::append_to_file(const std::string& line) const {
  if (history_path.empty()) return;
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(history_path).parent_path(), ignored);
  write_private(history_path, line + "\n", O_APPEND);
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
  el_set(state_->editor, EL_ADDFN, "sluice-paste", "Take what is pasted", State::paste);
  el_set(state_->editor, EL_BIND, "\\e[200~", "sluice-paste", nullptr);
  el_wset(state_->editor, EL_GETCFN, State::read_character);
  el_set(state_->editor, EL_BIND, "^R", "em-inc-search-prev", nullptr);
  // While a line is edited Ctrl-C is a key, not a signal, and carriage returns and newlines are
  // themselves: a line of a paste may end with either or with both.
  el_set(state_->editor, EL_SETTY, "-d", "-isig", nullptr);
  el_set(state_->editor, EL_SETTY, "-d", "-icrnl", nullptr);
  el_set(state_->editor, EL_SETTY, "-d", "-inlcr", nullptr);
  struct sigaction action = {};
  action.sa_handler = [](int) { g_was_resized = true; };
  sigaction(SIGWINCH, &action, nullptr);  // without SA_RESTART: a read that waits returns
  if (!history_path.empty()) state_->load_history();
}

LineEditor::~LineEditor() {
  el_end(state_->editor);
  history_end(state_->history);
}

LineEditor::Result LineEditor::read_line(const std::string& prompt, const std::string& typed) {
  state_->prompt = prompt;
  state_->was_interrupted = false;
  state_->typed = wide(replaced(typed, "\n", kLineBreakText));
  const BracketedPaste framed;
  el_resize(state_->editor);  // the window may have changed since the last line
  int count = 0;
  const char* text = el_gets(state_->editor, &count);
  if (state_->was_interrupted) {
    std::fputs("\n", stdout);
    return {End::kInterrupt, ""};
  }
  if (text == nullptr || count <= 0) return {End::kEndOfInput, ""};
  std::string line(text, static_cast<size_t>(count));
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
  return {End::kLine, replaced(std::move(line), kLineBreakText, "\n")};
}

void LineEditor::add_to_history(const std::string& text) {
  if (!state_->is_history_enabled || text.empty()) return;
  const std::string line = replaced(text, "\n", kLineBreakText);
  HistEvent event;
  ::history(state_->history, &event, H_ENTER, line.c_str());
  state_->append_to_file(line);
}

void LineEditor::set_history_enabled(bool enabled) { state_->is_history_enabled = enabled; }

}  // namespace sluice::cli
