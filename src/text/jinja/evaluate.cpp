#include "text/jinja/interpreter.h"
#include "text/jinja/ops.h"

namespace sluice::text::jinja {

namespace {
struct Counter {
  explicit Counter(int& value) : value(value) { ++value; }
  ~Counter() { --value; }
  int& value;
};
}  // namespace

Val Interpreter::eval(const Expr& expr, FrameObject& frame) {
  if (expr.kind == ExprKind::kConst) return constants_[static_cast<size_t>(expr.constant_index)];
  heap_.charge(1);
  Counter counter(nesting_);
  if (nesting_ > options_.max_nesting) throw TemplateError("calls are nested too deeply");
  line_ = expr.line;
  switch (expr.kind) {
    case ExprKind::kName:
    case ExprKind::kNsRef:
      return eval_name(expr, frame);
    case ExprKind::kTuple:
    case ExprKind::kList:
      return eval_items(expr, frame);
    case ExprKind::kDict:
      return eval_dict(expr, frame);
    case ExprKind::kCond:
    case ExprKind::kAnd:
    case ExprKind::kOr:
      return eval_logic(expr, frame);
    case ExprKind::kNot:
      return Val::boolean(!is_true(eval(*expr.items[0], frame)));
    case ExprKind::kNegate:
      return negate(eval(*expr.items[0], frame));
    case ExprKind::kPlus:
      return plus(eval(*expr.items[0], frame));
    case ExprKind::kBinary: {
      Val left = eval(*expr.items[0], frame);
      Val right = eval(*expr.items[1], frame);
      return binary_op(heap_, expr.op, left, right);
    }
    case ExprKind::kConcat:
      return eval_concat(expr, frame);
    case ExprKind::kCompare:
      return eval_compare(expr, frame);
    case ExprKind::kGetAttr: {
      Val object = eval(*expr.items[0], frame);
      return get_attribute(heap_, object, expr.text);
    }
    case ExprKind::kGetItem:
      return eval_get_item(expr, frame);
    case ExprKind::kCall:
      return eval_call(expr, frame, nullptr);
    case ExprKind::kFilter:
    case ExprKind::kTest:
      return eval_filter(expr, frame);
    default:
      throw TemplateError("a slice may only stand alone in brackets");
  }
}

Val Interpreter::eval_name(const Expr& expr, FrameObject& frame) {
  const Val& value = slot(frame, expr.ref);
  if (value.is_missing()) return make_undefined(heap_, "'" + expr.text + "' is undefined");
  return value;
}

Val Interpreter::eval_items(const Expr& expr, FrameObject& frame) {
  Vals items;
  items.reserve(expr.items.size());
  for (const ExprPtr& item : expr.items) items.push_back(eval(*item, frame));
  return expr.kind == ExprKind::kList ? make_list(heap_, std::move(items))
                                      : make_tuple(heap_, std::move(items));
}

Val Interpreter::eval_dict(const Expr& expr, FrameObject& frame) {
  auto* dict = new DictObject(heap_);
  Val result(dict);
  for (size_t i = 0; i < expr.items.size(); i += 2) {
    Val key = eval(*expr.items[i], frame);
    Val value = eval(*expr.items[i + 1], frame);
    dict->set(std::move(key), std::move(value));
  }
  return result;
}

Val Interpreter::eval_logic(const Expr& expr, FrameObject& frame) {
  Val first = eval(*expr.items[0], frame);
  bool truth = is_true(first);
  if (expr.kind == ExprKind::kAnd) return truth ? eval(*expr.items[1], frame) : first;
  if (expr.kind == ExprKind::kOr) return truth ? first : eval(*expr.items[1], frame);
  if (truth) return eval(*expr.items[1], frame);
  if (expr.items[2]) return eval(*expr.items[2], frame);
  return make_undefined(heap_, "the inline if-expression on line " + std::to_string(expr.line) +
                                   " evaluated to false and no else section was defined");
}

Val Interpreter::eval_concat(const Expr& expr, FrameObject& frame) {
  std::string text;
  for (const ExprPtr& item : expr.items) {
    std::string part = to_text(heap_, eval(*item, frame));
    heap_.check_bytes(text.size() + part.size());
    text += part;
  }
  return make_string(heap_, std::move(text));
}

Val Interpreter::eval_compare(const Expr& expr, FrameObject& frame) {
  Val left = eval(*expr.items[0], frame);
  for (size_t i = 0; i < expr.ops.size(); ++i) {
    Val right = eval(*expr.items[i + 1], frame);
    if (!compare(expr.ops[i], left, right, heap_)) return Val::boolean(false);
    left = std::move(right);
  }
  return Val::boolean(true);
}

Val Interpreter::eval_get_item(const Expr& expr, FrameObject& frame) {
  Val object = eval(*expr.items[0], frame);
  const Expr& index = *expr.items[1];
  if (index.kind != ExprKind::kSlice) return get_item(heap_, object, eval(index, frame));
  Val parts[3];
  for (size_t i = 0; i < 3; ++i) {
    if (index.items[i]) parts[i] = eval(*index.items[i], frame);
  }
  return get_slice(heap_, object, parts[0], parts[1], parts[2]);
}

void Interpreter::add_dynamic_keywords(CallArgs& args, const Val& mapping) {
  if (!mapping.is(Type::kDict)) throw_type_error("use as keyword arguments", mapping);
  for (const auto& [key, value] : mapping.as<DictObject>().items()) {
    heap_.charge(1 + args.keywords.size());
    if (!key.is_string()) throw TemplateError("keywords must be strings");
    for (const auto& keyword : args.keywords) {
      if (keyword.first == key.text()) {
        throw TemplateError("multiple values for keyword argument '" + key.text() + "'");
      }
    }
    args.keywords.emplace_back(key.text(), value);
  }
}

// Arguments behind the first item, which is the callee or the filter's operand.
CallArgs Interpreter::eval_args(const Expr& expr, FrameObject& frame) {
  CallArgs args;
  for (size_t i = 1; i < expr.items.size(); ++i) {
    args.positional.push_back(eval(*expr.items[i], frame));
  }
  for (const auto& [name, value] : expr.keywords) {
    args.keywords.emplace_back(name, eval(*value, frame));
  }
  if (expr.dynamic_args) {
    for (Val& item : to_vals(heap_, eval(*expr.dynamic_args, frame))) {
      args.positional.push_back(std::move(item));
    }
  }
  if (expr.dynamic_keywords) add_dynamic_keywords(args, eval(*expr.dynamic_keywords, frame));
  return args;
}

Val Interpreter::eval_call(const Expr& expr, FrameObject& frame, const Val* caller) {
  Val callee = eval(*expr.items[0], frame);
  CallArgs args = eval_args(expr, frame);
  if (caller != nullptr) args.keywords.emplace_back("caller", *caller);
  line_ = expr.line;
  return call(callee, std::move(args));
}

Val Interpreter::call(const Val& callee, CallArgs args) {
  heap_.charge(1);
  switch (callee.type()) {
    case Type::kMethod: {
      const auto& method = callee.as<MethodObject>();
      return method.entry.call(*this, method.self, args);
    }
    case Type::kFunction:
      return callee.as<FunctionObject>().entry.call(*this, args);
    case Type::kMacro:
      return call_macro(callee.as<MacroObject>(), std::move(args));
    case Type::kLoop: {
      auto& loop = callee.as<LoopObject>();
      Vals bound = bind(args, "loop", "iterable");
      if (loop.recursive == nullptr) {
        throw TemplateError("the loop must have the 'recursive' marker to be called recursively");
      }
      Val keep = callee;
      Counter counter(nesting_);
      return run_recursive(*loop.recursive, loop.frame.as<FrameObject>(), bound[0],
                           loop.depth0 + 1);
    }
    case Type::kJoiner: {
      auto& joiner = callee.as<JoinerObject>();
      bind(args, "joiner", "");
      if (joiner.used) return joiner.separator;
      joiner.used = true;
      return string("");
    }
    default:
      throw_type_error("call", callee);
  }
}

Val Interpreter::eval_filter(const Expr& expr, FrameObject& frame) {
  Val operand = expr.items[0] ? eval(*expr.items[0], frame) : block_text_;
  CallArgs args = eval_args(expr, frame);
  line_ = expr.line;
  if (expr.kind == ExprKind::kFilter) {
    if (expr.filter == nullptr) throw TemplateError("No filter named '" + expr.text + "' found");
    return expr.filter->apply(*this, operand, args);
  }
  if (expr.test == nullptr) throw TemplateError("No test named '" + expr.text + "' found");
  return Val::boolean(expr.test->apply(*this, operand, args));
}

Val Interpreter::call_filter(const Val& name, const Val& value, const CallArgs& args) {
  const FilterEntry* filter = name.is_string() ? find_filter(name.text()) : nullptr;
  if (filter == nullptr) throw TemplateError("No filter named " + to_repr(heap_, name));
  heap_.charge(1);
  return filter->apply(*this, value, args);
}

bool Interpreter::call_test(const Val& name, const Val& value, const CallArgs& args) {
  const TestEntry* test = name.is_string() ? find_test(name.text()) : nullptr;
  if (test == nullptr) throw TemplateError("No test named " + to_repr(heap_, name));
  heap_.charge(1);
  return test->apply(*this, value, args);
}

}  // namespace sluice::text::jinja
