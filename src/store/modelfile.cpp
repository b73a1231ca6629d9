#include "store/modelfile.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/print.h"
#include "store/go_json.h"

namespace sluice::store {
namespace {

constexpr size_t kMaxBytes = size_t{16} << 20;
constexpr std::string_view kTripleQuote = "\"\"\"";

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return lower;
}

void append_utf8(std::string& out, uint32_t code) {
  const auto tail = [&out](uint32_t bits) { out += static_cast<char>(0x80 | (bits & 63)); };
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xc0 | code >> 6);
    tail(code);
  } else if (code < 0x10000) {
    out += static_cast<char>(0xe0 | code >> 12);
    tail(code >> 6);
    tail(code);
  } else {
    out += static_cast<char>(0xf0 | code >> 18);
    tail(code >> 12);
    tail(code >> 6);
    tail(code);
  }
}

// What stands alone of a pair becomes U+FFFD.
std::string utf8_from_utf16(std::string_view bytes, bool is_big_endian) {
  const auto unit = [&](size_t i) {
    const auto first = static_cast<unsigned char>(bytes[i]);
    const auto second = static_cast<unsigned char>(bytes[i + 1]);
    return static_cast<uint32_t>(is_big_endian ? first << 8 | second : second << 8 | first);
  };
  std::string out;
  for (size_t i = 0; i + 1 < bytes.size(); i += 2) {
    uint32_t code = unit(i);
    const bool is_high = code >= 0xd800 && code < 0xdc00;
    if (is_high && i + 3 < bytes.size() && unit(i + 2) >= 0xdc00 && unit(i + 2) < 0xe000) {
      code = 0x10000 + ((code - 0xd800) << 10) + (unit(i + 2) - 0xdc00);
      i += 2;
    } else if (code >= 0xd800 && code < 0xe000) {
      code = 0xfffd;
    }
    append_utf8(out, code);
  }
  return out;
}

std::string decoded(std::string_view text) {
  if (text.starts_with("\xff\xfe")) return utf8_from_utf16(text.substr(2), false);
  if (text.starts_with("\xfe\xff")) return utf8_from_utf16(text.substr(2), true);
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  return std::string(text);
}

// Nothing for a quote that is not closed yet.
std::optional<std::string_view> unquoted(std::string_view text) {
  for (const std::string_view quote : {kTripleQuote, std::string_view("\"")}) {
    if (!text.starts_with(quote)) continue;
    if (text.size() < 2 * quote.size() || !text.ends_with(quote)) return std::nullopt;
    return text.substr(quote.size(), text.size() - 2 * quote.size());
  }
  return text;
}

