#include <charconv>
#include <cmath>
#include <cstdio>

#include "text/gotmpl/value.h"
#include "text/unicode.h"

namespace sluice::text::gotmpl {
namespace {

void append_quoted(std::string& out, std::string_view text) {
  constexpr std::string_view kSpecial = "\"\\\n\r\t\b\f", kLetters = "\"\\nrtbf";
  out.push_back('"');
  for (size_t position = 0; position < text.size();) {
    const size_t start = position;
    const char32_t c = next_code_point(text, position);
    const size_t special = c < 0x80 ? kSpecial.find(static_cast<char>(c)) : kSpecial.npos;
    if (special != kSpecial.npos) {
      out.push_back('\\');
      out.push_back(kLetters[special]);
    } else if (c < 0x20 || c == '<' || c == '>' || c == '&' || c == 0x2028 || c == 0x2029) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
      out += escape;
    } else if (c >= kInvalidByte) {
      out += "\\ufffd";
    } else {
      out += text.substr(start, position - start);
    }
  }
  out.push_back('"');
}

void append_number(std::string& out, double number) {
  if (!std::isfinite(number)) {
    out += "null";
    return;
  }
  const double size = std::fabs(number);
  const bool has_exponent = size != 0 && (size < 1e-6 || size >= 1e21);
  char buffer[400];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, number,
                    has_exponent ? std::chars_format::scientific : std::chars_format::fixed);
  out.append(buffer, end.ptr);
}

void append_value(std::string& out, const Value& value, int depth) {
  if (const bool* flag = value.as_bool()) {
    out += *flag ? "true" : "false";
  } else if (const int64_t* integer = value.as_int()) {
    out += std::to_string(*integer);
  } else if (const double* real = value.as_double()) {
    append_number(out, *real);
  } else if (const std::string* text = value.as_string()) {
    append_quoted(out, *text);
  } else if (depth <= 0 || value.is_none()) {
    out += "null";
  } else if (const Value::List* list = value.as_list()) {
    out.push_back('[');
    for (const Value& item : *list) {
      if (&item != list->data()) out.push_back(',');
      append_value(out, item, depth - 1);
    }
    out.push_back(']');
  } else if (const Value::Dict* dict = value.as_dict()) {
    out.push_back('{');
    for (const auto& item : *dict) {
      if (&item != dict->data()) out.push_back(',');
      append_quoted(out, item.first);
      out.push_back(':');
      append_value(out, item.second, depth - 1);
    }
    out.push_back('}');
  }
}

}  // namespace

std::string to_json(const Val& value, int max_depth) {
  std::string out;
  if (std::holds_alternative<Missing>(value)) return "null";
  if (const bool* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const int64_t* integer = std::get_if<int64_t>(&value)) return std::to_string(*integer);
  if (const double* real = std::get_if<double>(&value)) {
    append_number(out, *real);
  } else if (const auto* object = std::get_if<const Value*>(&value)) {
    append_value(out, **object, max_depth);
  } else if (const ListView* list = std::get_if<ListView>(&value)) {
    out.push_back('[');
    for (size_t i = 0; i < list->size; ++i) {
      if (i > 0) out.push_back(',');
      append_value(out, list->items[i], max_depth);
    }
    out.push_back(']');
  } else if (const auto* constant = std::get_if<const PromptText*>(&value)) {
    append_quoted(out, (*constant)->text());
  } else if (const auto* made = std::get_if<MadeText>(&value)) {
    append_quoted(out, (*made)->text());
  }
  return out;
}

}  // namespace sluice::text::gotmpl
