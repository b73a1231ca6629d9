#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/units.h"
#include "cli/chat.h"
#include "cli/commands.h"
#include "cli/reply_view.h"
#include "cli/server_link.h"
#include "cli/settings.h"
#include "cli/terminal.h"
#include "cli/terminal_mode.h"
#include "cli/transfer.h"

namespace sluice::cli {
namespace {

struct RunFlags {
  std::string model;
  std::vector<std::string> prompt;
  std::vector<std::string> options;  // KEY=VALUE
  std::string system;
  std::string format;
  std::string keep_alive;
  std::string think;
  int threads = 0;
  int dimensions = 0;
  std::optional<bool> truncate;
  bool verbose = false;
  bool no_word_wrap = false;
  bool hide_thinking = false;
  bool raw = false;
  bool insecure = false;
  bool offline = false;
};

// RunFlags that are options of the request under another name.
constexpr const char* kOptionFlags[] = {"temperature", "top_k",       "top_p",  "min_p",
                                        "seed",        "num_predict", "num_ctx"};

api::Json read_options(const RunFlags& flags) {
  api::Json options = api::Json::object();
  for (const std::string& option : flags.options) {
    const size_t equals = option.find('=');
    if (equals == std::string::npos) {
      throw Error(ErrorCode::kInvalidArgument,
                  "--option wants KEY=VALUE, for example --option top_k=20, not '" + option + "'");
    }
    set_option(options, option.substr(0, equals), option.substr(equals + 1));
  }
  return options;
}

api::Json read_think(const std::string& text) {
  if (text.empty()) return nullptr;
  if (text == "true" || text == "false") return text == "true";
  return text;
}

api::Json read_keep_alive(const std::string& text) {
  if (text.empty()) return nullptr;
  const api::KeepAlive value = api::parse_keep_alive_text(text);  // checks it
  return value == api::kForever ? api::Json(-1) : api::Json(format_go_duration(value));
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

void one_shot(ServerLink& link, const RunFlags& flags, const ChatSettings& settings,
              const std::string& prompt) {
  api::Json body = {{"model", link.model()}, {"prompt", prompt}};
  if (!settings.options.empty()) body["options"] = settings.options;
  if (!settings.system.empty()) body["system"] = settings.system;
  if (!settings.format.is_null()) body["format"] = settings.format;
  if (!settings.think.is_null()) body["think"] = settings.think;
  if (!settings.keep_alive.is_null()) body["keep_alive"] = settings.keep_alive;
  if (flags.raw) body["raw"] = true;
  ShownReply reply;
  {
    const QuietKeys quiet(nullptr);
    reply = show_reply(link, "/api/generate", body, settings.view);
  }
  std::printf("\n\n");
  if (reply.was_interrupted) throw Error(ErrorCode::kCancelled, "stopped by Ctrl-C");
}

bool is_embedder(const api::Json& shown) {
  const api::Json* list = api::array_field(shown, "capabilities");
  const auto can = [&](const char* ability) {
    return list != nullptr && std::ranges::find(*list, ability) != list->end();
  };
  return can("embedding") && !can("completion");
}

// The vector of a text, as a list of numbers.
void print_embedding(ServerLink& link, const RunFlags& flags, const ChatSettings& settings,
                     const std::string& text) {
  api::Json body = {{"model", link.model()}, {"input", text}};
  if (!settings.options.empty()) body["options"] = settings.options;
  if (!settings.keep_alive.is_null()) body["keep_alive"] = settings.keep_alive;
  if (flags.truncate) body["truncate"] = *flags.truncate;
  if (flags.dimensions > 0) body["dimensions"] = flags.dimensions;
  const api::Json reply = link.call("POST", "/api/embed", &body);
  std::printf("%s\n", api::dump_json(reply.at("embeddings").at(0)).c_str());
}

// Fetches a model that is not there, unless nothing may be fetched. Returns what the server shows
// of it; null when it was not asked.
api::Json require_model(ServerLink& link, const Settings& settings, const RunFlags& flags) {
  if (is_model_path(flags.model)) return nullptr;
  const api::Json body = {{"model", flags.model}};
  try {
    return link.call("POST", "/api/show", &body);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNotFound || settings.is_offline) throw;
  }
  try {
    pull_model(link, flags.model, flags.insecure);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kCancelled) throw;
    throw Error(error.code(), error.what() + link.near_models(flags.model));
  }
  return nullptr;
}

void run(const RunFlags& flags) {
  Settings settings = read_settings();
  settings.is_offline = settings.is_offline || flags.offline;
  ChatSettings chat;
  chat.options = read_options(flags);
  chat.system = flags.system;
  chat.format = read_format(flags.format);
  chat.think = read_think(flags.think);
  chat.keep_alive = read_keep_alive(flags.keep_alive);
  chat.view.verbose = flags.verbose;
  chat.view.hide_thinking = flags.hide_thinking;

  const TerminalKeeper keeper;
  const bool is_input_piped = !is_terminal(STDIN_FILENO);
  std::string prompt = joined(flags.prompt);
  const bool is_chat = prompt.empty() && !is_input_piped && is_terminal(STDOUT_FILENO);
  chat.view.word_wrap = !flags.no_word_wrap && is_chat;
  // A model that is not there should be told before input is waited for.
  ServerLink::OwnServer own;
  own.num_threads = flags.threads;
  // A chat may grow; one reply needs no more than its own context.
  const int64_t num_ctx = api::int_field(chat.options, "num_ctx", 0, 1 << 24).value_or(0);
  if (!is_chat) own.longest_sequence = std::max(settings.context_length, static_cast<int>(num_ctx));
  ServerLink link = ServerLink::for_model(settings, flags.model, own);
  const api::Json shown = require_model(link, settings, flags);
  if (is_chat) {
    const std::string model = link.model();
    Chat(std::move(link), model, std::move(chat),
         settings.keeps_history ? home_folder() + "/.sluice/history" : "")
        .run(shown);
    return;
  }
  if (is_input_piped) {
    const std::string input = read_standard_input();
    prompt = prompt.empty() ? input : input.empty() ? prompt : input + "\n\n" + prompt;
  }
  if (prompt.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "nothing to say: give a PROMPT or pipe one in; without both, run it in a terminal "
                "to chat");
  }
  const api::Json body = {{"model", link.model()}};
  if (is_embedder(shown.is_null() ? link.call("POST", "/api/show", &body) : shown)) {
    print_embedding(link, flags, chat, prompt);
  } else {
    one_shot(link, flags, chat, prompt);
  }
}

