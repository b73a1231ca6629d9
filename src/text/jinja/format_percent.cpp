#include <algorithm>
#include <cmath>

#include "text/jinja/builtins.h"
#include "text/jinja/format_spec.h"
#include "text/jinja/number_parsing.h"
#include "text/jinja/ops.h"
#include "text/jinja/unicode.h"

namespace sluice::text::jinja {

namespace {

// "format" % args.
class PercentFormatter {
 public:
  PercentFormatter(Heap& heap, const Val& format, const Val& args)
      : heap_(heap), format_(format.text()), markup_(format.is_markup()), args_(args) {}

  std::string run() {
    while (position_ < format_.size()) {
      char c = format_[position_++];
      if (c == '%') {
        field();
      } else {
        out_.push_back(c);
      }
    }
    bool is_mapping = args_.is(Type::kDict) || args_.is(Type::kList) || args_.is(Type::kRange) ||
                      args_.is_undefined();
    bool all_used = args_.is(Type::kTuple) ? next_ >= args_.items().size()
                                           : next_ > 0 || used_mapping_ || is_mapping;
    if (!all_used) {
      throw TemplateError("not all arguments converted during string formatting");
    }
    return std::move(out_);
  }

 private:
  char peek() const {
    if (position_ >= format_.size()) throw TemplateError("incomplete format");
    return format_[position_];
  }

  Val next_argument() {
    if (args_.is(Type::kTuple)) {
      if (next_ >= args_.items().size()) {
        throw TemplateError("not enough arguments for format string");
      }
      return args_.items()[next_++];
    }
    if (next_++ > 0) throw TemplateError("not enough arguments for format string");
    return args_;
  }

  // The value of "%(name)s".
  Val named_argument() {
    if (!args_.is(Type::kDict)) throw TemplateError("format requires a mapping");
    int depth = 1;
    size_t start = ++position_;
    for (; depth > 0; ++position_) {
      char c = peek();
      depth += c == '(' ? 1 : c == ')' ? -1 : 0;
    }
    std::string name = format_.substr(start, position_ - 1 - start);
    used_mapping_ = true;
    const Val* value = args_.as<DictObject>().find(name);
    if (value == nullptr) throw TemplateError("no value for '" + name + "' in the format");
    return *value;
  }

  long number_or_star() {
    if (peek() == '*') {
      ++position_;
      int64_t value = to_index(next_argument(), "a field width");
      return static_cast<long>(std::clamp<int64_t>(value, -kMaxFieldWidth - 1, kMaxFieldWidth + 1));
    }
    long value = 0;
    while (peek() >= '0' && peek() <= '9') {
      value = std::min(value * 10 + (format_[position_++] - '0'), kMaxFieldWidth + 1);
    }
    return value;
  }

  void field() {
    FieldSpec spec;
    Val value = Val::missing();
    if (peek() == '(') value = named_argument();
    bool zeros = false;
    for (;; ++position_) {
      char c = peek();
      if (c == '-') {
        spec.align = '<';
      } else if (c == '+') {
        spec.sign = '+';
      } else if (c == ' ') {
        if (spec.sign == '-') spec.sign = ' ';
      } else if (c == '#') {
        spec.alternate = true;
      } else if (c == '0') {
        zeros = true;
      } else {
        break;
      }
    }
    spec.width = number_or_star();
    if (spec.width < 0) {
      spec.align = '<';
      spec.width = -spec.width;
    }
    if (peek() == '.') {
      ++position_;
      spec.precision = std::max(number_or_star(), 0l);
    }
    if (peek() == 'h' || peek() == 'l' || peek() == 'L') ++position_;
    spec.type = peek();
    ++position_;
    if (spec.type == '%') {
      out_.push_back('%');
      return;
    }
    if (value.is_missing()) value = next_argument();
    convert(spec, zeros, value);
    heap_.charge_bytes(64 + static_cast<size_t>(spec.width));
    heap_.check_bytes(2 * out_.size());
  }

  void convert(FieldSpec& spec, bool zeros, const Val& value) {
    switch (spec.type) {
      case 's':
        return text(spec, markup_ ? escaped(heap_, value) : to_text(heap_, value));
      case 'r':
        return text(spec, to_repr(heap_, value));
      case 'a':
        return text(spec, ascii_only(to_repr(heap_, value)));
      case 'c':
        return character(spec, value);
      case 'd':
      case 'i':
      case 'u':
      case 'o':
      case 'x':
      case 'X':
        return integer(spec, zeros, value);
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        return real(spec, zeros, value);
      default:
        throw TemplateError(std::string("unsupported format character '") + spec.type + "'");
    }
  }

  void text(const FieldSpec& spec, std::string value) {
    if (spec.precision >= 0) {
      value.resize(byte_offset(value, static_cast<size_t>(spec.precision)));
    }
    out_ += pad_field(spec, value, '>');
  }

  void character(const FieldSpec& spec, const Val& value) {
    std::string one;
    if (value.is_string() && length_of(value) == 1) {
      one = value.text();
    } else {
      int64_t code = to_index(value, "a character");
      if (code < 0 || code > 0x10FFFF) throw TemplateError("%c arg not in range(0x110000)");
      append_utf8(one, static_cast<char32_t>(code));
    }
    out_ += pad_field(spec, one, '>');
  }

  void integer(FieldSpec& spec, bool zeros, const Val& value) {
    bool is_decimal = spec.type == 'd' || spec.type == 'i' || spec.type == 'u';
    int64_t number = is_decimal && value.is(Type::kFloat) ? truncate_to_int(value.float_value())
                                                          : to_index(value, "an integer");
    auto magnitude = number < 0 ? 0 - static_cast<uint64_t>(number) : static_cast<uint64_t>(number);
    std::string digits = integer_digits(magnitude, is_decimal ? 'd' : spec.type);
    if (spec.precision > kMaxFieldWidth) throw TemplateError("precision too big");
    if (spec.precision > static_cast<long>(digits.size())) {
      digits.insert(0, static_cast<size_t>(spec.precision) - digits.size(), '0');
    }
    std::string prefix;
    if (spec.alternate && !is_decimal) prefix = std::string("0") + spec.type;
    finish(spec, zeros, number < 0, prefix, digits);
  }

  void real(FieldSpec& spec, bool zeros, const Val& value) {
    if (!value.is_number()) throw_type_error("format as a number", value);
    double number = value.as_double();
    bool negative = std::signbit(number) && !std::isnan(number);
    std::string digits = float_digits(std::fabs(number), spec.type, spec.precision, spec.alternate);
    finish(spec, zeros, negative, "", digits);
  }

  void finish(FieldSpec& spec, bool zeros, bool negative, std::string_view prefix,
              std::string digits) {
    if (zeros && spec.align == '\0') {
      spec.align = '=';
      spec.fill = '0';
    }
    out_ += assemble_number(spec, negative, prefix, std::move(digits));
  }

  Heap& heap_;
  const std::string& format_;
  bool markup_;
  const Val& args_;
  size_t position_ = 0;
  size_t next_ = 0;
  bool used_mapping_ = false;
  std::string out_;
};

}  // namespace

std::string format_percent(Heap& heap, const Val& format, const Val& args) {
  return PercentFormatter(heap, format, args).run();
}

}  // namespace sluice::text::jinja
