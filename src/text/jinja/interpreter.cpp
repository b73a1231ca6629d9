#include "text/jinja/interpreter.h"

#include <algorithm>

namespace sluice::text::jinja {

struct Interpreter::Nesting {
  explicit Nesting(Interpreter& interpreter) : interpreter(interpreter) {
    if (interpreter.nesting_ >= interpreter.options_.max_nesting) {
      throw TemplateError("calls are nested too deeply");
    }
    ++interpreter.nesting_;
  }
  ~Nesting() { --interpreter.nesting_; }
  Interpreter& interpreter;
};

// Collects output aside while it lives.
class Interpreter::Capture {
 public:
  explicit Capture(Interpreter& interpreter) : interpreter_(interpreter) {
    std::swap(saved_, interpreter_.out_);
  }
  ~Capture() {
    interpreter_.output_bytes_ -= interpreter_.out_.size();
    std::swap(saved_, interpreter_.out_);
  }
  Val text() const { return make_string(interpreter_.heap_, interpreter_.out_); }

 private:
  Interpreter& interpreter_;
  PromptText saved_;
};

void ScopeObject::clear() {
  variables_.clear();
  parent_ = Val();
}

void ScopeObject::set(int name, Val value) {
  for (auto& [index, old] : variables_) {
    if (index == name) {
      old = std::move(value);
      return;
    }
  }
  heap().charge(variables_.size() / 16);
  if (variables_.size() == variables_.capacity()) {
    add_bytes((variables_.size() + 4) * sizeof(variables_[0]));
    variables_.reserve(2 * variables_.size() + 4);
  }
  variables_.emplace_back(name, std::move(value));
}

LoopObject::LoopObject(Interpreter& interpreter, const Stmt& stmt, ScopeObject* scope,
                       const Val& iterable, int depth0)
    : Object(interpreter.heap(), Type::kLoop, true),
      stmt(stmt),
      depth0(depth0),
      has_test_(stmt.test != nullptr),
      interpreter_(interpreter),
      iterable_(iterable),
      cursor_(interpreter.heap(), iterable) {
  if (scope != nullptr) scope_ = Val(scope);
}

void LoopObject::clear() {
  for (Val* value : {&previous_, &current_, &last_changed, &scope_, &iterable_, &after_}) {
    *value = Val();
  }
  cursor_ = Cursor(heap(), make_undefined(heap(), ""));
}

bool LoopObject::next(Val& item) {
  while (cursor_.next(item)) {
    if (!has_test_ || interpreter_.passes_test(stmt, item, scope())) return true;
  }
  return false;
}

bool LoopObject::advance(Val& item) {
  if (!after_.is_missing()) {
    item = std::move(after_);
    after_ = Val::missing();
  } else if (!next(item)) {
    return false;
  }
  ++index0;
  previous_ = std::move(current_);
  current_ = item;
  return true;
}

bool LoopObject::peek(Val& item) {
  if (after_.is_missing()) {
    Val following;
    if (!next(following)) return false;
    after_ = std::move(following);
  }
  item = after_;
  return true;
}

int64_t LoopObject::length() {
  if (length_ < 0 && !has_test_) length_ = length_of(iterable_);
  if (length_ >= 0) return length_;
  Vals rest;
  for (Val item; next(item);) {
    heap().check_bytes(2 * rest.size() * sizeof(Val));
    rest.push_back(item);
  }
  length_ = static_cast<int64_t>(rest.size()) + index0 + 1 + (after_.is_missing() ? 0 : 1);
  has_test_ = false;  // those that are left have passed it
  cursor_ = Cursor(heap(), make_list(heap(), std::move(rest)));
  return length_;
}

Val LoopObject::attribute(std::string_view name) {
  if (name == "index") return Val::integer(index0 + 1);
  if (name == "index0") return Val::integer(index0);
  if (name == "first") return Val::boolean(index0 == 0);
  if (name == "depth") return Val::integer(depth0 + 1);
  if (name == "depth0") return Val::integer(depth0);
  if (name == "length") return Val::integer(length());
  if (name == "revindex") return Val::integer(length() - index0);
  if (name == "revindex0") return Val::integer(length() - index0 - 1);
  Val item;
  if (name == "last") return Val::boolean(!peek(item));
  if (name == "nextitem") {
    return peek(item) ? item : make_undefined(heap(), "there is no next item");
  }
  if (name != "previtem") return Val::missing();
  return index0 == 0 ? make_undefined(heap(), "there is no previous item") : previous_;
}

Interpreter::Interpreter(const Template& program, Heap& heap, const Options& options)
    : program_(program),
      heap_(heap),
      options_(options),
      variables_(program.names.size(), Val::missing()) {
  constants_.reserve(program.constants.size());
  for (const Constant& constant : program.constants) {
    switch (constant.kind) {
      case Constant::Kind::kNone:
        constants_.emplace_back();
        break;
      case Constant::Kind::kBool:
        constants_.push_back(Val::boolean(constant.integer != 0));
        break;
      case Constant::Kind::kInt:
        constants_.push_back(Val::integer(constant.integer));
        break;
      case Constant::Kind::kFloat:
        constants_.push_back(Val::real(constant.real));
        break;
      case Constant::Kind::kString:
        constants_.push_back(make_string(heap, constant.text, true));
        break;
    }
  }
}

Val Interpreter::import_value(const Value& value, int depth) {
  if (depth > heap_.max_depth()) throw TemplateError("the context is nested too deeply");
  heap_.charge(1);
  if (const bool* flag = value.as_bool()) return Val::boolean(*flag);
  if (const int64_t* integer = value.as_int()) return Val::integer(*integer);
  if (const double* real = value.as_double()) return Val::real(*real);
  if (const std::string* text = value.as_string()) {
    return make_string(heap_, *text, value.is_trusted());
  }
  if (const Value::List* list = value.as_list()) {
    Vals items;
    for (const Value& item : *list) items.push_back(import_value(item, depth + 1));
    return make_list(heap_, std::move(items));
  }
  const Value::Dict* members = value.as_dict();
  if (members == nullptr) return Val();
  auto* dict = new DictObject(heap_);
  Val result(dict);
  for (const auto& [name, member] : *members) {
    dict->set(make_string(heap_, name, false), import_value(member, depth + 1));
  }
  return result;
}

PromptText Interpreter::run(const Value& context) {
  const Val imported = import_value(context, 1);
  for (size_t i = 0; i < variables_.size(); ++i) {
    const std::string& name = program_.names[i];
    const Val* value = imported.is(Type::kDict) ? imported.as<DictObject>().find(name) : nullptr;
    if (value != nullptr) {
      variables_[i] = *value;
    } else if (const Builtin* function = find_function(name)) {
      variables_[i] = Val(new FunctionObject(heap_, *function));
    }
  }
  exec(program_.body, nullptr);
  return std::move(out_);
}

void Interpreter::write(const Val& value) {
  const Val text = to_string(heap_, value);
  output_bytes_ += text.text().size();
  if (output_bytes_ > options_.max_output_bytes) throw TemplateError("the output is too long");
  heap_.charge_bytes(text.text().size());
  out_.append(text.prompt_text());
}

const Val& Interpreter::find(int name, const ScopeObject* scope) const {
  for (; scope != nullptr; scope = scope->parent()) {
    if (const Val* value = scope->find(name)) return *value;
  }
  return variables_[static_cast<size_t>(name)];
}

void Interpreter::set(int name, Val value, ScopeObject* scope) {
  if (scope != nullptr) {
    scope->set(name, std::move(value));
  } else {
    variables_[static_cast<size_t>(name)] = std::move(value);
  }
}

Interpreter::Flow Interpreter::exec(const Body& body, ScopeObject* scope) {
  for (const StmtPtr& stmt : body) {
    const Flow flow = exec(*stmt, scope);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::exec(const Stmt& stmt, ScopeObject* scope) {
  Nesting nesting(*this);
  heap_.charge(1);
  heap_.sweep();
  line_ = stmt.line;
  switch (stmt.kind) {
    case StmtKind::kOutput:
      exec_output(stmt, scope);
      break;
    case StmtKind::kFor: {
      const Val iterable = eval(*stmt.value, scope);
      return run_loop(stmt, scope, iterable, 0);
    }
    case StmtKind::kIf:
      return exec_if(stmt, scope);
    case StmtKind::kMacro:
      set(stmt.target->index, Val(new MacroObject(heap_, stmt, scope)), scope);
      break;
    case StmtKind::kCall:
      exec_call(stmt, scope);
      break;
    case StmtKind::kGeneration: {
      const Val inside(new ScopeObject(heap_, scope));
      return exec(stmt.body, &inside.as<ScopeObject>());
    }
    case StmtKind::kWith:
      return exec_with(stmt, scope);
    case StmtKind::kSet:
      assign(*stmt.target, eval(*stmt.value, scope), scope);
      break;
    case StmtKind::kFilter:
    case StmtKind::kSetBlock:
      return exec_captured(stmt, scope);
    case StmtKind::kBreak:
      return Flow::kBreak;
    case StmtKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

void Interpreter::exec_output(const Stmt& stmt, ScopeObject* scope) {
  for (const ExprPtr& expr : stmt.exprs) write(eval(*expr, scope));
}

Interpreter::Flow Interpreter::exec_if(const Stmt& stmt, ScopeObject* scope) {
  if (is_true(eval(*stmt.test, scope))) return exec(stmt.body, scope);
  for (const StmtPtr& elif : stmt.elifs) {
    line_ = elif->line;
    if (is_true(eval(*elif->test, scope))) return exec(elif->body, scope);
  }
  return exec(stmt.else_body, scope);
}

bool Interpreter::passes_test(const Stmt& loop, const Val& item, ScopeObject* scope) {
  heap_.charge(1);
  const Val inside(new ScopeObject(heap_, scope));
  assign(*loop.target, item, &inside.as<ScopeObject>());
  return is_true(eval(*loop.test, &inside.as<ScopeObject>()));
}

Interpreter::Flow Interpreter::run_loop(const Stmt& stmt, ScopeObject* scope, const Val& iterable,
                                        int depth0) {
  auto* loop = new LoopObject(*this, stmt, scope, iterable, depth0);
  const Val loop_value(loop);
  // As in jinja2, rounds that were cut short do not keep the else branch from running.
  bool has_finished = false;
  Val inside(new ScopeObject(heap_, scope));
  for (Val item; loop->advance(item);) {
    heap_.charge(1);
    if (inside.object()->is_shared()) inside = Val(new ScopeObject(heap_, scope));
    auto& turn = inside.as<ScopeObject>();
    turn.empty();
    turn.set(kLoopName, loop_value);
    assign(*stmt.target, item, &turn);
    const Flow flow = exec(stmt.body, &turn);
    if (flow == Flow::kBreak) break;
    has_finished = has_finished || flow == Flow::kNext;
  }
  if (has_finished || stmt.else_body.empty()) return Flow::kNext;
  const Val otherwise(new ScopeObject(heap_, scope));
  return exec(stmt.else_body, &otherwise.as<ScopeObject>());
}

Val Interpreter::run_recursive(const LoopObject& loop, const Val& iterable) {
  Capture capture(*this);
  run_loop(loop.stmt, loop.scope(), iterable, loop.depth0 + 1);
  return capture.text();
}

Interpreter::Flow Interpreter::exec_with(const Stmt& stmt, ScopeObject* scope) {
  const Val inside(new ScopeObject(heap_, scope));
  auto* inner = &inside.as<ScopeObject>();
  for (size_t i = 0; i < stmt.params.size(); ++i) {
    assign(*stmt.params[i], eval(*stmt.exprs[i], scope), inner);
  }
  return exec(stmt.body, inner);
}

// A filter block writes its body's text, filtered; a set block assigns it.
Interpreter::Flow Interpreter::exec_captured(const Stmt& stmt, ScopeObject* scope) {
  const Val inside(new ScopeObject(heap_, scope));
  auto* inner = &inside.as<ScopeObject>();
  Val text;
  {
    Capture capture(*this);
    const Flow flow = exec(stmt.body, inner);
    if (flow != Flow::kNext) return flow;
    text = capture.text();
  }
  if (stmt.value) {
    std::swap(text, block_text_);
    Val result = eval(*stmt.value, inner);
    std::swap(text, block_text_);
    text = std::move(result);
  }
  if (stmt.kind == StmtKind::kFilter) {
    write(text);
  } else {
    assign(*stmt.target, text, scope);
  }
  return Flow::kNext;
}

void Interpreter::exec_call(const Stmt& stmt, ScopeObject* scope) {
  const Val caller(new MacroObject(heap_, stmt, scope));
  write(eval_call(*stmt.value, scope, &caller));
}

void Interpreter::assign(const Expr& target, const Val& value, ScopeObject* scope) {
  if (target.kind == ExprKind::kName) {
    set(target.index, value, scope);
    return;
  }
  if (target.kind == ExprKind::kNsRef) {
    const Val& space = find(target.index, scope);
    if (!space.is(Type::kNamespace)) {
      throw TemplateError("cannot assign attribute on non-namespace object");
    }
    if (target.attribute.starts_with('_')) {
      throw TemplateError("attributes of a namespace may not start with '_': " + target.attribute);
    }
    space.as<NamespaceObject>().set(target.attribute, value);
    return;
  }
  const Vals items = to_vals(heap_, value);
  if (items.size() != target.items.size()) {
    throw TemplateError("cannot unpack " + std::to_string(items.size()) + " values into " +
                        std::to_string(target.items.size()));
  }
  for (size_t i = 0; i < items.size(); ++i) assign(*target.items[i], items[i], scope);
}

Val Interpreter::call_macro(const MacroObject& macro, CallArgs args) {
  Nesting nesting(*this);
  const Val keep(const_cast<MacroObject*>(&macro));
  const Val inside(new ScopeObject(heap_, macro.scope()));
  auto& scope = inside.as<ScopeObject>();
  const int line = line_;
  Capture capture(*this);
  bind_macro(macro.stmt, args, scope);
  exec(macro.stmt.body, &scope);
  line_ = line;
  return capture.text();
}

namespace {

Val take_keyword(CallArgs& args, std::string_view name) {
  const auto found = std::find_if(args.keywords.begin(), args.keywords.end(),
                                  [&](const auto& keyword) { return keyword.first == name; });
  if (found == args.keywords.end()) return Val::missing();
  Val value = std::move(found->second);
  args.keywords.erase(found);
  return value;
}

}  // namespace

void Interpreter::bind_macro(const Stmt& stmt, CallArgs& args, ScopeObject& scope) {
  const std::string name = stmt.target ? "macro '" + stmt.target->text + "'" : "caller()";
  const size_t num_params = stmt.params.size(), num_given = args.positional.size();
  if (num_given > num_params && !stmt.uses_varargs) {
    throw TemplateError(name + " takes not more than " + std::to_string(num_params) +
                        " argument(s)");
  }
  const size_t num_required = num_params - stmt.defaults.size();
  for (size_t i = 0; i < num_params; ++i) {
    const Expr& param = *stmt.params[i];
    Val value = i < num_given ? args.positional[i] : take_keyword(args, param.text);
    if (value.is_missing()) {
      value = i < num_required
                  ? make_undefined(heap_, "parameter '" + param.text + "' was not provided")
                  : eval(*stmt.defaults[i - num_required], &scope);
    }
    scope.set(param.index, std::move(value));
  }
  if (stmt.uses_caller) {
    Val caller = take_keyword(args, "caller");
    if (caller.is_missing()) caller = make_undefined(heap_, "No caller defined");
    scope.set(kCallerName, std::move(caller));
  }
  if (stmt.uses_varargs) {
    Vals rest;
    for (size_t i = num_params; i < num_given; ++i) rest.push_back(args.positional[i]);
    scope.set(kVarargsName, make_tuple(heap_, std::move(rest)));
  }
  if (stmt.uses_kwargs) {
    auto* dict = new DictObject(heap_);
    const Val value(dict);
    for (auto& [key, argument] : args.keywords) {
      dict->set(make_string(heap_, key, true), argument);
    }
    scope.set(kKwargsName, value);
  } else if (!args.keywords.empty()) {
    throw TemplateError(name + " takes no keyword argument '" + args.keywords[0].first + "'");
  }
}

}  // namespace sluice::text::jinja