void add_option_flags(Command& command, const std::shared_ptr<RunFlags>& flags) {
  for (const char* name : kOptionFlags) {
    std::string flag = std::string("--") + name;
    for (char& c : flag) c = c == '_' ? '-' : c;
    std::string names = flag;
    if (flag != std::string("--") + name) names += std::string(",--") + name;
    command
        .option_to(
            names,
            [flags, key = std::string(name)](const std::string& value) {
              flags->options.push_back(key + "=" + value);
            },
            "The option " + std::string(name))
        .value_name("NUMBER");
  }
}

}  // namespace

void add_run(Command& program) {
  auto flags = std::make_shared<RunFlags>();
  Command command = program.subcommand(
      "run", "Chat with a model, or print one reply to PROMPT and standard input");
  command.option("MODEL", flags->model, "Name in the store, or path of a GGUF file").required();
  command.option("PROMPT", flags->prompt, "What to say; none: a chat in the terminal");
  command.flag("--verbose", flags->verbose, "Print timings after each reply");
  command.option("--system", flags->system, "System message");
  command.option("--format", flags->format, "json: the reply is JSON; or a JSON Schema, '{...}'");
  command.option("--think", flags->think, "Let the model think: true, false, low .. max")
      .value_or("true");
  command.flag("--hidethinking", flags->hide_thinking, "Do not print what it thinks");
  command.option("--keepalive", flags->keep_alive, "How long the model stays loaded (5m)");
  command.flag("--nowordwrap", flags->no_word_wrap, "Do not break lines between words");
  command.flag("--insecure", flags->insecure, "Fetch a model over plain HTTP");
  command.flag("--offline", flags->offline, "Do not fetch a model that is not there");
  command
      .option("--dimensions", flags->dimensions,
              "Of models that make embeddings: so many numbers (default: all)")
      .range(1, 1 << 20);
  command
      .option_to(
          "--truncate", [flags](const std::string& value) { flags->truncate = value != "false"; },
          "Of those: cut what is too long (true, the default), or refuse it (false)")
      .value_or("true");
  command.flag("--raw", flags->raw, "Take the prompt as it is, without the chat template");
  command
      .option("-t,--threads", flags->threads,
              "Compute threads, when no server runs (default: all cores)")
      .range(1, 1024);
  command
      .option_to(
          "--gpu-layers,--num-gpu,--num_gpu",
          [flags](const std::string& value) { flags->options.push_back("num_gpu=" + value); },
          "So many layers on GPUs when the model is loaded, the others on the CPU (default: all "
          "that fit)")
      .value_name("NUMBER");
  command.option("-o,--option", flags->options, "Any option, KEY=VALUE (repeatable)").repeatable();
  add_option_flags(command, flags);
  command.action([flags] { run(*flags); });
}

}  // namespace sluice::cli
