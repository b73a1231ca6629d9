#include <algorithm>
#include <cstdio>

#include "text/jinja/interpreter.h"
#include "text/jinja/ops.h"
#include "text/jinja/string_tools.h"
#include "text/jinja/unicode.h"

// Filters that make text of text.
namespace sluice::text::jinja {

namespace {

using Args = const CallArgs&;

template <std::string (*transform)(std::string_view)>
Val transformed(Interpreter& interpreter, const Val& value, Args args) {
  bind(args, "filter", "");
  Val text = to_string(interpreter.heap(), value);
  interpreter.heap().charge_bytes(16 * text.text().size());
  interpreter.heap().check_bytes(16 * text.text().size());
  return interpreter.string(transform(text.text()), text.is_markup());
}

// Words begin behind white space, '-' and opening brackets: jinja2's own rule.
std::string title_words(std::string_view text) {
  std::string out, word;
  auto flush = [&] {
    if (word.empty()) return;
    size_t first = 0;
    next_code_point(word, first);
    out += upper_text(word.substr(0, first)) + lower_text(word.substr(first));
    word.clear();
  };
  for (size_t position = 0; position < text.size();) {
    size_t start = position;
    char32_t c = next_code_point(text, position);
    bool splits = is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
    if (splits) flush();
    (splits ? out : word).append(text.substr(start, position - start));
  }
  flush();
  return out;
}

Val trim(Interpreter& interpreter, const Val& value, Args args) {
  Val chars = bind(args, "trim", "chars?")[0];
  return strip_value(interpreter.heap(), to_string(interpreter.heap(), value), chars, true, true);
}

Val replace(Interpreter& interpreter, const Val& value, Args args) {
  Vals bound = bind(args, "replace", "old new count?");
  Heap& heap = interpreter.heap();
  bool has_count = !bound[2].is_missing() && !bound[2].is_none();
  return interpreter.string(replace_text(heap, to_text(heap, value), to_text(heap, bound[0]),
                                         to_text(heap, bound[1]),
                                         has_count ? to_index(bound[2], "a count") : -1));
}

Val string_filter(Interpreter& interpreter, const Val& value, Args args) {
  bind(args, "string", "");
  return to_string(interpreter.heap(), value);
}

Val safe(Interpreter& interpreter, const Val& value, Args args) {
  bind(args, "safe", "");
  return interpreter.string(to_text(interpreter.heap(), value), true);
}

Val escape(Interpreter& interpreter, const Val& value, Args args) {
  bind(args, "escape", "");
  return interpreter.string(escaped(interpreter.heap(), value), true);
}

Val force_escape(Interpreter& interpreter, const Val& value, Args args) {
  bind(args, "forceescape", "");
  return interpreter.string(escape_html(to_text(interpreter.heap(), value)), true);
}

std::string unescape_html(std::string_view text) {
  static constexpr std::pair<std::string_view, std::string_view> kEntities[] = {
      {"&lt;", "<"},  {"&gt;", ">"},   {"&quot;", "\""},     {"&#34;", "\""},
      {"&#39;", "'"}, {"&apos;", "'"}, {"&nbsp;", "\u00a0"}, {"&amp;", "&"}};
  std::string out;
  for (size_t i = 0; i < text.size();) {
    auto found = std::find_if(std::begin(kEntities), std::end(kEntities), [&](const auto& entity) {
      return text.substr(i, entity.first.size()) == entity.first;
    });
    if (text[i] == '&' && found != std::end(kEntities)) {
      out += found->second;
      i += found->first.size();
    } else {
      out.push_back(text[i++]);
    }
  }
  return out;
}

Val striptags(Interpreter& interpreter, const Val& value, Args args) {
  bind(args, "striptags", "");
  std::string text = to_text(interpreter.heap(), value), kept;
  size_t position = 0;
  for (size_t start = 0; (start = find_text(text, "<", position)) != std::string::npos;) {
    bool comment = text.compare(start, 4, "<!--") == 0;
    size_t end = comment ? find_text(text, "-->", start + 4) : find_text(text, ">", start);
    if (end == std::string::npos) break;
    kept.append(text, position, start - position);
    position = end + (comment ? 3 : 1);
  }
  kept.append(text, position, std::string::npos);
  std::string collapsed;
  std::string_view rest = strip_left(kept, nullptr);
  while (!rest.empty()) {
    size_t end = 0, next = 0;
    while (end < rest.size() && !is_space(next_code_point(rest, next))) end = next;
    if (!collapsed.empty()) collapsed.push_back(' ');
    collapsed.append(rest.substr(0, end));
    rest = strip_left(rest.substr(end), nullptr);
  }
  return interpreter.string(unescape_html(collapsed));
}

Val center(Interpreter& interpreter, const Val& value, Args args) {
  Val width = bind(args, "center", "width?")[0];
  CallArgs forward;
  forward.positional.push_back(value_or(width, Val::integer(80)));
  return find_method(Type::kString, "center")
      ->call(interpreter, to_string(interpreter.heap(), value), forward);
}

Val format(Interpreter& interpreter, const Val& value, Args args) {
  if (!args.positional.empty() && !args.keywords.empty()) {
    throw TemplateError("can't handle positional and keyword arguments at the same time");
  }
  Heap& heap = interpreter.heap();
  Val pattern = to_string(heap, value);
  if (args.keywords.empty()) {
    Val values = make_tuple(heap, args.positional);
    return interpreter.string(format_percent(heap, pattern, values), pattern.is_markup());
  }
  auto* dict = new DictObject(heap);
  Val values(dict);
  for (const auto& [name, argument] : args.keywords) dict->set(interpreter.string(name), argument);
  return interpreter.string(format_percent(heap, pattern, values), pattern.is_markup());
}

Val word_count(Interpreter& interpreter, const Val& value, Args args) {
  bind(args, "wordcount", "");
  std::string text = to_text(interpreter.heap(), value);
  int64_t words = 0;
  bool in_word = false;
  for (size_t position = 0; position < text.size();) {
    char32_t c = next_code_point(text, position);
    bool is_word = c == '_' || has(kAlpha, c) || has(kNumeric, c);
    words += is_word && !in_word;
    in_word = is_word;
  }
  return Val::integer(words);
}

Val truncate(Interpreter& interpreter, const Val& value, Args args) {
  Vals bound = bind(args, "truncate", "length? killwords? end? leeway?");
  Heap& heap = interpreter.heap();
  constexpr int64_t kDefaultLength = 255, kDefaultLeeway = 5;
  int64_t length = bound[0].is_missing() ? kDefaultLength : to_index(bound[0], "a length");
  Val end = value_or(bound[2], interpreter.string("..."));
  bool has_leeway = !bound[3].is_missing() && !bound[3].is_none();
  int64_t leeway = has_leeway ? to_index(bound[3], "a leeway") : kDefaultLeeway;
  int64_t end_length = length_of(end), size = length_of(value);
  if (size < 0) throw_type_error("truncate", value);
  if (length < end_length || leeway < 0) throw TemplateError("truncate() length is too small");
  if (size <= leeway || size - leeway <= length) return value;
  Val cut = get_slice(heap, value, Val(), Val::integer(length - end_length), Val());
  bool kill_words = !bound[1].is_missing() && is_true(bound[1]);
  if (!kill_words && cut.is_string()) {
    size_t space = cut.text().rfind(' ');
    if (space != std::string::npos) {
      cut = interpreter.string(cut.text().substr(0, space), cut.is_markup());
    }
  }
  return binary_op(heap, Op::kAdd, cut, end);
}

std::string url_quote(const std::string& text, bool for_query) {
  std::string out;
  for (char c : text) {
    bool is_safe = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                   c == '_' || c == '.' || c == '-' || c == '~' || (c == '/' && !for_query);
    if (is_safe) {
      out.push_back(c);
    } else if (c == ' ' && for_query) {
      out.push_back('+');
    } else {
      char code[8];
      std::snprintf(code, sizeof code, "%%%02X", static_cast<unsigned char>(c));
      out += code;
    }
  }
  return out;
}

Val urlencode(Interpreter& interpreter, const Val& value, Args args) {
  bind(args, "urlencode", "");
  Heap& heap = interpreter.heap();
  heap.check_bytes(value.is_string() ? 3 * value.text().size() : 0);
  if (value.is_string() || !is_iterable(value)) {
    return interpreter.string(url_quote(to_text(heap, value), false));
  }
  Val source = value;
  if (value.is(Type::kDict)) source = Val(new DictViewObject(value, DictViewObject::What::kItems));
  std::string out;
  for (const Val& item : to_vals(heap, source)) {
    Vals pair = to_vals(heap, item);
    if (pair.size() != 2) throw TemplateError("urlencode needs pairs of key and value");
    if (!out.empty()) out.push_back('&');
    heap.check_bytes(4 * out.size());
    out += url_quote(to_text(heap, pair[0]), true) + "=" + url_quote(to_text(heap, pair[1]), true);
  }
  return interpreter.string(std::move(out));
}

Val xmlattr(Interpreter& interpreter, const Val& value, Args args) {
  Val autospace = bind(args, "xmlattr", "autospace?")[0];
  if (!value.is(Type::kDict)) throw_type_error("make attributes of", value);
  Heap& heap = interpreter.heap();
  std::string out;
  for (const auto& [key, item] : value.as<DictObject>().items()) {
    if (item.is_none() || item.is_undefined()) continue;
    if (!key.is_string() || key.text().find_first_of(" \t\n\r\f\v/>=") != std::string::npos) {
      throw TemplateError("Invalid character in attribute name");
    }
    if (!out.empty()) out.push_back(' ');
    heap.check_bytes(2 * out.size());
    out += escape_html(key.text()) + "=\"" + escaped(heap, item) + "\"";
  }
  bool spaced = autospace.is_missing() || is_true(autospace);
  if (spaced && !out.empty()) out.insert(0, " ");
  return interpreter.string(std::move(out));
}

}  // namespace

const FilterTable& text_filters() {
  static const FilterTable table = {
      {"upper", transformed<upper_text>},
      {"lower", transformed<lower_text>},
      {"capitalize", transformed<capitalize_text>},
      {"title", transformed<title_words>},
      {"trim", trim},
      {"replace", replace},
      {"string", string_filter},
      {"safe", safe},
      {"e", escape},
      {"escape", escape},
      {"forceescape", force_escape},
      {"striptags", striptags},
      {"center", center},
      {"format", format},
      {"wordcount", word_count},
      {"truncate", truncate},
      {"urlencode", urlencode},
      {"xmlattr", xmlattr},
  };
  return table;
}

}  // namespace sluice::text::jinja
