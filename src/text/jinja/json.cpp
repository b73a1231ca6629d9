#include <algorithm>
#include <cmath>
#include <cstdio>

#include "text/jinja/ops.h"
#include "text/jinja/unicode.h"

namespace sluice::text::jinja {

namespace {

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
        return write_string(value.text());
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

  std::string take() { return std::move(out_); }

 private:
  static std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return float_repr(value);
  }

  void write_string(std::string_view text) {
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
    if (key.is_string()) return write_string(key.text());
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
};

}  // namespace

std::string to_json(Heap& heap, const Val& value, const JsonOptions& options) {
  JsonWriter writer(heap, options);
  writer.write(value, 0);
  return writer.take();
}

}  // namespace sluice::text::jinja