class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}

  Modelfile read() {
    while (!rest_.empty()) {
      const std::string_view line = trimmed(peek_line());
      if (line.empty() || line.starts_with('#')) {
        take_line();
      } else {
        read_command();
      }
    }
    if (modelfile_.from.empty()) throw Error(ErrorCode::kInvalidArgument, "no FROM line");
    return std::move(modelfile_);
  }

 private:
  [[noreturn]] void fail(const std::string& reason,
                         ErrorCode code = ErrorCode::kInvalidArgument) const {
    throw Error(code, "(line " + std::to_string(line_) + "): " + reason);
  }

  std::string_view peek_line() const { return rest_.substr(0, rest_.find('\n')); }
  void take_line() {
    const size_t end = rest_.find('\n');
    rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
    ++line_;
  }

  // The next word of the line, and the white space behind it.
  std::string read_word() {
    std::string_view line = peek_line();
    size_t begin = 0;
    while (begin < line.size() && is_space(line[begin])) ++begin;
    size_t end = begin;
    while (end < line.size() && !is_space(line[end])) ++end;
    std::string word(line.substr(begin, end - begin));
    while (end < line.size() && is_space(line[end])) ++end;
    rest_.remove_prefix(end);
    return word;
  }

  std::string read_value() {
    const std::string_view whole = rest_;
    const int first_line = line_;
    size_t used = 0;   // of `whole`
    size_t solid = 0;  // up to the last character that is no white space
    while (true) {
      const std::string_view line = peek_line();
      for (size_t i = line.size(); i > 0; --i) {
        if (is_space(line[i - 1])) continue;
        solid = used + i;
        break;
      }
      const bool is_last = line.size() == rest_.size();
      used += line.size() + (is_last ? 0 : 1);
      take_line();
      if (const auto value = unquoted(whole.substr(0, solid))) return std::string(*value);
      if (is_last) {
        line_ = first_line;
        fail("the quotation that begins here is not closed");
      }
    }
  }

  void read_command() {
    const std::string word = read_word();
    const std::string command = lower_case(word);
    if (command == "from") {
      const std::string value = read_value();
      if (value.empty()) fail("FROM needs a model");
      modelfile_.from.push_back(value);
    } else if (command == "parameter") {
      read_parameter();
    } else if (command == "template") {
      modelfile_.chat_template = read_value();
    } else if (command == "system") {
      modelfile_.system = read_value();
    } else if (command == "license") {
      modelfile_.licenses.push_back(read_value());
    } else if (command == "message") {
      read_message();
    } else if (command == "renderer") {
      modelfile_.renderer = read_value();
    } else if (command == "parser") {
      modelfile_.parser = read_value();
    } else if (command == "requires") {
      modelfile_.requirement = read_value();
    } else if (command == "adapter" || command == "draft") {
      const bool is_adapter = command == "adapter";
      fail(std::string(is_adapter ? "ADAPTER" : "DRAFT") +
               " is not supported; merge the weights into the model that FROM names",
           ErrorCode::kUnsupported);
    } else {
      fail("'" + printable(word.substr(0, 40)) +
           "' is no command; there are FROM, PARAMETER, TEMPLATE, SYSTEM, MESSAGE, LICENSE, "
           "RENDERER, PARSER and REQUIRES");
    }
  }

  void read_parameter() {
    std::string name = lower_case(read_word());
    if (name.empty()) fail("PARAMETER needs a name and a value");
    modelfile_.parameters.push_back({std::move(name), read_value()});
  }

  void read_message() {
    std::string role = lower_case(read_word());
    if (role != "system" && role != "user" && role != "assistant") {
      fail("message role must be one of \"system\", \"user\", or \"assistant\"");
    }
    modelfile_.messages.push_back({std::move(role), read_value()});
  }

  std::string_view rest_;
  int line_ = 1;
  Modelfile modelfile_;
};

// As short as it can be read back.
std::string quoted_value(const std::string& value) {
  const bool is_one_line = value.find('\n') == std::string::npos;
  const bool is_bare =
      is_one_line && !value.empty() && trimmed(value) == value && !value.starts_with('"');
  if (is_bare) return value;
  if (is_one_line && !value.starts_with('"')) return "\"" + value + "\"";
  return std::string(kTripleQuote) + value + std::string(kTripleQuote);
}

std::string block(const std::string& text) {
  return std::string(kTripleQuote) + text + std::string(kTripleQuote);
}

enum class Kind { kInteger, kNumber, kBool, kStrings, kIgnored };

struct KnownParameter {
  std::string_view name;
  Kind kind;
};
constexpr std::array kKnown = {
    KnownParameter{"num_ctx", Kind::kInteger},
    KnownParameter{"num_predict", Kind::kInteger},
    KnownParameter{"num_keep", Kind::kInteger},
    KnownParameter{"num_batch", Kind::kInteger},
    KnownParameter{"num_gpu", Kind::kInteger},
    KnownParameter{"main_gpu", Kind::kInteger},
    KnownParameter{"num_thread", Kind::kInteger},
    KnownParameter{"draft_num_predict", Kind::kInteger},
    KnownParameter{"seed", Kind::kInteger},
    KnownParameter{"top_k", Kind::kInteger},
    KnownParameter{"repeat_last_n", Kind::kInteger},
    KnownParameter{"temperature", Kind::kNumber},
    KnownParameter{"top_p", Kind::kNumber},
    KnownParameter{"min_p", Kind::kNumber},
    KnownParameter{"typical_p", Kind::kNumber},
    KnownParameter{"repeat_penalty", Kind::kNumber},
    KnownParameter{"presence_penalty", Kind::kNumber},
    KnownParameter{"frequency_penalty", Kind::kNumber},
    KnownParameter{"use_mmap", Kind::kBool},
    KnownParameter{"stop", Kind::kStrings},
    KnownParameter{"penalize_newline", Kind::kIgnored},
    KnownParameter{"low_vram", Kind::kIgnored},
    KnownParameter{"f16_kv", Kind::kIgnored},
    KnownParameter{"logits_all", Kind::kIgnored},
    KnownParameter{"vocab_only", Kind::kIgnored},
    KnownParameter{"use_mlock", Kind::kIgnored},
    KnownParameter{"mirostat", Kind::kIgnored},
    KnownParameter{"mirostat_tau", Kind::kIgnored},
    KnownParameter{"mirostat_eta", Kind::kIgnored},
    KnownParameter{"tfs_z", Kind::kIgnored},
    KnownParameter{"numa", Kind::kIgnored},
};

