#include <algorithm>
#include <ctime>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/ops.h"

// Matching arguments with parameters, and the global functions.
namespace sluice::text::jinja {

void bind(const Builtin& builtin, CallArgs& args) {
  if (builtin.params == "*") return;
  size_t count = 0, num_keywords = 0;
  const size_t num_given = args.positional.size();
  for (std::string_view rest = builtin.params; !rest.empty(); ++count) {
    std::string_view param = rest.substr(0, rest.find(' '));
    rest.remove_prefix(std::min(param.size() + 1, rest.size()));
    const bool is_optional = param.ends_with('?');
    if (is_optional) param.remove_suffix(1);
    if (count >= num_given) args.positional.push_back(Val::missing());
    for (auto& [name, value] : args.keywords) {
      if (name != param) continue;
      if (count < num_given) fail(builtin.name, "() got multiple values for argument '", name, "'");
      args.positional[count] = std::move(value);
      ++num_keywords;
    }
    if (args.positional[count].is_missing() && !is_optional) {
      fail(builtin.name, "() misses the argument '", param, "'");
    }
  }
  if (num_given > count) fail(builtin.name, "() takes at most ", count, " arguments");
  if (num_keywords < args.keywords.size()) {
    fail(builtin.name, "() got an unexpected keyword argument");
  }
}

bool Call::flag(size_t i) const { return has(i) && is_true(args.positional[i]); }

int64_t Call::index(size_t i, const char* what, int64_t otherwise) const {
  return has(i) ? to_index(args.positional[i], what) : otherwise;
}

const PromptText& Call::string(size_t i, const char* what) const {
  const Val& value = args.positional[i];
  if (!value.is_string()) throw_type_error(std::string("use as ") + what, value);
  return value.prompt_text();
}

namespace {

Val range(const Call& call) {
  constexpr size_t kMaxLength = 100000;  // as jinja2's sandbox
  int64_t start = call.index(0, "a range bound"), stop = 0;
  if (call.has(1)) {
    stop = call.index(1, "a range bound");
  } else {
    std::swap(start, stop);
  }
  const int64_t step = call.index(2, "a range step", 1);
  if (step == 0) fail("range() step must not be zero");
  Vals items;
  for (__int128 i = start; step > 0 ? i < stop : i > stop; i += step) {
    if (items.size() == kMaxLength) fail("Range too big: more than ", kMaxLength, " items");
    items.push_back(Val::integer(static_cast<int64_t>(i)));
  }
  return make_list(call.heap, std::move(items));
}

Val dict(const Call& call) {
  if (call.args.positional.size() > 1) fail("dict() takes at most 1 argument");
  auto* dict = new DictObject(call.heap);
  Val result(dict);
  if (!call.args.positional.empty() && call[0].is(Type::kDict)) {
    for (const auto& [key, value] : call[0].as<DictObject>().items()) dict->set(key, value);
  } else if (!call.args.positional.empty()) {
    for (const Val& item : to_vals(call.heap, call[0])) {
      const Vals pair = to_vals(call.heap, item);
      if (pair.size() != 2) fail("each item of a dict must be a pair");
      dict->set(pair[0], pair[1]);
    }
  }
  for (const auto& [name, value] : call.args.keywords) {
    dict->set(make_string(call.heap, name, call.args.has_own_keywords), value);
  }
  return result;
}

Val make_namespace(const Call& call) {
  const Val attributes = dict(call);
  auto* space = new NamespaceObject(call.heap);
  Val result(space);
  for (const auto& [key, value] : attributes.as<DictObject>().items()) {
    if (!key.is_string()) throw_type_error("name an attribute with", key);
    space->set(key.prompt_text(), value);
  }
  return result;
}

Val raise_exception(const Call& call) { fail(to_text(call.heap, call[0])); }

Val strftime_now(const Call& call) {
  constexpr size_t kMaxLength = 4096;
  const PromptText& given = call.string(0, "a time format");
  const std::string& wanted = given.text();
  std::string format;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] == '\0') fail("embedded null character");
    const char field = wanted[i] == '%' && i + 1 < wanted.size() ? wanted[i + 1] : '\0';
    if (field == 'f') fail("the time format '%f' is not supported");
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
    const std::time_t seconds = std::time(nullptr);
    localtime_r(&seconds, &now);
  }
  char buffer[kMaxLength];
  const size_t length = std::strftime(buffer, sizeof buffer, format.c_str(), &now);
  if (length == 0) fail("the formatted time is too long");
  return make_string(call.heap, std::string(buffer, length - 1), given.is_trusted());
}

constexpr Builtin kFunctions[] = {
    {"range", "start stop? step?", range},    {"dict", "*", dict},
    {"namespace", "*", make_namespace},       {"raise_exception", "message", raise_exception},
    {"strftime_now", "format", strftime_now},
};

}  // namespace

const Builtin* find_function(std::string_view name) { return find_row(kFunctions, name); }

}  // namespace sluice::text::jinja
