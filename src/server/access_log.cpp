#include "server/access_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "api/json_writer.h"
#include "base/error.h"
#include "base/units.h"

namespace sluice::server {
namespace {

std::string milliseconds_text(std::chrono::nanoseconds time) {
  return fmt::format("{:.1f}", static_cast<double>(time.count()) / 1e6);
}

// The members of both forms, in one order.
template <typename AddText, typename AddNumber>
void tell(const RequestLife& life, AddText text, AddNumber number) {
  text("id", life.id);
  text("method", life.method);
  text("path", life.path);
  number("status", std::to_string(life.status));
  number("ms", milliseconds_text(life.total));
  number("bytes", std::to_string(life.num_sent_bytes));
  text("address", life.address);
  if (!life.key.empty()) text("key", life.key);
  if (!life.model.empty()) text("model", life.model);
  if (life.num_parts > 0) {
    const PartLife& first = life.parts.front();
    const engine::Timings& timings = first.record.timings;
    number("prompt_tokens", std::to_string(life.num_prompt_tokens));
    number("cached_tokens", std::to_string(life.num_cached_tokens));
    number("output_tokens", std::to_string(life.num_output_tokens));
    text("end", engine::finish_reason_name(first.record.reason));
    number("load_ms", milliseconds_text(life.load));
    number("queued_ms", milliseconds_text(timings.queued));
    if (first.record.num_output_tokens > 0) {
      number("ttft_ms",
             milliseconds_text(life.load + life.prepare + timings.queued + timings.prefill));
    }
  }
  if (!life.error.empty()) text("error", life.error);
}

bool needs_quotes(std::string_view text) {
  return text.empty() || std::any_of(text.begin(), text.end(), [](char c) {
           return c <= ' ' || c > '~' || c == '"' || c == '=' || c == '\\';
         });
}

}  // namespace

std::string access_line(const RequestLife& life) {
  std::string line;
  const auto add = [&line](std::string_view name, std::string_view value) {
    if (!line.empty()) line += ' ';
    line += name;
    line += '=';
    line += value;
  };
  const auto add_text = [&](std::string_view name, std::string_view text) {
    add(name, needs_quotes(text) ? api::json_text(text) : std::string(text));
  };
  tell(life, add_text, add);
  return line;
}

std::string access_json(const RequestLife& life) {
  api::JsonObject json;
  json.add("time", format_rfc3339(life.arrived_at));
  const auto add_text = [&](std::string_view name, std::string_view text) { json.add(name, text); };
  const auto add_number = [&](std::string_view name, const std::string& number) {
    json.add_json(name, number);
  };
  tell(life, add_text, add_number);
  json.add("route", life.route);
  return json.take();
}

AccessLog::AccessLog(const std::string& path) : path_(path) { reopen(); }

void AccessLog::reopen() {
  if (path_.empty()) return;
  const int file = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
  if (file < 0) {
    throw Error(ErrorCode::kIo,
                "cannot write the access log " + path_ + ": " + std::strerror(errno));
  }
  std::lock_guard lock(mutex_);
  const int old = std::exchange(file_, file);
  if (old >= 0) ::close(old);
  has_complained_ = false;
}

AccessLog::~AccessLog() {
  if (file_ >= 0) ::close(file_);
}

void AccessLog::write(const RequestLife& life, bool is_quiet) {
  const auto level = is_quiet ? spdlog::level::debug : spdlog::level::info;
  if (spdlog::should_log(level)) spdlog::log(level, "{}", access_line(life));
  if (path_.empty()) return;
  const std::string line = access_json(life) + '\n';
  std::lock_guard lock(mutex_);  // a line goes out in one piece
  const ssize_t size = ::write(file_, line.data(), line.size());
  if (size == static_cast<ssize_t>(line.size())) return;
  if (!std::exchange(has_complained_, true)) {
    spdlog::error("the access log cannot be written: {}", std::strerror(errno));
  }
}

}  // namespace sluice::server