template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
  Number number = {};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

nlohmann::json typed_value(const Modelfile::Parameter& parameter, Kind kind) {
  const auto fail = [&](const char* type) {
    throw Error(ErrorCode::kInvalidArgument, "parameter '" + parameter.name + "' must be " + type +
                                                 ", not '" +
                                                 printable(parameter.value.substr(0, 60)) + "'");
  };
  switch (kind) {
    case Kind::kInteger: {
      const auto number = parse_number<int64_t>(parameter.value);
      if (!number) fail("a whole number");
      return *number;
    }
    case Kind::kNumber: {
      const auto number = parse_number<double>(parameter.value);
      if (!number || !std::isfinite(*number)) fail("a number");
      return *number;
    }
    case Kind::kBool:
      if (parameter.value != "true" && parameter.value != "false") fail("true or false");
      return parameter.value == "true";
    default:
      return parameter.value;
  }
}

}  // namespace

Modelfile parse_modelfile(std::string_view text) {
  if (text.size() > kMaxBytes) {
    throw Error(ErrorCode::kInvalidArgument, "the Modelfile is larger than 16 MB");
  }
  return Reader(decoded(text)).read();
}

std::string format_modelfile(const Modelfile& modelfile, const std::string& name) {
  std::string text = "# Modelfile generated by \"sluice show\"\n";
  text += "# To build a new Modelfile based on this, replace FROM with:\n";
  text += "# FROM " + name + "\n\n";
  for (const std::string& from : modelfile.from) text += "FROM " + quoted_value(from) + "\n";
  if (modelfile.chat_template) text += "TEMPLATE " + block(*modelfile.chat_template) + "\n";
  if (modelfile.system) text += "SYSTEM " + block(*modelfile.system) + "\n";
  for (const Modelfile::Parameter& parameter : modelfile.parameters) {
    text += "PARAMETER " + parameter.name + " " + quoted_value(parameter.value) + "\n";
  }
  for (const Modelfile::Message& message : modelfile.messages) {
    text += "MESSAGE " + message.role + " " + quoted_value(message.content) + "\n";
  }
  if (!modelfile.renderer.empty()) text += "RENDERER " + modelfile.renderer + "\n";
  if (!modelfile.parser.empty()) text += "PARSER " + modelfile.parser + "\n";
  if (!modelfile.requirement.empty()) text += "REQUIRES " + modelfile.requirement + "\n";
  for (const std::string& license : modelfile.licenses) text += "LICENSE " + block(license) + "\n";
  return text;
}

std::string parameters_json(const std::vector<Modelfile::Parameter>& parameters) {
  nlohmann::json object = nlohmann::json::object();
  for (const Modelfile::Parameter& parameter : parameters) {
    const auto known = std::find_if(kKnown.begin(), kKnown.end(), [&](const KnownParameter& k) {
      return k.name == parameter.name;
    });
    if (known == kKnown.end()) {
      throw Error(ErrorCode::kInvalidArgument,
                  "unknown parameter '" + printable(parameter.name.substr(0, 60)) + "'");
    }
    if (known->kind == Kind::kIgnored) continue;
    nlohmann::json value = typed_value(parameter, known->kind);
    if (known->kind == Kind::kStrings) {
      object[parameter.name].push_back(std::move(value));
    } else {
      object[parameter.name] = std::move(value);
    }
  }
  return object.empty() ? "" : go_json(object);
}

}  // namespace sluice::store
