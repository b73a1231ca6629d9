#include "cli/chat.h"

#include <cstdio>
#include <sstream>
#include <utility>

#include "base/error.h"
#include "base/print.h"
#include "cli/show_text.h"
#include "cli/terminal.h"
#include "cli/terminal_mode.h"

namespace sluice::cli {
namespace {

constexpr const char* kHelp = R"(Available Commands:
  /set            Set session variables
  /show           Show model information
  /load <model>   Go on with another model, or a saved conversation
  /save <model>   Save this conversation as a model
  /list           List the models
  /clear          Clear session context
  /bye            Exit
  /?, /help       Help for a command
  /? shortcuts    Help for keyboard shortcuts

Use """ to begin and end a multi-line message. What is pasted is one message, too; a ␊ in it
stands for a line break.

)";
constexpr const char* kSetHelp = R"(Available Commands:
  /set parameter ...     Set a parameter: temperature 0, seed 42, num_ctx 8192, stop "###" ...
  /set system <text>     Set system message
  /set history           Enable history
  /set nohistory         Disable history
  /set wordwrap          Enable wordwrap
  /set nowordwrap        Disable wordwrap
  /set format json       Enable JSON mode; or a JSON Schema, {...}
  /set noformat          Disable formatting
  /set verbose           Show timings
  /set quiet             Do not show timings
  /set think [level]     Let the model think
  /set nothink           Do not let it think

)";
constexpr const char* kShowHelp = R"(Available Commands:
  /show info         Show details for this model
  /show license      Show model license
  /show modelfile    Show Modelfile for this model
  /show parameters   Show parameters for this model
  /show system       Show system message
  /show template     Show prompt template

)";
constexpr const char* kShortcuts = R"(Available keyboard shortcuts:
  Ctrl + a            Move to the beginning of the line
  Ctrl + e            Move to the end of the line
  Alt + b, Alt + f    Move one word back, forward
  Ctrl + k, Ctrl + u  Delete to the end, to the beginning of the line
  Ctrl + w            Delete the word before the cursor
  Ctrl + l            Clear the screen
  Ctrl + r            Search the history
  Ctrl + c            Stop the reply
  Ctrl + d            Exit

)";

std::vector<std::string> split_words(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

std::string unquoted(std::string text) {
  for (const std::string quote : {"\"\"\"", "\""}) {
    if (text.size() >= 2 * quote.size() && text.starts_with(quote) && text.ends_with(quote)) {
      return text.substr(quote.size(), text.size() - 2 * quote.size());
    }
  }
  return text;
}

// What follows the first `count` words of a line.
std::string rest_of(const std::string& line, int count) {
  size_t position = 0;
  for (int i = 0; i < count; ++i) {
    position = line.find_first_not_of(' ', position);
    if (position == std::string::npos) return "";
    position = line.find(' ', position);
    if (position == std::string::npos) return "";
  }
  position = line.find_first_not_of(' ', position);
  return position == std::string::npos ? "" : line.substr(position);
}

// A conversation that was saved, as it stood on the screen.
void print_history(const api::Json& messages) {
  for (const api::Json& message : messages) {
    const std::string role = api::string_field(message, "role").value_or("");
    const std::string text = api::string_field(message, "content").value_or("");
    if (role == "user") {
      std::printf(">>> %s\n", printable_lines(text).c_str());
    } else if (role == "assistant") {
      std::printf("%s\n\n", printable_lines(text).c_str());
    }
  }
}

// The MESSAGE lines in a reply of /api/show.
api::Json messages_of(const api::Json& shown) {
  const api::Json* messages = api::array_field(shown, "messages");
  return messages ? *messages : api::Json::array();
}

}  // namespace

api::Json read_format(const std::string& text) {
  if (text.empty()) return nullptr;
  return text.starts_with('{') ? api::parse_json(text) : api::Json(text);
}

Chat::Chat(ServerLink link, const std::string& model, ChatSettings settings,
           const std::string& history_path)
    : link_(std::move(link)),
      model_(model),
      settings_(std::move(settings)),
      editor_(history_path) {}

api::Json Chat::request_base() const {
  api::Json body = {{"model", model_}};
  if (!settings_.keep_alive.is_null()) body["keep_alive"] = settings_.keep_alive;
  if (!settings_.options.empty()) body["options"] = settings_.options;
  return body;
}

// An empty request: the model is in memory when the first message is typed.
void Chat::load() {
  Spinner spinner("loading " + model_);
  const api::Json body = request_base();
  link_.call("POST", "/api/generate", &body);
}

// Says at once what the server would refuse later: a request of one token with the same format and
// thinking. Throws its refusal.
void Chat::try_out(const ChatSettings& settings) {
  if (settings.format.is_null() && settings.think.is_null()) return;
  api::Json body = {{"model", model_},
                    {"prompt", " "},
                    {"raw", true},
                    {"stream", false},
                    {"options", {{"num_predict", 1}}}};
  if (!settings.format.is_null()) body["format"] = settings.format;
  if (!settings.think.is_null()) body["think"] = settings.think;
  link_.call("POST", "/api/generate", &body);
}

void Chat::run(const api::Json& shown) {
  {
    const QuietKeys quiet(&typed_);
    load();
    try_out(settings_);
  }
  print_history(shown.is_null() ? model_messages() : messages_of(shown));
  std::printf("Send a message (/? for help)\n");
  while (true) {
    LineEditor::Result input = editor_.read_line(">>> ", std::exchange(typed_, ""));
    if (input.end == LineEditor::End::kEndOfInput) {
      std::printf("\n");
      return;
    }
    if (input.end == LineEditor::End::kInterrupt) {
      std::printf("Use Ctrl + d or /bye to exit.\n");
      continue;
    }
    const std::optional<std::string> text = read_block(std::move(input.line));
    if (!text || text->find_first_not_of(" \n") == std::string::npos) continue;
    try {
      const QuietKeys quiet(&typed_);
      if (take_line(*text) == Next::kEnd) return;
      flush_output();
    } catch (const Error& error) {
      print_error(error.what());
    }
  }
}

// Follows """ over the lines until it is closed; nothing when Ctrl-C drops the message.
std::optional<std::string> Chat::read_block(std::string first_line) {
  static const std::string kQuotes = "\"\"\"";
  editor_.add_to_history(first_line);
  const bool is_set_system = first_line.starts_with("/set system ");
  const size_t open = first_line.find(kQuotes);
  if (open == std::string::npos || (open != 0 && !is_set_system)) return first_line;
  std::string prefix = first_line.substr(0, open);
  std::string text = first_line.substr(open + kQuotes.size());
  while (true) {
    const size_t close = text.find(kQuotes);
    if (close != std::string::npos) return prefix + text.substr(0, close);
    LineEditor::Result input = editor_.read_line("... ");
    if (input.end != LineEditor::End::kLine) return std::nullopt;
    editor_.add_to_history(input.line);
    text += "\n" + input.line;
  }
}

Chat::Next Chat::take_line(const std::string& line) {
  const std::vector<std::string> words = split_words(line);
  // A path at the beginning of a message is no command.
  const bool is_command =
      !words.empty() && words[0].starts_with('/') && words[0].find('/', 1) == std::string::npos;
  if (is_command) return command(line);
  say(line);
  return Next::kGoOn;
}

Chat::Next Chat::command(const std::string& line) {
  const std::vector<std::string> words = split_words(line);
  const std::string& name = words[0];
  if (name == "/bye" || name == "/exit") return Next::kEnd;
  if (name == "/clear") {
    messages_ = api::Json::array();
    std::printf("Cleared session context\n");
  } else if (name == "/set") {
    set(words, line);
  } else if (name == "/show") {
    show(words);
  } else if (name == "/load") {
    if (words.size() != 2) {
      std::printf("Usage:\n  /load <modelname>\n");
    } else {
      switch_model(words[1]);
    }
  } else if (name == "/list" || name == "/ls") {
    list();
  } else if (name == "/save") {
    if (words.size() != 2) {
      std::printf("Usage:\n  /save <modelname>\n");
    } else {
      save(words[1]);
    }
  } else if (name == "/?" || name == "/help") {
    const std::string topic = words.size() > 1 ? words[1] : "";
    std::fputs(topic == "set" || topic == "/set"     ? kSetHelp
               : topic == "show" || topic == "/show" ? kShowHelp
               : topic == "shortcuts"                ? kShortcuts
                                                     : kHelp,
               stdout);
  } else {
    std::printf("Unknown command '%s'. Type /? for help\n", printable(name).c_str());
  }
  return Next::kGoOn;
}

void Chat::say(const std::string& text) {
  api::Json body = request_base();
  api::Json sent = api::Json::array();
  if (!settings_.system.empty()) {
    sent.push_back({{"role", "system"}, {"content", settings_.system}});
  }
  for (const api::Json& message : messages_) sent.push_back(message);
  const api::Json question = {{"role", "user"}, {"content", text}};
  sent.push_back(question);
  body["messages"] = std::move(sent);
  if (!settings_.format.is_null()) body["format"] = settings_.format;
  if (!settings_.think.is_null()) body["think"] = settings_.think;
  const ShownReply reply = show_reply(link_, "/api/chat", body, settings_.view);
  std::printf("\n\n");
  // An interrupted reply stays part of the conversation: the person has read it.
  messages_.push_back(question);
  messages_.push_back({{"role", "assistant"}, {"content", reply.content}});
  if (!reply.thinking.empty()) messages_.back()["thinking"] = reply.thinking;
}

void Chat::set_parameter(const std::vector<std::string>& words) {
  if (words.size() < 4) {
    std::printf("Usage:\n  /set parameter <name> <value>\n");
    return;
  }
  const std::string& key = words[2];
  api::Json options = settings_.options;
  if (key == "stop") options.erase("stop");
  std::string values;
  for (size_t i = 3; i < words.size(); ++i) {
    set_option(options, key, unquoted(words[i]));
    values += (i == 3 ? "" : ", ") + words[i];
  }
  settings_.options = std::move(options);
  std::printf("Set parameter '%s' to '%s'\n", key.c_str(), printable(values).c_str());
}

void Chat::set(const std::vector<std::string>& words, const std::string& line) {
  const std::string what = words.size() > 1 ? words[1] : "";
  if (what == "parameter") {
    set_parameter(words);
  } else if (what == "system") {
    settings_.system = unquoted(rest_of(line, 2));
    std::printf("Set system message.\n");
  } else if (what == "history" || what == "nohistory") {
    editor_.set_history_enabled(what == "history");
  } else if (what == "wordwrap" || what == "nowordwrap") {
    settings_.view.word_wrap = what == "wordwrap";
    std::printf("Set '%s' mode.\n", what.c_str());
  } else if (what == "verbose" || what == "quiet") {
    settings_.view.verbose = what == "verbose";
    std::printf("Set '%s' mode.\n", what.c_str());
  } else if (what == "format") {
    const std::string text = rest_of(line, 2);
    if (text != "json" && !text.starts_with('{')) {
      std::printf(
          "Invalid or missing format. For 'json' mode use '/set format json', or give a JSON "
          "Schema\n");
      return;
    }
    ChatSettings wanted = settings_;
    wanted.format = read_format(text);
    try_out(wanted);
    settings_ = std::move(wanted);
    std::printf("Set format to %s.\n", text == "json" ? "'json' mode" : "this JSON Schema");
  } else if (what == "noformat") {
    settings_.format = nullptr;
    std::printf("Disabled format.\n");
  } else if (what == "think") {
    ChatSettings wanted = settings_;
    wanted.think = words.size() > 2 ? api::Json(words[2]) : api::Json(true);
    try_out(wanted);
    settings_ = std::move(wanted);
    std::printf("Set 'think' mode.\n");
  } else if (what == "nothink") {
    settings_.think = false;
    std::printf("Set 'nothink' mode.\n");
  } else {
    std::fputs(kSetHelp, stdout);
  }
}

void Chat::show(const std::vector<std::string>& words) {
  const std::string what = words.size() > 1 ? words[1] : "";
  const bool is_known = what == "info" || what == "license" || what == "modelfile" ||
                        what == "parameters" || what == "system" || what == "template";
  if (!is_known) {
    std::fputs(kShowHelp, stdout);
    return;
  }
  const api::Json body = {{"model", model_}};
  const api::Json reply = link_.call("POST", "/api/show", &body);
  std::string text =
      what == "info" ? show_text(reply, false) : api::string_field(reply, what).value_or("");
  if (what == "system" && !settings_.system.empty()) text = settings_.system;
  if (what == "parameters" && !settings_.options.empty()) {
    text += "\nUser defined parameters:\n";
    for (const auto& [key, value] : settings_.options.items()) {
      text += key + std::string(key.size() < 30 ? 30 - key.size() : 1, ' ') +
              api::dump_json(value) + "\n";
    }
  }
  if (text.empty()) text = "No " + what + " was specified for this model.";
  std::printf("%s\n", printable_lines(text).c_str());
}

void Chat::switch_model(const std::string& name) {
  const std::string before = model_;
  std::printf("Loading model '%s'\n", name.c_str());
  model_ = name;
  try {
    load();
    messages_ = api::Json::array();
    print_history(model_messages());
  } catch (const Error& error) {
    model_ = before;
    if (error.code() != ErrorCode::kNotFound) throw;
    std::printf("Couldn't find model '%s'\n", name.c_str());
  }
}

// What the model's own MESSAGE lines say, which the server puts before each request's.
api::Json Chat::model_messages() {
  const api::Json body = {{"model", model_}};
  const api::Json reply = link_.call("POST", "/api/show", &body);
  return messages_of(reply);
}

// A model of this name: the one that is talked with, and what was set and said here.
void Chat::save(const std::string& name) {
  if (link_.serves_file()) {
    throw Error(ErrorCode::kUnsupported,
                "only a model of the store can be saved from; `sluice import FILE NAME` puts the "
                "file there");
  }
  api::Json messages = model_messages();
  for (const api::Json& message : messages_) messages.push_back(message);
  api::Json body = {{"model", name}, {"from", model_}};
  if (!settings_.system.empty()) body["system"] = settings_.system;
  if (!settings_.options.empty()) body["parameters"] = settings_.options;
  if (!messages.empty()) body["messages"] = std::move(messages);
  link_.stream("/api/create", body, [](const api::Json&) { return true; });
  std::printf("Created new model '%s'\n", printable(name).c_str());
}

void Chat::list() {
  const api::Json reply = link_.call("GET", "/api/tags");
  std::vector<std::vector<std::string>> rows = {{"NAME", "ID", "MODIFIED"}};
  const api::Json* models = api::array_field(reply, "models");
  for (const api::Json& model : models ? *models : api::Json::array()) {
    rows.push_back({api::string_field(model, "name").value_or(""),
                    api::string_field(model, "digest").value_or("").substr(0, 12),
                    relative_time(api::string_field(model, "modified_at").value_or(""))});
  }
  print_table(rows);
}

}  // namespace sluice::cli
