#include <algorithm>
#include <array>

#include "text/jinja/interpreter.h"
#include "text/jinja/ops.h"

// Matching arguments with parameters, and the global functions.
namespace sluice::text::jinja {

namespace {

struct Parameter {
  std::string_view name;
  bool optional;
};

std::vector<Parameter> parse_parameters(std::string_view params) {
  std::vector<Parameter> result;
  while (!params.empty()) {
    size_t end = std::min(params.find(' '), params.size());
    std::string_view name = params.substr(0, end);
    bool optional = name.back() == '?';
    result.push_back({optional ? name.substr(0, name.size() - 1) : name, optional});
    params.remove_prefix(std::min(end + 1, params.size()));
  }
  return result;
}

}  // namespace

Vals bind(const CallArgs& args, std::string_view function, std::string_view params,
          bool positional_only) {
  std::vector<Parameter> parameters = parse_parameters(params);
  std::string name(function);
  if (args.positional.size() > parameters.size()) {
    throw TemplateError(name + "() takes at most " + std::to_string(parameters.size()) +
                        " arguments");
  }
  Vals bound(args.positional);
  bound.resize(parameters.size(), Val::missing());
  for (const auto& [keyword, value] : args.keywords) {
    const std::string& wanted = keyword;
    auto found = std::find_if(parameters.begin(), parameters.end(),
                              [&](const Parameter& p) { return p.name == wanted; });
    if (positional_only || found == parameters.end()) {
      throw TemplateError(name + "() got an unexpected keyword argument '" + keyword + "'");
    }
    Val& target = bound[static_cast<size_t>(found - parameters.begin())];
    if (!target.is_missing()) {
      throw TemplateError(name + "() got multiple values for argument '" + keyword + "'");
    }
    target = value;
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (bound[i].is_missing() && !parameters[i].optional) {
      throw TemplateError(name + "() misses the argument '" + std::string(parameters[i].name) +
                          "'");
    }
  }
  return bound;
}

namespace {

Val make_range(Interpreter& interpreter, const CallArgs& args) {
  constexpr int64_t kMaxLength = 100000;  // as jinja2's sandbox
  Vals bound = bind(args, "range", "start stop? step?", true);
  int64_t start = to_index(bound[0], "a range bound"), stop = 0, step = 1;
  if (bound[1].is_missing()) {
    stop = start;
    start = 0;
  } else {
    stop = to_index(bound[1], "a range bound");
  }
  if (!bound[2].is_missing()) step = to_index(bound[2], "a range step");
  if (step == 0) throw TemplateError("range() step must not be zero");
  // Unsigned differences cannot overflow.
  uint64_t length = 0;
  if (step > 0 && start < stop) {
    uint64_t distance = static_cast<uint64_t>(stop) - static_cast<uint64_t>(start);
    length = (distance - 1) / static_cast<uint64_t>(step) + 1;
  } else if (step < 0 && start > stop) {
    uint64_t distance = static_cast<uint64_t>(start) - static_cast<uint64_t>(stop);
    length = (distance - 1) / (0 - static_cast<uint64_t>(step)) + 1;
  }
  if (length > kMaxLength) throw TemplateError("Range too big: more than 100000 items");
  return Val(new RangeObject(interpreter.heap(), start, stop, step, static_cast<int64_t>(length)));
}

// Key and value of one item of the list that dict() and namespace() take.
std::pair<Val, Val> pair_of(Heap& heap, const Val& item) {
  Vals pair = to_vals(heap, item);
  if (pair.size() != 2) throw TemplateError("each item of a dict must be a pair");
  return {pair[0], pair[1]};
}

Val make_dict(Interpreter& interpreter, const CallArgs& args) {
  if (args.positional.size() > 1) throw TemplateError("dict() takes at most 1 argument");
  auto* dict = new DictObject(interpreter.heap());
  Val result(dict);
  if (!args.positional.empty()) {
    const Val& source = args.positional[0];
    if (source.is(Type::kDict)) {
      for (const auto& [key, value] : source.as<DictObject>().items()) dict->set(key, value);
    } else {
      for (const Val& item : to_vals(interpreter.heap(), source)) {
        auto [key, value] = pair_of(interpreter.heap(), item);
        dict->set(key, value);
      }
    }
  }
  for (const auto& [name, value] : args.keywords) dict->set(interpreter.string(name), value);
  return result;
}

Val make_namespace(Interpreter& interpreter, const CallArgs& args) {
  Val dict = make_dict(interpreter, args);
  auto* space = new NamespaceObject(interpreter.heap());
  Val result(space);
  for (const auto& [key, value] : dict.as<DictObject>().items()) {
    if (!key.is_string()) throw_type_error("name an attribute with", key);
    if (!key.text().empty() && key.text()[0] == '_') {
      throw TemplateError("attributes of a namespace may not start with '_': " + key.text());
    }
    space->set(key.text(), value);
  }
  return result;
}

Val make_cycler(Interpreter& interpreter, const CallArgs& args) {
  if (!args.keywords.empty()) throw TemplateError("cycler() takes no keyword arguments");
  if (args.positional.empty()) throw TemplateError("at least one item has to be provided");
  return Val(new CyclerObject(interpreter.heap(), args.positional));
}

Val make_joiner(Interpreter& interpreter, const CallArgs& args) {
  Vals bound = bind(args, "joiner", "sep?");
  return Val(new JoinerObject(interpreter.heap(), value_or(bound[0], interpreter.string(", "))));
}

Val raise_exception(Interpreter& interpreter, const CallArgs& args) {
  Vals bound = bind(args, "raise_exception", "message");
  throw TemplateError(to_text(interpreter.heap(), bound[0]));
}

Val strftime_now(Interpreter& interpreter, const CallArgs& args) {
  Vals bound = bind(args, "strftime_now", "format");
  if (!bound[0].is_string()) throw_type_error("use as a time format", bound[0]);
  return interpreter.string(format_time(interpreter, bound[0].text()));
}

Val refuse_lipsum(Interpreter&, const CallArgs&) {
  throw TemplateError("lipsum() is not supported: a prompt must not be random");
}

}  // namespace

const FunctionEntry* find_function(std::string_view name) {
  static constexpr std::array<FunctionEntry, 8> kFunctions{{
      {"range", make_range},
      {"dict", make_dict},
      {"namespace", make_namespace},
      {"cycler", make_cycler},
      {"joiner", make_joiner},
      {"lipsum", refuse_lipsum},
      {"raise_exception", raise_exception},
      {"strftime_now", strftime_now},
  }};
  for (const FunctionEntry& entry : kFunctions) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

}  // namespace sluice::text::jinja
