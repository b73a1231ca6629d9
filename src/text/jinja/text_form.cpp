#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "text/jinja/interpreter.h"
#include "text/jinja/ops.h"
#include "text/jinja/unicode.h"

// str(), repr() and json.dumps().
namespace sluice::text::jinja {

namespace {

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  const double magnitude = std::fabs(value);
  const bool has_exponent = magnitude != 0 && (magnitude < 1e-4 || magnitude >= 1e16);
  const auto form = has_exponent ? std::chars_format::scientific : std::chars_format::fixed;
  char buffer[40];
  std::string text(buffer, std::to_chars(buffer, buffer + sizeof buffer, value, form).ptr);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

void append_escape(std::string& out, char32_t c) {
  char text[16];
  const char* form = c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x";
  std::snprintf(text, sizeof text, form, static_cast<unsigned>(c));
  out += text;
}

std::string string_repr(std::string_view text) {
  const bool has_single = text.find('\'') != text.npos, has_double = text.find('"') != text.npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string out(1, quote);
  for (size_t position = 0; position < text.size();) {
    char32_t c = next_code_point(text, position);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out.push_back('\\');
      out.push_back(static_cast<char>(c));
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (is_printable(c)) {
      append_utf8(out, c);
    } else {
      append_escape(out, c >= kInvalidByte ? 0xDC00 + (c - kInvalidByte) : c);
    }
  }
  out.push_back(quote);
  return out;
}

// What repr() and json.dumps() write have the same shape: only their leaves differ.
class Writer {
 public:
  explicit Writer(Heap& heap, const JsonOptions* json = nullptr) : heap_(heap), json_(json) {
    if (json != nullptr) {
      item_separator_ = json->item_separator;
      key_separator_ = json->key_separator;
    }
  }

  void write(const Val& value, size_t level = 0) {
    heap_.charge(1);
    heap_.check_bytes(2 * out_.size());
    switch (value.type()) {
      case Type::kString:
        return write_string(value.prompt_text());
      case Type::kList:
        return write_items(value.items(), "[", "]", level);
      case Type::kTuple: {
        if (json_ != nullptr) return write_items(value.items(), "[", "]", level);
        return write_items(value.items(), "(", value.items().size() == 1 ? ",)" : ")", level);
      }
      case Type::kDict:
        return write_dict(value.as<DictObject>().items(), level);
      default:
        break;
    }
    out_ += json_ != nullptr ? json_leaf(value) : repr_leaf(value);
  }

  // The template's own when all strings in it are.
  PromptText take() { return {std::move(out_), is_trusted_}; }

 private:
  static std::string json_leaf(const Val& value) {
    if (value.is_none()) return "null";
    if (value.is(Type::kBool)) return value.int_value() != 0 ? "true" : "false";
    if (value.is(Type::kInt)) return std::to_string(value.int_value());
    if (!value.is(Type::kFloat)) {
      fail("Object of type ", type_name(value), " is not JSON serializable");
    }
    const double number = value.float_value();
    if (std::isnan(number)) return "NaN";
    if (std::isinf(number)) return number < 0 ? "-Infinity" : "Infinity";
    return float_repr(number);
  }

  static std::string repr_leaf(const Val& value) {
    if (value.is_undefined()) return "Undefined";
    if (value.is_none()) return "None";
    if (value.is(Type::kBool)) return value.int_value() != 0 ? "True" : "False";
    if (value.is(Type::kInt)) return std::to_string(value.int_value());
    if (value.is(Type::kFloat)) return float_repr(value.float_value());
    fail("a ", type_name(value), " object cannot be written as text");
  }

  void write_string(const PromptText& value) {
    is_trusted_ = is_trusted_ && value.is_trusted();
    heap_.charge_bytes(value.size());
    heap_.check_bytes(10 * value.size());
    if (json_ == nullptr) {
      out_ += string_repr(value.text());
    } else {
      write_json_string(value.text());
    }
  }

  void write_json_string(std::string_view text) {
    static constexpr std::string_view kSpecial = "\"\\\n\r\t\f\b";
    static constexpr std::string_view kLetters = "\"\\nrtfb";
    out_.push_back('"');
    size_t written = 0;
    for (size_t position = 0; position < text.size();) {
      const size_t start = position;
      const char32_t c = next_code_point(text, position);
      const size_t special = c < 0x80 ? kSpecial.find(static_cast<char>(c)) : text.npos;
      if (special == text.npos && c >= 0x20 && (!json_->ensure_ascii || c <= 0x7E)) continue;
      out_.append(text.substr(written, start - written));
      written = position;
      if (special != text.npos) {
        out_.push_back('\\');
        out_.push_back(kLetters[special]);
      } else {
        write_unicode(c);
      }
    }
    out_.append(text.substr(written));
    out_.push_back('"');
  }

  void write_unicode(char32_t c) {
    char text[16];
    if (c >= kInvalidByte) c = 0xDC00 + (c - kInvalidByte);
    if (c < 0x10000) {
      std::snprintf(text, sizeof text, "\\u%04x", static_cast<unsigned>(c));
    } else {
      const auto offset = static_cast<unsigned>(c - 0x10000);
      std::snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xD800 + (offset >> 10),
                    0xDC00 + (offset & 0x3FF));
    }
    out_ += text;
  }

  void new_line(size_t level) {
    if (json_ == nullptr || !json_->indent) return;
    heap_.check_bytes(json_->indent->size() * level);
    out_.push_back('\n');
    for (size_t i = 0; i < level; ++i) out_ += *json_->indent;
  }

  void write_items(const Vals& items, const char* open, const char* close, size_t level) {
    out_ += open;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += item_separator_;
      new_line(level + 1);
      write(items[i], level + 1);
    }
    if (!items.empty()) new_line(level);
    out_ += close;
  }

  void write_key(const Val& key, size_t level) {
    if (json_ == nullptr || key.is_string()) return write(key, level);
    if (!key.is_number() && !key.is_none()) fail("a key of JSON cannot be a ", type_name(key));
    out_ += "\"" + json_leaf(key) + "\"";
  }

  void write_dict(const DictObject::Items& unsorted, size_t level) {
    DictObject::Items sorted;
    if (json_ != nullptr && json_->sort_keys) {
      heap_.charge(8 * unsorted.size());
      sorted = unsorted;
      // Python sorts the items, but keys are distinct and decide.
      std::stable_sort(sorted.begin(), sorted.end(),
                       [](const auto& a, const auto& b) { return is_less(a.first, b.first); });
    }
    const DictObject::Items& items = sorted.empty() ? unsorted : sorted;
    out_.push_back('{');
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += item_separator_;
      new_line(level + 1);
      write_key(items[i].first, level + 1);
      out_ += key_separator_;
      write(items[i].second, level + 1);
    }
    if (!items.empty()) new_line(level);
    out_.push_back('}');
  }

  Heap& heap_;
  const JsonOptions* json_;
  std::string item_separator_ = ", ", key_separator_ = ": ";
  std::string out_;
  bool is_trusted_ = true;
};

}  // namespace

std::string to_text(Heap& heap, const Val& value) { return to_string(heap, value).text(); }

Val to_string(Heap& heap, const Val& value) {
  if (value.is_string()) return value;
  if (value.is_undefined()) return make_string(heap, "", true);
  Writer writer(heap);
  writer.write(value);
  return make_string(heap, writer.take());
}

Val to_json(Heap& heap, const Val& value, const JsonOptions& options) {
  Writer writer(heap, &options);
  writer.write(value);
  return make_string(heap, writer.take());
}

}  // namespace sluice::text::jinja
