#include <algorithm>

#include "text/jinja/interpreter.h"
#include "text/jinja/ops.h"
#include "text/jinja/string_tools.h"
#include "text/jinja/unicode.h"

// Methods of str that give changed text.
namespace sluice::text::jinja {

namespace {

using Args = const CallArgs&;

const std::string& string_arg(const Val& value, const char* what) {
  if (!value.is_string()) throw_type_error(std::string("use as ") + what, value);
  return value.text();
}

Val same_kind(Interpreter& interpreter, const Val& self, std::string text) {
  return interpreter.string(std::move(text), self.is_markup());
}

template <std::string (*transform)(std::string_view)>
Val transformed(Interpreter& interpreter, const Val& self, Args args) {
  bind(args, "str method", "");
  interpreter.heap().charge_bytes(16 * self.text().size());
  interpreter.heap().check_bytes(16 * self.text().size());
  return same_kind(interpreter, self, transform(self.text()));
}

template <bool left, bool right>
Val stripped(Interpreter& interpreter, const Val& self, Args args) {
  Val chars = bind(args, "strip", "chars?", true)[0];
  return strip_value(interpreter.heap(), self, chars, left, right);
}

Val replace(Interpreter& interpreter, const Val& self, Args args) {
  Vals bound = bind(args, "replace", "old new count?", true);
  int64_t count = bound[2].is_missing() ? -1 : to_index(bound[2], "a count");
  string_arg(bound[1], "new text");
  std::string fresh = self.is_markup() ? escaped(interpreter.heap(), bound[1]) : bound[1].text();
  return same_kind(interpreter, self,
                   replace_text(interpreter.heap(), self.text(),
                                string_arg(bound[0], "text to replace"), fresh, count));
}

Val join(Interpreter& interpreter, const Val& self, Args args) {
  Vals items = to_vals(interpreter.heap(), bind(args, "join", "iterable", true)[0]);
  std::string text;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) text += self.text();
    const std::string& item = string_arg(items[i], "a part of joined text");
    text += self.is_markup() ? escaped(interpreter.heap(), items[i]) : item;
    interpreter.heap().charge_bytes(item.size() + self.text().size());
    interpreter.heap().check_bytes(2 * text.size());
  }
  return same_kind(interpreter, self, std::move(text));
}

// Text padded to `width` characters, `left` of them before it.
Val padded(Interpreter& interpreter, const Val& self, int64_t before, int64_t after,
           const std::string& fill) {
  before = std::max<int64_t>(before, 0);
  after = std::max<int64_t>(after, 0);
  size_t size = 0;
  if (__builtin_mul_overflow(static_cast<size_t>(before) + static_cast<size_t>(after), fill.size(),
                             &size)) {
    size = SIZE_MAX / 2;
  }
  interpreter.heap().check_bytes(size);
  interpreter.heap().charge_bytes(size);
  std::string text;
  for (int64_t i = 0; i < before; ++i) text += fill;
  text += self.text();
  for (int64_t i = 0; i < after; ++i) text += fill;
  return same_kind(interpreter, self, std::move(text));
}

struct Padding {
  int64_t missing;  // characters to add
  int64_t width;
  std::string fill;
};

Padding padding_of(const Val& self, Args args) {
  Vals bound = bind(args, "ljust", "width fillchar?", true);
  Padding padding{0, to_index(bound[0], "a width"), " "};
  if (!bound[1].is_missing()) padding.fill = string_arg(bound[1], "a fill character");
  if (count_code_points(padding.fill) != 1) {
    throw TemplateError("The fill character must be exactly one character long");
  }
  padding.width = std::max<int64_t>(padding.width, 0);
  padding.missing = std::max<int64_t>(padding.width - length_of(self), 0);
  return padding;
}

Val ljust(Interpreter& interpreter, const Val& self, Args args) {
  Padding padding = padding_of(self, args);
  return padded(interpreter, self, 0, padding.missing, padding.fill);
}

Val rjust(Interpreter& interpreter, const Val& self, Args args) {
  Padding padding = padding_of(self, args);
  return padded(interpreter, self, padding.missing, 0, padding.fill);
}

Val center(Interpreter& interpreter, const Val& self, Args args) {
  Padding padding = padding_of(self, args);
  int64_t before = center_padding(padding.missing, padding.width);
  return padded(interpreter, self, before, padding.missing - before, padding.fill);
}

Val zfill(Interpreter& interpreter, const Val& self, Args args) {
  int64_t width = to_index(bind(args, "zfill", "width", true)[0], "a width");
  int64_t zeros = std::max<int64_t>(std::max<int64_t>(width, 0) - length_of(self), 0);
  const std::string& text = self.text();
  bool has_sign = !text.empty() && (text[0] == '+' || text[0] == '-');
  if (!has_sign || zeros == 0) return padded(interpreter, self, zeros, 0, "0");
  Val digits = padded(interpreter, interpreter.string(text.substr(1)), zeros, 0, "0");
  return same_kind(interpreter, self, text[0] + digits.text());
}

