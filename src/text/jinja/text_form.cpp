#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "text/jinja/interpreter.h"
#include "text/jinja/ops.h"
#include "text/jinja/unicode.h"

// str(), repr() and json.dumps().

namespace sluice::text::jinja {

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  auto [end, error] =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  std::string text(buffer, end);
  size_t at = text.find('e');
  int exponent = std::stoi(text.substr(at + 1));
  if (exponent < -4 || exponent >= 16) return text;  // "1e+16", "1.5e-07", as Python writes them
  std::string digits;
  for (char c : text.substr(0, at)) {
    if (c >= '0' && c <= '9') digits.push_back(c);
  }
  std::string sign = value < 0 || (value == 0 && std::signbit(value)) ? "-" : "";
  if (exponent < 0)
    return sign + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  auto whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) return sign + digits + std::string(whole - digits.size(), '0') + ".0";
  return sign + digits.substr(0, whole) + "." + digits.substr(whole);
}

namespace {

void append_escape(std::string& out, char32_t c) {
  char text[16];
  const char* form = c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x";
  std::snprintf(text, sizeof text, form, static_cast<unsigned>(c));
  out += text;
}

std::string string_repr(std::string_view text) {
  bool double_quotes =
      text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  char quote = double_quotes ? '"' : '\'';
  std::string out(1, quote);
  for (size_t position = 0; position < text.size();) {
    char32_t c = next_code_point(text, position);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out.push_back('\\');
      out.push_back(static_cast<char>(c));
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (c >= kInvalidByte) {
      append_escape(out, 0xDC00 + (c - kInvalidByte));
    } else if (is_printable(c)) {
      append_utf8(out, c);
    } else {
      append_escape(out, c);
    }
  }
  out.push_back(quote);
  return out;
}

class ReprWriter {
 public:
  explicit ReprWriter(Heap& heap) : heap_(heap) {}

  void write(const Val& value) {
    heap_.charge(1);
    heap_.check_bytes(2 * out_.size());
    switch (value.type()) {
      case Type::kUndefined:
        out_ += "Undefined";
        return;
      case Type::kString:
        heap_.charge_bytes(value.text().size());
        heap_.check_bytes(10 * value.text().size());
        is_trusted_ = is_trusted_ && value.prompt_text().is_trusted();
        out_ += string_repr(value.text());
        return;
      case Type::kFloat:
        out_ += float_repr(value.float_value());
        return;
      case Type::kList:
        return write_items(value.items(), "[", "]");
      case Type::kTuple:
        return write_items(value.items(), "(", value.items().size() == 1 ? ",)" : ")");
      case Type::kDict:
        return write_dict(value.as<DictObject>().items());
      case Type::kNamespace:
        return write_namespace(value.as<NamespaceObject>());
      default:
        out_ += simple(value);
    }
  }

  PromptText take() { return {std::move(out_), is_trusted_}; }

 private:
  static std::string simple(const Val& value) {
    switch (value.type()) {
      case Type::kNone:
        return "None";
      case Type::kBool:
        return value.int_value() != 0 ? "True" : "False";
      case Type::kInt:
        return std::to_string(value.int_value());
      case Type::kMacro: {
        const std::string& name = value.as<MacroObject>().name();
        return "<Macro " + (name.empty() ? "anonymous" : string_repr(name)) + ">";
      }
      case Type::kLoop: {
        auto& loop = value.as<LoopObject>();
        return "<LoopContext " + std::to_string(loop.index0 + 1) + "/" +
               std::to_string(loop.length()) + ">";
      }
      default:
        return "<" + std::string(type_name(value)) + " object>";
    }
  }

  void write_items(const Vals& items, const char* open, const char* close) {
    out_ += open;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += ", ";
      write(items[i]);
    }
    out_ += close;
  }

  void write_dict(const DictObject::Items& items) {
    out_ += "{";
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += ", ";
      write(items[i].first);
      out_ += ": ";
      write(items[i].second);
    }
    out_ += "}";
  }

  // Namespaces may contain themselves.
  void write_namespace(const NamespaceObject& space) {
    if (++namespace_depth_ > kMaxNamespaceDepth) {
      throw TemplateError("namespaces are nested too deeply");
    }
    out_ += "<Namespace ";
    write_dict(space.attributes());
    out_ += ">";
    --namespace_depth_;
  }

  static constexpr int kMaxNamespaceDepth = 10;  // each may hold values of the full depth
  Heap& heap_;
  std::string out_;
  bool is_trusted_ = true;
  int namespace_depth_ = 0;
};

class JsonWriter {
 public:
  JsonWriter(Heap& heap, const JsonOptions& options) : heap_(heap), options_(options) {}

