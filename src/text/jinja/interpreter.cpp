#include "text/jinja/interpreter.h"

#include <algorithm>

namespace sluice::text::jinja {

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
      interpreter_(interpreter),
      items_(iterable.is(Type::kIterator) ? iterable : to_sequence(interpreter.heap(), iterable)),
      has_test_(stmt.test != nullptr) {
  if (scope != nullptr) scope_ = Val(scope);
}

void LoopObject::clear() {
  for (Val* value : {&previous_, &item_, &after_, &last_changed, &scope_, &items_}) {
    *value = Val();
  }
}

bool LoopObject::advance() {
  if (!peek()) return false;
  previous_ = std::move(item_);
  item_ = std::exchange(after_, Val::missing());
  ++index0;
  return true;
}

bool LoopObject::next(Val& item) {
  if (items_.is(Type::kIterator)) return items_.as<IteratorObject>().next(item);
  if (next_ == items_.items().size()) return false;
  item = items_.items()[next_++];
  return true;
}

bool LoopObject::peek() {
  for (Val item; after_.is_missing() && next(item);) {
    if (!has_test_ || interpreter_.passes_test(stmt, item, scope())) after_ = item;
  }
  return !after_.is_missing();
}

int64_t LoopObject::length() {
  if (has_test_ || items_.is(Type::kIterator)) {
    Vals rest;
    while (peek()) {
      heap().check_bytes(2 * rest.size() * sizeof(Val));
      rest.push_back(std::exchange(after_, Val::missing()));
    }
    has_test_ = false;  // those that are left have passed it
    items_ = make_list(heap(), std::move(rest));
    next_ = 0;
  }
  const size_t num_left = items_.items().size() - next_ + (after_.is_missing() ? 0 : 1);
  return index0 + 1 + static_cast<int64_t>(num_left);
}

Val LoopObject::attribute(std::string_view name) {
  if (name == "index") return Val::integer(index0 + 1);
  if (name == "index0") return Val::integer(index0);
  if (name == "first") return Val::boolean(index0 == 0);
  if (name == "last") return Val::boolean(!peek());
  if (name == "depth") return Val::integer(depth0 + 1);
  if (name == "depth0") return Val::integer(depth0);
  if (name == "length") return Val::integer(length());
  if (name == "revindex") return Val::integer(length() - index0);
  if (name == "revindex0") return Val::integer(length() - index0 - 1);
  if (name == "nextitem") {
    return peek() ? after_ : make_undefined(heap(), "there is no next item");
  }
  if (name != "previtem") return Val::missing();
  return index0 == 0 ? make_undefined(heap(), "there is no previous item") : previous_;
}

Interpreter::Interpreter(const Template& program, Heap& heap, const Options& options)
    : program_(program),
      heap_(heap),
      options_(options),
      constants_(program.constants.size(), Val::missing()),
      variables_(program.names.size(), Val::missing()) {}

// Made when the template comes to it: most templates use a part of theirs.
const Val& Interpreter::constant(size_t index) {
  Val& value = constants_[index];
  if (value.is_missing()) value = import_value(program_.constants[index], 1);
  return value;
}

// The keys of messages are the same again and again: one object for each.
Val Interpreter::import_key(const std::string& name) {
  constexpr size_t kMostKept = 16;  // looked through one by one
  for (const Val& key : keys_) {
    if (key.text() == name) return key;
  }
  Val key = make_string(heap_, name, false);
  if (keys_.size() < kMostKept) keys_.push_back(key);
  return key;
}

Val Interpreter::import_value(const Value& value, int depth) {
  if (depth > heap_.max_depth()) fail("the context is nested too deeply");
  heap_.charge(1);
  if (const bool* flag = value.as_bool()) return Val::boolean(*flag);
  if (const int64_t* integer = value.as_int()) return Val::integer(*integer);
  if (const double* real = value.as_double()) return Val::real(*real);
  if (const std::string* text = value.as_string()) {
    return make_string(heap_, *text, value.is_trusted());
  }
  if (const Value::List* list = value.as_list()) {
    Vals items;
    items.reserve(list->size());
    for (const Value& item : *list) items.push_back(import_value(item, depth + 1));
    return make_list(heap_, std::move(items));
  }
  const Value::Dict* members = value.as_dict();
  if (members == nullptr) return Val();
  auto* dict = new DictObject(heap_);
  Val result(dict);
  dict->reserve(members->size());
  for (const auto& [name, member] : *members) {
    dict->set(import_key(name), import_value(member, depth + 1));
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
      variables_[i] = Val(new BuiltinObject(heap_, *function));
    }
  }
  exec(program_.body, nullptr);
  return std::move(out_);
}

