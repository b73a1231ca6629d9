#include "text/jinja/interpreter.h"
#include "text/jinja/ops.h"

namespace sluice::text::jinja {

Val Interpreter::eval(const Expr& expr, ScopeObject* scope) {
  if (expr.kind == ExprKind::kConst) return constant(static_cast<size_t>(expr.index));
  heap_.charge(1);
  Nesting nesting(*this);
  line_ = expr.line;
  switch (expr.kind) {
    case ExprKind::kName:
    case ExprKind::kNsRef:
      return eval_name(expr, scope);
    case ExprKind::kTuple:
    case ExprKind::kList:
      return eval_items(expr, scope);
    case ExprKind::kDict:
      return eval_dict(expr, scope);
    case ExprKind::kCond:
    case ExprKind::kAnd:
    case ExprKind::kOr:
      return eval_logic(expr, scope);
    case ExprKind::kNot:
      return Val::boolean(!is_true(eval(*expr.items[0], scope)));
    case ExprKind::kNegate:
      return negate(eval(*expr.items[0], scope));
    case ExprKind::kBinary: {
      Val left = eval(*expr.items[0], scope);
      Val right = eval(*expr.items[1], scope);
      return binary_op(heap_, expr.op, left, right);
    }
    case ExprKind::kConcat:
      return eval_concat(expr, scope);
    case ExprKind::kCompare:
      return eval_compare(expr, scope);
    case ExprKind::kGetAttr: {
      Val object = eval(*expr.items[0], scope);
      return get_attribute(heap_, object, expr.text, expr.names_method);
    }
    case ExprKind::kGetItem:
      return eval_get_item(expr, scope);
    case ExprKind::kCall:
      return eval_call(expr, scope, nullptr);
    default:  // a filter or test
      return eval_filter(expr, scope);
  }
}

Val Interpreter::eval_name(const Expr& expr, ScopeObject* scope) {
  const Val& value = find(expr.index, scope);
  if (value.is_missing()) return make_undefined(heap_, "'" + expr.text + "' is undefined");
  return value;
}

Val Interpreter::eval_items(const Expr& expr, ScopeObject* scope) {
  Vals items;
  items.reserve(expr.items.size());
  for (const ExprPtr& item : expr.items) items.push_back(eval(*item, scope));
  return expr.kind == ExprKind::kList ? make_list(heap_, std::move(items))
                                      : make_tuple(heap_, std::move(items));
}

Val Interpreter::eval_dict(const Expr& expr, ScopeObject* scope) {
  auto* dict = new DictObject(heap_);
  Val result(dict);
  for (size_t i = 0; i < expr.items.size(); i += 2) {
    Val key = eval(*expr.items[i], scope);
    Val value = eval(*expr.items[i + 1], scope);
    dict->set(std::move(key), std::move(value));
  }
  return result;
}

Val Interpreter::eval_logic(const Expr& expr, ScopeObject* scope) {
  Val first = eval(*expr.items[0], scope);
  bool truth = is_true(first);
  if (expr.kind == ExprKind::kAnd) return truth ? eval(*expr.items[1], scope) : first;
  if (expr.kind == ExprKind::kOr) return truth ? first : eval(*expr.items[1], scope);
  if (truth) return eval(*expr.items[1], scope);
  if (expr.items[2]) return eval(*expr.items[2], scope);
  return make_undefined(heap_, "the inline if-expression on line " + std::to_string(expr.line) +
                                   " evaluated to false and no else section was defined");
}

Val Interpreter::eval_concat(const Expr& expr, ScopeObject* scope) {
  PromptText text;
  for (const ExprPtr& item : expr.items) {
    const Val part = to_string(heap_, eval(*item, scope));
    heap_.check_bytes(text.size() + text.extra_bytes() + part.text().size());
    text.append(part.prompt_text());
  }
  return make_string(heap_, std::move(text));
}

Val Interpreter::eval_compare(const Expr& expr, ScopeObject* scope) {
  Val left = eval(*expr.items[0], scope);
  for (size_t i = 0; i < expr.ops.size(); ++i) {
    Val right = eval(*expr.items[i + 1], scope);
    if (!compare(expr.ops[i], left, right)) return Val::boolean(false);
    left = std::move(right);
  }
  return Val::boolean(true);
}

Val Interpreter::eval_get_item(const Expr& expr, ScopeObject* scope) {
  Val object = eval(*expr.items[0], scope);
  const Expr& index = *expr.items[1];
  if (index.kind != ExprKind::kSlice) return get_item(heap_, object, eval(index, scope));
  Val parts[3];
  for (size_t i = 0; i < 3; ++i) {
    if (index.items[i]) parts[i] = eval(*index.items[i], scope);
  }
  return get_slice(heap_, object, parts[0], parts[1], parts[2]);
}

// Arguments behind the first item, which is the callee or the filter's operand.
CallArgs Interpreter::eval_args(const Expr& expr, ScopeObject* scope) {
  CallArgs args;
  for (size_t i = 1; i < expr.items.size(); ++i) {
    args.positional.push_back(eval(*expr.items[i], scope));
  }
  for (const auto& [name, value] : expr.keywords) {
    args.keywords.emplace_back(name, eval(*value, scope));
  }
  if (!expr.dynamic_keywords) return args;
  const Val mapping = eval(*expr.dynamic_keywords, scope);
  if (!mapping.is(Type::kDict)) throw_type_error("use as keyword arguments", mapping);
  for (const auto& [key, value] : mapping.as<DictObject>().items()) {
    heap_.charge(1 + args.keywords.size());
    if (!key.is_string()) fail("keywords must be strings");
    for (const auto& keyword : args.keywords) {
      if (keyword.first == key.text()) fail("a keyword is given twice: '", key.text(), "'");
    }
    args.has_own_keywords = args.has_own_keywords && key.prompt_text().is_trusted();
    args.keywords.emplace_back(key.text(), value);
  }
  return args;
}

Val Interpreter::eval_call(const Expr& expr, ScopeObject* scope, const Val* caller) {
  const Expr& target = *expr.items[0];
  const Builtin* method = nullptr;
  Val callee;
  if (target.kind == ExprKind::kGetAttr && target.names_method) {
    // A method that is called at once needs no object of its own.
    callee = eval(*target.items[0], scope);
    method = find_method(callee.type(), target.text);
    if (method == nullptr) callee = get_attribute(heap_, callee, target.text);
  } else {
    callee = eval(target, scope);
  }
  CallArgs args = eval_args(expr, scope);
  if (caller != nullptr) args.keywords.emplace_back("caller", *caller);
  line_ = expr.line;
  if (method != nullptr) return call_builtin(*method, callee, std::move(args));
  if (callee.is(Type::kMacro)) return call_macro(callee.as<MacroObject>(), std::move(args));
  if (callee.is(Type::kLoop)) return run_recursive(callee.as<LoopObject>(), args);
  if (!callee.is(Type::kFunction)) throw_type_error("call", callee);
  const auto& function = callee.as<BuiltinObject>();
  return call_builtin(function.builtin, function.self, std::move(args));
}

// Every builtin reads its operand and arguments a few times at most: what it costs is counted here.
// Those that go through lists, or write more than they read, count that themselves.
Val Interpreter::call_builtin(const Builtin& builtin, const Val& self, CallArgs args) {
  const auto size_of = [](const Val& value) { return value.is_string() ? value.text().size() : 0; };
  size_t num_bytes = size_of(self);
  for (const Val& value : args.positional) num_bytes += size_of(value);
  for (const auto& [name, value] : args.keywords) num_bytes += size_of(value);
  heap_.charge(1);
  heap_.charge_bytes(num_bytes);
  bind(builtin, args);
  return builtin.call({*this, heap_, self, std::move(args)});
}

Val Interpreter::eval_filter(const Expr& expr, ScopeObject* scope) {
  const Val operand = expr.items[0] ? eval(*expr.items[0], scope) : block_text_;
  CallArgs args = eval_args(expr, scope);
  line_ = expr.line;
  if (expr.builtin != nullptr) return call_builtin(*expr.builtin, operand, std::move(args));
  fail("No ", expr.kind == ExprKind::kFilter ? "filter" : "test", " named '", expr.text, "'");
}

}  // namespace sluice::text::jinja