  void write(const Val& value, size_t level) {
    heap_.charge(1);
    heap_.check_bytes(2 * out_.size());
    switch (value.type()) {
      case Type::kNone:
        out_ += "null";
        return;
      case Type::kBool:
        out_ += value.int_value() != 0 ? "true" : "false";
        return;
      case Type::kInt:
        out_ += std::to_string(value.int_value());
        return;
      case Type::kFloat:
        out_ += number(value.float_value());
        return;
      case Type::kString:
        return write_string(value.prompt_text());
      case Type::kList:
      case Type::kTuple:
        return write_list(value.items(), level);
      case Type::kDict:
        return write_dict(value.as<DictObject>().items(), level);
      default:
        throw TemplateError("Object of type " + std::string(type_name(value)) +
                            " is not JSON serializable");
    }
  }

  PromptText take() { return {std::move(out_), is_trusted_}; }

 private:
  static std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return float_repr(value);
  }

  void write_string(const PromptText& value) {
    is_trusted_ = is_trusted_ && value.is_trusted();
    const std::string_view text = value.text();
    heap_.charge_bytes(text.size());
    heap_.check_bytes(6 * text.size());
    out_.push_back('"');
    for (size_t position = 0; position < text.size();) {
      size_t start = position;
      char32_t c = next_code_point(text, position);
      static constexpr std::string_view kSpecial = "\"\\\n\r\t\f\b";
      static constexpr std::string_view kLetters = "\"\\nrtfb";
      size_t special = c < 0x80 ? kSpecial.find(static_cast<char>(c)) : std::string_view::npos;
      if (special != std::string_view::npos) {
        out_.push_back('\\');
        out_.push_back(kLetters[special]);
      } else if (c < 0x20 || (options_.ensure_ascii && c > 0x7E)) {
        write_unicode(c);
      } else {
        out_.append(text.substr(start, position - start));
      }
    }
    out_.push_back('"');
  }

  void write_unicode(char32_t c) {
    char text[16];
    if (c >= kInvalidByte) c = 0xDC00 + (c - kInvalidByte);
    if (c < 0x10000) {
      std::snprintf(text, sizeof text, "\\u%04x", static_cast<unsigned>(c));
    } else {
      auto offset = static_cast<unsigned>(c - 0x10000);
      std::snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xD800 + (offset >> 10),
                    0xDC00 + (offset & 0x3FF));
    }
    out_ += text;
  }

  void new_line(size_t level) {
    if (!options_.has_indent) return;
    heap_.check_bytes(options_.indent.size() * level);
    out_.push_back('\n');
    for (size_t i = 0; i < level; ++i) out_ += options_.indent;
  }

  void write_list(const Vals& items, size_t level) {
    out_.push_back('[');
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += options_.item_separator;
      new_line(level + 1);
      write(items[i], level + 1);
    }
    if (!items.empty()) new_line(level);
    out_.push_back(']');
  }

  void write_key(const Val& key) {
    if (key.is_string()) return write_string(key.prompt_text());
    if (!key.is_number() && !key.is_none()) {
      throw TemplateError("keys must be str, int, float, bool or None, not " +
                          std::string(type_name(key)));
    }
    out_.push_back('"');
    write(key, 0);
    out_.push_back('"');
  }

  void write_dict(const DictObject::Items& items, size_t level) {
    out_.push_back('{');
    std::vector<const std::pair<Val, Val>*> order;
    for (const auto& item : items) order.push_back(&item);
    if (options_.sort_keys) {
      heap_.charge(8 * items.size());
      // Python sorts the items, but keys are distinct and decide.
      std::stable_sort(order.begin(), order.end(),
                       [](auto* a, auto* b) { return is_less(a->first, b->first); });
    }
    for (size_t i = 0; i < order.size(); ++i) {
      if (i > 0) out_ += options_.item_separator;
      new_line(level + 1);
      write_key(order[i]->first);
      out_ += options_.key_separator;
      write(order[i]->second, level + 1);
    }
    if (!order.empty()) new_line(level);
    out_.push_back('}');
  }

  Heap& heap_;
  const JsonOptions& options_;
  std::string out_;
  bool is_trusted_ = true;
};

}  // namespace

std::string to_repr(Heap& heap, const Val& value) {
  ReprWriter writer(heap);
  writer.write(value);
  return writer.take().take_text();
}

std::string to_text(Heap& heap, const Val& value) { return to_string(heap, value).text(); }

Val to_string(Heap& heap, const Val& value) {
  if (value.is_string()) return value;
  if (value.is_undefined()) return make_string(heap, "", true);
  ReprWriter writer(heap);
  writer.write(value);
  return make_string(heap, writer.take());
}

Val to_json(Heap& heap, const Val& value, const JsonOptions& options) {
  JsonWriter writer(heap, options);
  writer.write(value, 0);
  return make_string(heap, writer.take());
}

}  // namespace sluice::text::jinja
