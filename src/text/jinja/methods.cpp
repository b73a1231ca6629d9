#include <algorithm>
#include <cmath>

#include "text/jinja/interpreter.h"
#include "text/jinja/ops.h"

// Methods and plain attributes of everything but strings, and the lookup of all of them.
namespace sluice::text::jinja {

namespace {

using Args = const CallArgs&;

Val refuse(Interpreter&, const Val&, Args) {
  throw TemplateError("this method is not supported in templates");
}

Val dict_get(Interpreter&, const Val& self, Args args) {
  Vals bound = bind(args, "get", "key default?", true);
  size_t hash = 0;
  if (!hash_value(bound[0], hash)) throw_type_error("use as a key", bound[0]);
  const Val* found = self.as<DictObject>().find(bound[0]);
  return found != nullptr ? *found : value_or(bound[1], Val());
}

template <DictViewObject::What what>
Val dict_view(Interpreter&, const Val& self, Args args) {
  bind(args, "keys", "");
  return Val(new DictViewObject(self, what));
}

Val copy(Interpreter& interpreter, const Val& self, Args args) {
  bind(args, "copy", "");
  if (self.is(Type::kList)) return make_list(interpreter.heap(), self.items());
  auto* dict = new DictObject(interpreter.heap());
  Val result(dict);
  for (const auto& [key, value] : self.as<DictObject>().items()) dict->set(key, value);
  return result;
}

Val from_keys(Interpreter& interpreter, const Val&, Args args) {
  Vals bound = bind(args, "fromkeys", "iterable value?", true);
  auto* dict = new DictObject(interpreter.heap());
  Val result(dict);
  for (Val& key : to_vals(interpreter.heap(), bound[0])) {
    dict->set(std::move(key), value_or(bound[1], Val()));
  }
  return result;
}

Val sequence_count(Interpreter& interpreter, const Val& self, Args args) {
  Val item = bind(args, "count", "value", true)[0];
  Vals items = to_vals(interpreter.heap(), self);
  return Val::integer(std::count_if(items.begin(), items.end(),
                                    [&](const Val& other) { return equals(other, item); }));
}

Val sequence_index(Interpreter& interpreter, const Val& self, Args args) {
  Vals bound = bind(args, "index", "value start? stop?", true);
  Vals items = to_vals(interpreter.heap(), self);
  auto size = static_cast<int64_t>(items.size());
  auto clamp = [&](const Val& value, int64_t otherwise) {
    if (value.is_missing()) return otherwise;
    int64_t position = to_index(value, "a list index");
    return std::clamp<int64_t>(position < 0 ? position + size : position, 0, size);
  };
  int64_t end = clamp(bound[2], size);
  for (int64_t i = clamp(bound[1], 0); i < end; ++i) {
    if (equals(items[static_cast<size_t>(i)], bound[0])) return Val::integer(i);
  }
  throw TemplateError("the value is not in the list");
}

Val loop_cycle(Interpreter&, const Val& self, Args args) {
  if (args.positional.empty()) throw TemplateError("no items for cycling given");
  if (!args.keywords.empty()) throw TemplateError("cycle() takes no keyword arguments");
  auto index = static_cast<size_t>(std::max<int64_t>(self.as<LoopObject>().index0, 0));
  return args.positional[index % args.positional.size()];
}

Val loop_changed(Interpreter& interpreter, const Val& self, Args args) {
  if (!args.keywords.empty()) throw TemplateError("changed() takes no keyword arguments");
  auto& loop = self.as<LoopObject>();
  Val values = make_tuple(interpreter.heap(), args.positional);
  if (!loop.last_changed.is_missing() && equals(loop.last_changed, values)) {
    return Val::boolean(false);
  }
  loop.last_changed = values;
  return Val::boolean(true);
}

Val cycler_next(Interpreter&, const Val& self, Args args) {
  bind(args, "next", "");
  auto& cycler = self.as<CyclerObject>();
  Val result = cycler.items[cycler.position];
  cycler.position = (cycler.position + 1) % cycler.items.size();
  return result;
}

Val cycler_reset(Interpreter&, const Val& self, Args args) {
  bind(args, "reset", "");
  self.as<CyclerObject>().position = 0;
  return Val();
}

Val float_is_integer(Interpreter&, const Val& self, Args args) {
  bind(args, "is_integer", "");
  double value = self.float_value();
  return Val::boolean(std::isfinite(value) && value == std::floor(value));
}

Val number_conjugate(Interpreter&, const Val& self, Args args) {
  bind(args, "conjugate", "");
  return self;
}

Val int_bit_length(Interpreter&, const Val& self, Args args) {
  bind(args, "bit_length", "");
  uint64_t magnitude = self.int_value() < 0 ? 0 - static_cast<uint64_t>(self.int_value())
                                            : static_cast<uint64_t>(self.int_value());
  return Val::integer(magnitude == 0 ? 0 : 64 - __builtin_clzll(magnitude));
}

using What = DictViewObject::What;

const MethodTable& dict_methods() {
  static const MethodTable table = {
      {"get", dict_get},
      {"keys", dict_view<What::kKeys>},
      {"values", dict_view<What::kValues>},
      {"items", dict_view<What::kItems>},
      {"copy", copy},
      {"fromkeys", from_keys},
      {"clear", refuse, true},
      {"pop", refuse, true},
      {"popitem", refuse, true},
      {"setdefault", refuse, true},
      {"update", refuse, true},
  };
  return table;
}

const MethodTable& list_methods() {
  static const MethodTable table = {
      {"count", sequence_count}, {"index", sequence_index}, {"copy", copy},
      {"append", refuse, true},  {"clear", refuse, true},   {"extend", refuse, true},
      {"insert", refuse, true},  {"pop", refuse, true},     {"remove", refuse, true},
      {"reverse", refuse, true}, {"sort", refuse, true},
  };
  return table;
}

const MethodTable& other_methods(Type type) {
  static const MethodTable sequence = {{"count", sequence_count}, {"index", sequence_index}};
  static const MethodTable loop = {{"cycle", loop_cycle}, {"changed", loop_changed}};
  static const MethodTable cycler = {{"next", cycler_next}, {"reset", cycler_reset}};
  static const MethodTable real = {{"is_integer", float_is_integer},
                                   {"conjugate", number_conjugate},
                                   {"hex", refuse},
                                   {"fromhex", refuse},
                                   {"as_integer_ratio", refuse}};
  static const MethodTable integer = {
      {"bit_length", int_bit_length}, {"conjugate", number_conjugate},
      {"bit_count", refuse},          {"to_bytes", refuse},
      {"from_bytes", refuse},         {"as_integer_ratio", refuse}};
  static const MethodTable view = {{"isdisjoint", refuse}, {"mapping", refuse}};
  static const MethodTable iterator = {{"send", refuse}, {"throw", refuse}, {"close", refuse}};
  static const MethodTable function = {{"fromkeys", from_keys}};
  static const MethodTable none;
  switch (type) {
    case Type::kTuple:
    case Type::kRange:
      return sequence;
    case Type::kLoop:
      return loop;
    case Type::kCycler:
      return cycler;
    case Type::kFloat:
      return real;
    case Type::kInt:
    case Type::kBool:
      return integer;
    case Type::kDictView:
      return view;
    case Type::kIterator:
      return iterator;
    case Type::kFunction:
      return function;
    default:
      return none;
  }
}

const MethodEntry* find_in(const MethodTable& table, std::string_view name) {
  auto found = std::find_if(table.begin(), table.end(),
                            [&](const MethodEntry& entry) { return entry.name == name; });
  return found == table.end() ? nullptr : &*found;
}

Val loop_property(Heap& heap, LoopObject& loop, std::string_view name) {
  if (name == "index") return Val::integer(loop.index0 + 1);
  if (name == "index0") return Val::integer(loop.index0);
  if (name == "first") return Val::boolean(loop.index0 == 0);
  if (name == "depth") return Val::integer(loop.depth0 + 1);
  if (name == "depth0") return Val::integer(loop.depth0);
  if (name == "length") return Val::integer(loop.length());
  if (name == "revindex") return Val::integer(loop.length() - loop.index0);
  if (name == "revindex0") return Val::integer(loop.length() - loop.index0 - 1);
  Val item;
  if (name == "last") return Val::boolean(!loop.peek(item));
  if (name == "nextitem") {
    return loop.peek(item) ? item : make_undefined(heap, "there is no next item");
  }
  if (name == "previtem") {
    return loop.index0 == 0 ? make_undefined(heap, "there is no previous item") : loop.previous;
  }
  return Val::missing();
}

Val macro_property(Heap& heap, const MacroObject& macro, std::string_view name) {
  const Function& function = *macro.stmt.function;
  if (name == "name") return macro.name().empty() ? Val() : make_string(heap, macro.name());
  if (name == "catch_kwargs") return Val::boolean(function.kwargs_slot >= 0);
  if (name == "catch_varargs") return Val::boolean(function.varargs_slot >= 0);
  if (name == "caller") return Val::boolean(function.caller_slot >= 0);
  if (name == "explicit_caller") return Val::boolean(function.has_explicit_caller);
  if (name != "arguments") return Val::missing();
  Vals names;
  for (const ExprPtr& param : macro.stmt.params) names.push_back(make_string(heap, param->text));
  return make_tuple(heap, std::move(names));
}

Val number_property(const Val& number, std::string_view name) {
  bool is_float = number.is(Type::kFloat);
  if (name == "real") return is_float ? number : Val::integer(number.int_value());
  if (name == "imag") return is_float ? Val::real(0) : Val::integer(0);
  if (is_float) return Val::missing();
  if (name == "numerator") return Val::integer(number.int_value());
  return name == "denominator" ? Val::integer(1) : Val::missing();
}

}  // namespace

const MethodEntry* find_method(Type type, std::string_view name) {
  if (type == Type::kString) {
    for (const MethodTable* table :
         {&string_methods(), &string_search_methods(), &string_class_methods()}) {
      if (const MethodEntry* entry = find_in(*table, name)) return entry;
    }
    return nullptr;
  }
  if (type == Type::kDict) return find_in(dict_methods(), name);
  if (type == Type::kList) return find_in(list_methods(), name);
  return find_in(other_methods(type), name);
}

Val find_property(Heap& heap, const Val& object, std::string_view name) {
  switch (object.type()) {
    case Type::kLoop:
      return loop_property(heap, object.as<LoopObject>(), name);
    case Type::kMacro:
      return macro_property(heap, object.as<MacroObject>(), name);
    case Type::kInt:
    case Type::kBool:
    case Type::kFloat:
      return number_property(object, name);
    case Type::kTuple:
      if (!object.as<SequenceObject>().group) return Val::missing();
      if (name == "grouper") return object.items()[0];
      return name == "list" ? object.items()[1] : Val::missing();
    case Type::kRange: {
      const auto& range = object.as<RangeObject>();
      if (name == "start") return Val::integer(range.start);
      if (name == "stop") return Val::integer(range.stop);
      return name == "step" ? Val::integer(range.step) : Val::missing();
    }
    case Type::kCycler: {
      const auto& cycler = object.as<CyclerObject>();
      if (name == "current") return cycler.items[cycler.position];
      if (name == "pos") return Val::integer(static_cast<int64_t>(cycler.position));
      return name == "items" ? make_tuple(heap, cycler.items) : Val::missing();
    }
    case Type::kJoiner:
      if (name == "sep") return object.as<JoinerObject>().separator;
      return name == "used" ? Val::boolean(object.as<JoinerObject>().used) : Val::missing();
    default:
      return Val::missing();
  }
}

}  // namespace sluice::text::jinja