void Interpreter::write(const Val& value) {
  const Val text = to_string(heap_, value);
  output_bytes_ += text.text().size();
  if (output_bytes_ > options_.max_output_bytes) fail("the output is too long");
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
      for (const ExprPtr& expr : stmt.exprs) write(eval(*expr, scope));
      break;
    case StmtKind::kFor:
      return run_loop(stmt, scope, eval(*stmt.value, scope), 0);
    case StmtKind::kIf:
      return exec_if(stmt, scope);
    case StmtKind::kMacro:
      set(stmt.target->index, Val(new MacroObject(heap_, stmt, scope)), scope);
      break;
    case StmtKind::kCall: {
      const Val caller(new MacroObject(heap_, stmt, scope));
      write(eval_call(*stmt.value, scope, &caller));
      break;
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
  assign(*loop.target, item, ScopeObject::of(inside));
  return is_true(eval(*loop.test, ScopeObject::of(inside)));
}

Interpreter::Flow Interpreter::run_loop(const Stmt& stmt, ScopeObject* scope, const Val& iterable,
                                        int depth0) {
  auto* loop = new LoopObject(*this, stmt, scope, iterable, depth0);
  const Val loop_value(loop);
  // As in jinja2, rounds that were cut short do not keep the else branch from running.
  bool has_finished = false;
  Val inside(new ScopeObject(heap_, scope));
  while (loop->advance()) {
    heap_.charge(1);
    if (inside.object()->is_shared()) inside = Val(new ScopeObject(heap_, scope));
    auto& turn = inside.as<ScopeObject>();
    turn.empty();
    turn.set(kLoopName, loop_value);
    assign(*stmt.target, loop->item(), &turn);
    const Flow flow = exec(stmt.body, &turn);
    if (flow == Flow::kBreak) break;
    has_finished = has_finished || flow == Flow::kNext;
  }
  if (has_finished || stmt.else_body.empty()) return Flow::kNext;
  const Val otherwise(new ScopeObject(heap_, scope));
  return exec(stmt.else_body, ScopeObject::of(otherwise));
}

Val Interpreter::run_recursive(const LoopObject& loop, const CallArgs& args) {
  if (!loop.stmt.recursive) fail("only a loop that is marked 'recursive' can be called");
  if (args.positional.size() != 1 || !args.keywords.empty()) fail("loop() takes one argument");
  Capture capture(*this);
  run_loop(loop.stmt, loop.scope(), args.positional[0], loop.depth0 + 1);
  return capture.text();
}

Interpreter::Flow Interpreter::exec_with(const Stmt& stmt, ScopeObject* scope) {
  const Val inside(new ScopeObject(heap_, scope));
  auto* inner = ScopeObject::of(inside);
  for (size_t i = 0; i < stmt.params.size(); ++i) {
    assign(*stmt.params[i], eval(*stmt.exprs[i], scope), inner);
  }
  return exec(stmt.body, inner);
}

// A filter block writes its body's text, filtered; a set block assigns it.
Interpreter::Flow Interpreter::exec_captured(const Stmt& stmt, ScopeObject* scope) {
  const Val inside(new ScopeObject(heap_, scope));
  Val text;
  {
    Capture capture(*this);
    const Flow flow = exec(stmt.body, ScopeObject::of(inside));
    if (flow != Flow::kNext) return flow;
    text = capture.text();
  }
  if (stmt.value) {
    std::swap(text, block_text_);
    Val result = eval(*stmt.value, ScopeObject::of(inside));
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

void Interpreter::assign(const Expr& target, const Val& value, ScopeObject* scope) {
  if (target.kind == ExprKind::kName) {
    set(target.index, value, scope);
    return;
  }
  if (target.kind == ExprKind::kNsRef) {
    const Val& space = find(target.index, scope);
    if (!space.is(Type::kNamespace)) fail("cannot assign attribute on non-namespace object");
    space.as<NamespaceObject>().set(PromptText(target.attribute, true), value);
    return;
  }
  const Val items = to_sequence(heap_, value);
  const size_t count = items.items().size();
  if (count != target.items.size()) {
    fail("cannot unpack ", count, " values into ", target.items.size());
  }
  for (size_t i = 0; i < count; ++i) assign(*target.items[i], items.items()[i], scope);
}

Val Interpreter::call_macro(const MacroObject& macro, CallArgs args) {
  Nesting nesting(*this);
  const Val inside(new ScopeObject(heap_, macro.scope()));
  const int line = line_;
  Capture capture(*this);
  bind_macro(macro.stmt, std::move(args), inside.as<ScopeObject>());
  exec(macro.stmt.body, ScopeObject::of(inside));
  line_ = line;
  return capture.text();
}

void Interpreter::bind_macro(const Stmt& stmt, CallArgs args, ScopeObject& scope) {
  const auto take_keyword = [&](std::string_view name) {
    for (auto it = args.keywords.begin(); it != args.keywords.end(); ++it) {
      if (it->first != name) continue;
      Val value = std::move(it->second);
      args.keywords.erase(it);
      return value;
    }
    return Val::missing();
  };
  const std::string name = stmt.target ? "macro '" + stmt.target->text + "'" : "caller()";
  const size_t num_params = stmt.params.size(), num_given = args.positional.size();
  if (num_given > num_params) fail(name, " takes not more than ", num_params, " argument(s)");
  const size_t num_required = num_params - stmt.defaults.size();
  for (size_t i = 0; i < num_params; ++i) {
    const Expr& param = *stmt.params[i];
    Val value = i < num_given ? args.positional[i] : take_keyword(param.text);
    if (value.is_missing()) {
      value = i < num_required
                  ? make_undefined(heap_, "parameter '" + param.text + "' was not provided")
                  : eval(*stmt.defaults[i - num_required], &scope);
    }
    scope.set(param.index, std::move(value));
  }
  if (stmt.uses_caller) {
    Val caller = take_keyword("caller");
    if (!caller.is_missing()) scope.set(kCallerName, std::move(caller));
  }
  if (!args.keywords.empty()) {
    fail(name, " takes no keyword argument '", args.keywords[0].first, "'");
  }
}

}  // namespace sluice::text::jinja
