#include <ctime>

#include "text/gotmpl/interpreter.h"

namespace sluice::text::gotmpl {
namespace {

bool has_text(const Val& value) {
  const auto* object = std::get_if<const Value*>(&value);
  return std::holds_alternative<const PromptText*>(value) ||
         std::holds_alternative<MadeText>(value) ||
         (object != nullptr && (*object)->as_string() != nullptr);
}

}  // namespace

PromptText Interpreter::text_of(const Val& value) {
  const auto charged = [&](const PromptText& text) -> const PromptText& {
    charge(text.size() / 16);
    return text;
  };
  if (const auto* constant = std::get_if<const PromptText*>(&value)) return charged(**constant);
  if (const auto* made = std::get_if<MadeText>(&value)) return charged(**made);
  if (const Missing* missing = std::get_if<Missing>(&value)) {
    return {missing->is_told ? "<no value>" : "", true};
  }
  if (const auto* object = std::get_if<const Value*>(&value)) {
    if ((*object)->is_none()) return {"<nil>", true};
    if (const std::string* text = (*object)->as_string()) {
      charge(text->size() / 16);
      return {*text, (*object)->is_trusted()};
    }
  }
  return {text_of_json(value), false};
}

std::string Interpreter::text_of_json(const Val& value) {
  std::string json = to_json(value, limits_.max_depth);
  charge(json.size() / 16);
  return json;
}

int64_t Interpreter::int_of(const Val& value) {
  const int64_t* integer = std::get_if<int64_t>(&value);
  if (integer == nullptr) fail("cannot index slice/array with something that is no integer");
  return *integer;
}

bool Interpreter::compare(Function function, const Val& a, const Val& b) {
  const auto by = [&](const auto& x, const auto& y) {
    if (function == Function::kEq) return x == y;
    return function == Function::kLt ? x < y : x <= y;
  };
  const bool is_equality = function == Function::kEq;
  const auto nothing = [](const Val& value) {
    const auto* object = std::get_if<const Value*>(&value);
    return std::holds_alternative<Missing>(value) || (object != nullptr && (*object)->is_none());
  };
  if (is_equality && (nothing(a) || nothing(b))) {
    const auto blank = [&](const Val& v) {
      return nothing(v) || (has_text(v) && text_of(v).empty());
    };
    return blank(a) && blank(b);
  }
  if (has_text(a) && has_text(b)) return by(text_of(a).text(), text_of(b).text());
  const int64_t *m = std::get_if<int64_t>(&a), *n = std::get_if<int64_t>(&b);
  if (m != nullptr && n != nullptr) return by(*m, *n);
  const double *x = std::get_if<double>(&a), *y = std::get_if<double>(&b);
  if ((m || x) && (n || y)) {
    return by(m ? static_cast<double>(*m) : *x, n ? static_cast<double>(*n) : *y);
  }
  const bool *p = std::get_if<bool>(&a), *q = std::get_if<bool>(&b);
  if (is_equality && p != nullptr && q != nullptr) return *p == *q;
  fail("incompatible types for comparison");
}

Val Interpreter::call_function(Function function, const std::vector<Val>& args) {
  charge(1);
  const auto need = [&](size_t least, size_t most) {
    if (args.size() < least || args.size() > most) {
      fail("wrong number of arguments for a function: " + std::to_string(args.size()));
    }
  };
  constexpr size_t kAny = 1000;
  switch (function) {
    case Function::kAnd:
    case Function::kOr:
      need(1, kAny);
      return args.back();
    case Function::kNot: {
      need(1, 1);
      const Val& value = args[0];
      const auto* object = std::get_if<const Value*>(&value);
      const bool is_empty_dict =
          object != nullptr && (*object)->as_dict() != nullptr && (*object)->as_dict()->empty();
      if (has_text(value)) return text_of(value).empty();
      if (const bool* flag = std::get_if<bool>(&value)) return !*flag;
      if (const int64_t* integer = std::get_if<int64_t>(&value)) return *integer == 0;
      if (const double* real = std::get_if<double>(&value)) return *real == 0;
      if (const ListView* list = std::get_if<ListView>(&value)) return list->size == 0;
      return object == nullptr || (*object)->is_none() || is_empty_dict;
    }
    case Function::kEq: {
      need(2, kAny);
      for (size_t i = 1; i < args.size(); ++i) {
        if (compare(function, args[0], args[i])) return true;
      }
      return false;
    }
    case Function::kNe:
      need(2, 2);
      return !compare(Function::kEq, args[0], args[1]);
    case Function::kLt:
    case Function::kLe:
      need(2, 2);
      return compare(function, args[0], args[1]);
    case Function::kGt:
    case Function::kGe:
      need(2, 2);
      return compare(function == Function::kGt ? Function::kLt : Function::kLe, args[1], args[0]);
    case Function::kLen: {
      need(1, 1);
      if (std::holds_alternative<Missing>(args[0])) return int64_t{0};
      if (has_text(args[0])) return static_cast<int64_t>(text_of(args[0]).size());
      if (const ListView* list = std::get_if<ListView>(&args[0])) {
        return static_cast<int64_t>(list->size);
      }
      const auto* object = std::get_if<const Value*>(&args[0]);
      if (object == nullptr || (*object)->as_dict() == nullptr)
        fail("len of something without one");
      return static_cast<int64_t>((*object)->as_dict()->size());
    }
    case Function::kIndex:
      need(1, kAny);
      return index(args);
    case Function::kSlice:
      need(1, 3);
      return slice(args);
    case Function::kPrint:
    case Function::kPrintln:
      return print(args, function == Function::kPrintln);
    case Function::kPrintf:
      need(1, kAny);
      return print_format(args);
    case Function::kJson:
      need(1, 1);
      return make_text({text_of_json(args[0]), false});
    case Function::kCurrentDate:
      return date(0);
    case Function::kYesterdayDate:
      return date(1);
  }
  return Missing{};
}

Val Interpreter::index(const std::vector<Val>& args) {
  Val value = args[0];
  for (size_t i = 1; i < args.size(); ++i) {
    if (const ListView* list = std::get_if<ListView>(&value)) {
      const int64_t at = int_of(args[i]);
      if (at < 0 || static_cast<size_t>(at) >= list->size) {
        fail("index out of range: " + std::to_string(at));
      }
      const Value& item = list->items[at];
      const Value* plain = &item;
      if (const auto* nested = item.as_list()) {
        value = ListView{nested->data(), nested->size()};
      } else if (const int64_t* integer = item.as_int()) {
        value = *integer;
      } else if (const double* real = item.as_double()) {
        value = *real;
      } else if (const bool* flag = item.as_bool()) {
        value = *flag;
      } else {
        value = plain;
      }
    } else if (has_text(args[i])) {
      value = field(value, text_of(args[i]).text());
    } else {
      fail("can't index this");
    }
  }
  return value;
}

Val Interpreter::slice(const std::vector<Val>& args) {
  const ListView* list = std::get_if<ListView>(&args[0]);
  const PromptText text = list == nullptr ? text_of(args[0]) : PromptText();
  if (list == nullptr && !has_text(args[0]) && !std::holds_alternative<Missing>(args[0])) {
    fail("can't slice this");
  }
  const auto size = static_cast<int64_t>(list != nullptr ? list->size : text.size());
  const int64_t begin = args.size() > 1 ? int_of(args[1]) : 0;
  const int64_t end = args.size() > 2 ? int_of(args[2]) : size;
  if (begin < 0 || begin > end || end > size) fail("slice index out of range");
  const auto first = static_cast<size_t>(begin), count = static_cast<size_t>(end - begin);
  if (list != nullptr) return ListView{list->items + first, count};
  return make_text(text.substr(first, count));
}

// Spaces stand between two values of which neither is a text; with `is_line` between all.
Val Interpreter::print(const std::vector<Val>& args, bool is_line) {
  PromptText out;
  for (size_t i = 0; i < args.size(); ++i) {
    const bool has_space = is_line || (!has_text(args[i]) && i > 0 && !has_text(args[i - 1]));
    if (i > 0 && has_space) out.append(" ", true);
    out.append(text_of(args[i]));
    if (out.size() > limits_.max_memory_bytes) fail("the template needs too much memory");
  }
  if (is_line) out.append("\n", true);
  return make_text(std::move(out));
}

Val Interpreter::print_format(const std::vector<Val>& args) {
  const PromptText format = text_of(args[0]);
  const std::string& text = format.text();
  PromptText out;
  size_t next = 1;
  for (size_t i = 0; i < text.size();) {
    const size_t percent = std::min(text.find('%', i), text.size());
    out.append(format, i, percent - i);
    if (percent == text.size()) break;
    const char verb = percent + 1 < text.size() ? text[percent + 1] : '\0';
    i = percent + 2;
    if (verb == '%') {
      out.append(format, percent, 1);
      continue;
    }
    if (std::string_view("svdtq").find(verb) == std::string_view::npos || verb == '\0') {
      fail(std::string("printf: %") + (verb > ' ' && verb < 127 ? verb : '?') +
           " is not supported");
    }
    if (next >= args.size()) fail("printf: missing argument");
    const Val& arg = args[next++];
    if (verb == 'q') {
      out.append(text_of_json(arg), false);
    } else {
      out.append(text_of(arg));
    }
    if (out.size() > limits_.max_memory_bytes) fail("the template needs too much memory");
  }
  return make_text(std::move(out));
}

Val Interpreter::date(int days_back) {
  std::tm day{};
  if (limits_.now) {
    day = *limits_.now;
  } else {
    const std::time_t now = std::time(nullptr);
    localtime_r(&now, &day);
  }
  day.tm_mday -= days_back;
  day.tm_isdst = -1;
  std::mktime(&day);
  char text[32];
  const size_t size = std::strftime(text, sizeof text, "%Y-%m-%d", &day);
  return make_text({std::string(text, size), true});
}

}  // namespace sluice::text::gotmpl
