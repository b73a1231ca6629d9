#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "text/jinja/ops.h"
#include "text/jinja/runtime.h"
#include "text/jinja/unicode.h"

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

}  // namespace

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
    } else if (has(kPrintable, c)) {
      append_utf8(out, c);
    } else {
      append_escape(out, c);
    }
  }
  out.push_back(quote);
  return out;
}

std::string ascii_only(std::string_view repr) {
  std::string out;
  for (size_t position = 0; position < repr.size();) {
    char32_t c = next_code_point(repr, position);
    if (c < 0x80) {
      out.push_back(static_cast<char>(c));
    } else {
      append_escape(out, c >= kInvalidByte ? 0xDC00 + (c - kInvalidByte) : c);
    }
  }
  return out;
}

namespace {

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
        out_ += value.is_markup() ? "Markup(" + string_repr(value.text()) + ")"
                                  : string_repr(value.text());
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
      case Type::kDictView:
        return write_view(value.as<DictViewObject>());
      case Type::kNamespace:
        return write_namespace(value.as<NamespaceObject>());
      default:
        out_ += simple(value);
    }
  }

  std::string take() { return std::move(out_); }

 private:
  static std::string simple(const Val& value) {
    switch (value.type()) {
      case Type::kNone:
        return "None";
      case Type::kBool:
        return value.int_value() != 0 ? "True" : "False";
      case Type::kInt:
        return std::to_string(value.int_value());
      case Type::kRange: {
        const auto& range = value.as<RangeObject>();
        std::string text =
            "range(" + std::to_string(range.start) + ", " + std::to_string(range.stop);
        return text + (range.step == 1 ? "" : ", " + std::to_string(range.step)) + ")";
      }
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

  void write_view(const DictViewObject& view) {
    static constexpr const char* kNames[] = {"dict_keys(", "dict_values(", "dict_items("};
    out_ += kNames[static_cast<int>(view.what)];
    write_items(view_items(heap_, view), "[", "])");
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
  int namespace_depth_ = 0;
};

}  // namespace

std::string to_repr(Heap& heap, const Val& value) {
  ReprWriter writer(heap);
  writer.write(value);
  return writer.take();
}

std::string to_text(Heap& heap, const Val& value) {
  if (value.is_string()) {
    heap.charge_bytes(value.text().size());
    return value.text();
  }
  return value.is_undefined() ? "" : to_repr(heap, value);
}

Val to_string(Heap& heap, const Val& value) {
  return value.is_string() ? value : make_string(heap, to_text(heap, value));
}

std::string escape_html(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out.push_back(c);
    }
  }
  return out;
}

std::string escaped(Heap& heap, const Val& value) {
  std::string text = to_text(heap, value);
  heap.check_bytes(5 * text.size());
  return value.is_markup() ? text : escape_html(text);
}

size_t find_text(std::string_view text, std::string_view needle, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  // string_view::find takes up to as many steps a character as the needle is long: too many for
  // long crafted ones, where memmem stays linear.
  constexpr size_t kShortNeedle = 32;
  if (needle.size() <= kShortNeedle) return text.find(needle, from);
  const void* found = memmem(text.data() + from, text.size() - from, needle.data(), needle.size());
  if (found == nullptr) return std::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

}  // namespace sluice::text::jinja
