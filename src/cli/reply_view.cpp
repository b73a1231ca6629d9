#include "cli/reply_view.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>

#include "api/options.h"
#include "base/error.h"
#include "base/print.h"
#include "base/units.h"
#include "cli/terminal.h"
#include "cli/word_wrapper.h"

namespace sluice::cli {
namespace {

int64_t number(const api::Json& object, const char* name) {
  return api::int_field(object, name, 0, INT64_MAX).value_or(0);
}

// Prints the pieces of one reply, thinking dimmed between lines of its own. A terminal gets nothing
// from the model that it would obey; a file gets the reply as it is.
class Printer {
 public:
  explicit Printer(const ReplyViewOptions& options)
      : options_(options), wrapper_([this] {
          return options_.word_wrap && is_terminal_ ? terminal_width(STDOUT_FILENO) : 0;
        }) {}

  void add(const std::string& thinking, const std::string& content) {
    if (!thinking.empty() && !options_.hide_thinking) {
      if (!std::exchange(is_thinking_, true)) {
        set_style("\x1b[2m");
        show("Thinking...\n");
      }
      show(thinking);
    }
    if (content.empty()) return;
    end_thinking("\n...done thinking.\n\n");
    show(content);
  }

  // The reply is over, also where it stopped in its thoughts.
  void finish(bool was_interrupted) { end_thinking(was_interrupted ? "" : "\n...done thinking."); }

 private:
  void end_thinking(const std::string& line) {
    if (!std::exchange(is_thinking_, false)) return;
    show(line);
    set_style("\x1b[0m");
  }

  void set_style(const std::string& style) {
    if (is_terminal_) write_output(style);
  }

  void show(const std::string& text) {
    write_output(wrapper_.push(is_terminal_ ? printable_lines(text) : text));
  }

  ReplyViewOptions options_;
  bool is_terminal_ = is_terminal(STDOUT_FILENO);
  WordWrapper wrapper_;
  bool is_thinking_ = false;
};

// What a line tells about the wait for the reply; nothing when it tells of the reply itself.
std::optional<std::string> wait_text(const api::Json& line) {
  const std::string status = api::string_field(line, "status").value_or("");
  char text[100];
  if (status == "loading") {
    const double progress = api::number_field(line, "progress").value_or(0);
    if (progress >= 1) return "";  // from here on the prompt is being read
    std::snprintf(text, sizeof text, "loading … %.0f%%", progress * 100);
    return text;
  }
  if (status != "queued") return std::nullopt;
  std::snprintf(text, sizeof text, "waiting: place %lld, about %.0f s",
                static_cast<long long>(number(line, "queue_position")),
                std::max(1.0, api::number_field(line, "estimated_wait").value_or(0)));
  return text;
}

}  // namespace

ShownReply show_reply(ServerLink& link, const std::string& target, const api::Json& body,
                      const ReplyViewOptions& options) {
  ShownReply shown;
  Printer printer(options);
  auto spinner = std::make_unique<Spinner>("");
  InterruptGuard guard([&link] { link.abort(); });
  api::Json request = body;
  if (is_terminal(STDERR_FILENO)) request["queue_events"] = true;
  try {
    link.stream(target, request, [&](const api::Json& line) {
      if (const auto wait = wait_text(line)) {
        if (spinner) spinner->set_text(*wait);
        return !guard.was_interrupted();
      }
      spinner.reset();
      const api::Json* message = api::object_field(line, "message");
      const api::Json& source = message ? *message : line;
      const std::string content =
          api::string_field(source, message ? "content" : "response").value_or("");
      const std::string thinking = api::string_field(source, "thinking").value_or("");
      printer.add(thinking, content);
      shown.thinking += thinking;
      shown.content += content;
      if (api::bool_field(line, "done").value_or(false)) shown.last = line;
      return !guard.was_interrupted();
    });
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kCancelled || !guard.was_interrupted()) throw;
  }
  spinner.reset();
  shown.was_interrupted = guard.was_interrupted();
  printer.finish(shown.was_interrupted);
  if (options.verbose && !shown.last.is_null()) {
    std::fflush(stdout);
    std::fputs(("\n\n" + timing_text(shown.last)).c_str(), stderr);
  }
  return shown;
}

std::string timing_text(const api::Json& final_object) {
  std::string out;
  const auto line = [&out](const char* label, const std::string& value) {
    char text[160];
    std::snprintf(text, sizeof text, "%-22s%s\n", label, value.c_str());
    out += text;
  };
  const auto duration = [&](const char* label, const char* field) {
    if (const int64_t value = number(final_object, field); value > 0) {
      line(label, format_go_duration(std::chrono::nanoseconds(value)));
    }
  };
  const auto rate = [&](const char* label, int64_t count, int64_t nanoseconds) {
    if (count == 0 || nanoseconds == 0) return;
    char text[64];
    std::snprintf(text, sizeof text, "%.2f tokens/s",
                  static_cast<double>(count) * 1e9 / static_cast<double>(nanoseconds));
    line(label, text);
  };
  const auto count = [&](const char* label, int64_t value) {
    if (value > 0) line(label, std::to_string(value) + " token(s)");
  };
  const int64_t prompt = number(final_object, "prompt_eval_count");
  const int64_t reply = number(final_object, "eval_count");
  duration("total duration:", "total_duration");
  duration("load duration:", "load_duration");
  count("prompt eval count:", prompt);
  duration("prompt eval duration:", "prompt_eval_duration");
  rate("prompt eval rate:", prompt, number(final_object, "prompt_eval_duration"));
  count("eval count:", reply);
  duration("eval duration:", "eval_duration");
  rate("eval rate:", reply, number(final_object, "eval_duration"));
  return out;
}

void set_option(api::Json& options, const std::string& key, const std::string& value) {
  if (key.empty() || value.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "an option is written KEY=VALUE, not '" + key + "'");
  }
  if (key == "stop") {
    if (!options.contains("stop")) options["stop"] = api::Json::array();
    options["stop"].push_back(value);
    return;
  }
  double number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  api::Json read;
  if (error == std::errc() && end == value.data() + value.size()) {
    read = api::parse_json(value.starts_with('.') ? "0" + value : value);
  } else if (value == "true" || value == "false") {
    read = value == "true";
  } else {
    throw Error(ErrorCode::kInvalidArgument,
                "the value of the option '" + key + "' must be a number, but is '" + value + "'");
  }
  // A server only logs a name that it does not know; who typed it should hear of it.
  if (!api::parse_options({{key, read}}).unknown.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "there is no option '" + key + "'");
  }
  options[key] = std::move(read);
}

}  // namespace sluice::cli