Val expandtabs(Interpreter& interpreter, const Val& self, Args args) {
  Val size = bind(args, "expandtabs", "tabsize?")[0];
  int64_t tab = size.is_missing() ? 8 : to_index(size, "a tab size");
  std::string out;
  int64_t column = 0;
  for (char c : self.text()) {
    if (c == '\t') {
      int64_t fill = tab > 0 ? tab - column % tab : 0;
      interpreter.heap().charge_bytes(static_cast<size_t>(fill));
      interpreter.heap().check_bytes(out.size() + static_cast<size_t>(fill));
      out.append(static_cast<size_t>(fill), ' ');
      column += fill;
    } else {
      out.push_back(c);
      if (c == '\n' || c == '\r') {
        column = 0;
      } else if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) {
        ++column;
      }
    }
  }
  return same_kind(interpreter, self, std::move(out));
}

Val removeprefix(Interpreter& interpreter, const Val& self, Args args) {
  Val argument = bind(args, "removeprefix", "prefix", true)[0];
  const std::string& prefix = string_arg(argument, "a prefix");
  if (self.text().compare(0, prefix.size(), prefix) != 0) return self;
  return same_kind(interpreter, self, self.text().substr(prefix.size()));
}

Val removesuffix(Interpreter& interpreter, const Val& self, Args args) {
  Val argument = bind(args, "removesuffix", "suffix", true)[0];
  const std::string &suffix = string_arg(argument, "a suffix"), &text = self.text();
  if (suffix.empty() || text.size() < suffix.size() ||
      text.compare(text.size() - suffix.size(), suffix.size(), suffix) != 0) {
    return self;
  }
  return same_kind(interpreter, self, text.substr(0, text.size() - suffix.size()));
}

Val format(Interpreter& interpreter, const Val& self, Args args) {
  return same_kind(interpreter, self, format_braces(interpreter, self, args));
}

Val format_map(Interpreter& interpreter, const Val& self, Args args) {
  Val mapping = bind(args, "format_map", "mapping", true)[0];
  if (!mapping.is(Type::kDict)) throw_type_error("format with", mapping);
  CallArgs named;
  for (const auto& [key, value] : mapping.as<DictObject>().items()) {
    if (key.is_string()) named.keywords.emplace_back(key.text(), value);
  }
  return same_kind(interpreter, self, format_braces(interpreter, self, named));
}

Val refuse(Interpreter&, const Val&, Args) {
  throw TemplateError("this method of str is not supported in templates");
}

}  // namespace

int64_t center_padding(int64_t missing, int64_t width) {
  return missing / 2 + (missing & width & 1);
}

Val strip_value(Heap& heap, const Val& value, const Val& chars, bool left, bool right) {
  std::u32string set;
  bool has_set = !chars.is_missing() && !chars.is_none();
  if (has_set) {
    set = to_code_points(string_arg(chars, "characters to strip"));
    heap.charge((value.text().size() / 16) * (set.size() / 16));
  }
  heap.charge_bytes(value.text().size());
  std::string_view text = value.text();
  if (left) text = strip_left(text, has_set ? &set : nullptr);
  if (right) text = strip_right(text, has_set ? &set : nullptr);
  if (text.size() == value.text().size()) return value;
  return make_string(heap, std::string(text), value.is_markup());
}

std::string replace_text(Heap& heap, const std::string& text, const std::string& old,
                         const std::string& fresh, int64_t count) {
  heap.charge_bytes(text.size());
  std::string out;
  auto limit = count < 0 ? SIZE_MAX : static_cast<size_t>(count);
  size_t position = 0;
  for (size_t done = 0; done < limit; ++done) {
    size_t found = find_text(text, old, position);
    if (found == std::string::npos) break;
    if (old.empty() && done > 0) {
      // Between characters: the next one goes first.
      if (position >= text.size()) break;
      size_t next = position;
      next_code_point(text, next);
      out.append(text, position, next - position);
      position = next;
      found = position;
    }
    out.append(text, position, found - position);
    out += fresh;
    position = found + old.size();
    heap.charge_bytes(64 + fresh.size());
    heap.check_bytes(2 * out.size());
  }
  out.append(text, std::min(position, text.size()), std::string::npos);
  return out;
}

const MethodTable& string_methods() {
  static const MethodTable table = {
      {"upper", transformed<upper_text>},
      {"lower", transformed<lower_text>},
      {"title", transformed<title_text>},
      {"capitalize", transformed<capitalize_text>},
      {"swapcase", transformed<swapcase_text>},
      {"casefold", transformed<fold_text>},
      {"strip", stripped<true, true>},
      {"lstrip", stripped<true, false>},
      {"rstrip", stripped<false, true>},
      {"replace", replace},
      {"join", join},
      {"ljust", ljust},
      {"rjust", rjust},
      {"center", center},
      {"zfill", zfill},
      {"expandtabs", expandtabs},
      {"removeprefix", removeprefix},
      {"removesuffix", removesuffix},
      {"format", format},
      {"format_map", format_map},
      {"encode", refuse},
      {"maketrans", refuse},
      {"translate", refuse},
  };
  return table;
}

}  // namespace sluice::text::jinja
