#include <chrono>
#include <ctime>
#include <vector>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/ops.h"

// Matching arguments with parameters, and the global functions.
namespace sluice::text::jinja {

namespace {

struct Parameter {
  std::string_view name;
  bool is_optional;
};

// Takes the first parameter off the list.
Parameter next_parameter(std::string_view& params) {
  const size_t end = std::min(params.find(' '), params.size());
  std::string_view name = params.substr(0, end);
  params.remove_prefix(std::min(end + 1, params.size()));
  const bool is_optional = name.ends_with('?');
  if (is_optional) name.remove_suffix(1);
  return {name, is_optional};
}

}  // namespace

void bind(const Builtin& builtin, CallArgs& args) {
  if (builtin.params == "*") return;
  const auto fail = [&](const std::string& what) {
    throw TemplateError(std::string(builtin.name) + "() " + what);
  };
  size_t count = 0, num_keywords = 0;
  const size_t num_given = args.positional.size();
  for (std::string_view rest = builtin.params; !rest.empty(); ++count) {
    const Parameter parameter = next_parameter(rest);
    if (count >= args.positional.size()) args.positional.push_back(Val::missing());
    for (auto& [name, value] : args.keywords) {
      if (name != parameter.name) continue;
      if (count < num_given) fail("got multiple values for argument '" + name + "'");
      args.positional[count] = std::move(value);
      ++num_keywords;
    }
    if (args.positional[count].is_missing() && !parameter.is_optional) {
      fail("misses the argument '" + std::string(parameter.name) + "'");
    }
  }
  if (num_given > count) fail("takes at most " + std::to_string(count) + " arguments");
  if (num_keywords < args.keywords.size()) fail("got an unexpected keyword argument");
}

bool Call::flag(size_t i) const { return has(i) && is_true(args.positional[i]); }

int64_t Call::index(size_t i, const char* what, int64_t otherwise) const {
  return is_given(i) ? to_index(args.positional[i], what) : otherwise;
}

const PromptText& Call::string(size_t i, const char* what) const {
  const Val& value = args.positional[i];
  if (!value.is_string()) throw_type_error(std::string("use as ") + what, value);
  return value.prompt_text();
}

namespace {

Val range(const Call& call) {
  constexpr uint64_t kMaxLength = 100000;  // as jinja2's sandbox
  int64_t start = call.index(0, "a range bound"), stop = 0;
  if (call.has(1)) {
    stop = call.index(1, "a range bound");
  } else {
    std::swap(start, stop);
  }
  const int64_t step = call.index(2, "a range step", 1);
  if (step == 0) throw TemplateError("range() step must not be zero");
  // Unsigned differences cannot overflow.
  uint64_t length = 0;
  if (step > 0 && start < stop) {
    const uint64_t distance = static_cast<uint64_t>(stop) - static_cast<uint64_t>(start);
    length = (distance - 1) / static_cast<uint64_t>(step) + 1;
  } else if (step < 0 && start > stop) {
    const uint64_t distance = static_cast<uint64_t>(start) - static_cast<uint64_t>(stop);
    length = (distance - 1) / (0 - static_cast<uint64_t>(step)) + 1;
  }
  if (length > kMaxLength) throw TemplateError("Range too big: more than 100000 items");
  Vals items;
  items.reserve(length);
  for (uint64_t i = 0; i < length; ++i) {
    items.push_back(Val::integer(start + static_cast<int64_t>(i) * step));
  }
  return make_list(call.heap, std::move(items));
}

Val dict(const Call& call) {
  if (call.args.positional.size() > 1) throw TemplateError("dict() takes at most 1 argument");
  auto* dict = new DictObject(call.heap);
  Val result(dict);
  if (!call.args.positional.empty()) {
    const Val& source = call[0];
    if (source.is(Type::kDict)) {
      for (const auto& [key, value] : source.as<DictObject>().items()) dict->set(key, value);
    } else {
      for (const Val& item : to_vals(call.heap, source)) {
        Vals pair = to_vals(call.heap, item);
        if (pair.size() != 2) throw TemplateError("each item of a dict must be a pair");
        dict->set(std::move(pair[0]), std::move(pair[1]));
      }
    }
  }
  for (const auto& [name, value] : call.args.keywords) {
    dict->set(make_string(call.heap, name, true), value);
  }
  return result;
}

Val make_namespace(const Call& call) {
  const Val attributes = dict(call);
  auto* space = new NamespaceObject(call.heap);
  Val result(space);
  for (const auto& [key, value] : attributes.as<DictObject>().items()) {
    if (!key.is_string()) throw_type_error("name an attribute with", key);
    if (key.text().starts_with('_')) {
      throw TemplateError("attributes of a namespace may not start with '_': " + key.text());
    }
    space->set(key.text(), value);
  }
  return result;
}

Val raise_exception(const Call& call) { throw TemplateError(to_text(call.heap, call[0])); }

Val strftime_now(const Call& call) {
  constexpr size_t kMaxLength = 4096;
  const std::string& wanted = call.string(0, "a time format").text();
  std::string format;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] == '\0') throw TemplateError("embedded null character");
    const char field = wanted[i] == '%' && i + 1 < wanted.size() ? wanted[i + 1] : '\0';
    if (field == 'f') throw TemplateError("the time format '%f' is not supported");
    if (field == 'z' || field == 'Z') {  // empty for a local time, as in Python
      ++i;
      continue;
    }
    format.push_back(wanted[i]);
    if (field != '\0') format.push_back(wanted[++i]);
  }
  format.push_back('x');  // tells an empty result from one that does not fit
  std::tm now{};
  if (const std::tm* fixed = call.interpreter.options().now) {
    now = *fixed;
  } else {
    const std::time_t seconds =
        std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    localtime_r(&seconds, &now);
  }
  char buffer[kMaxLength];
  const size_t length = std::strftime(buffer, sizeof buffer, format.c_str(), &now);
  if (length == 0) throw TemplateError("the formatted time is too long");
  return make_string(call.heap, std::string(buffer, length - 1), true);
}

constexpr Builtin kFunctions[] = {
    {"range", "start stop? step?", range},    {"dict", "*", dict},
    {"namespace", "*", make_namespace},       {"raise_exception", "message", raise_exception},
    {"strftime_now", "format", strftime_now},
};

}  // namespace

const Builtin* find_function(std::string_view name) {
  for (const Builtin& function : kFunctions) {
    if (function.name == name) return &function;
  }
  return nullptr;
}

}  // namespace sluice::text::jinja
