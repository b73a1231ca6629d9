#include "text/jinja/interpreter.h"

#include "text/jinja/ops.h"

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
  std::string saved_;
};

namespace {

// The items of a loop that pass its test; the test runs when the item is reached.
class FilterIterator : public IteratorObject {
 public:
  FilterIterator(Interpreter& interpreter, const Stmt& loop, Val source, FrameObject& outer)
      : IteratorObject(interpreter.heap()),
        interpreter_(interpreter),
        loop_(loop),
        source_(std::move(source)),
        frame_(new FrameObject(interpreter.heap(), *loop.test_function, &outer)) {
    contain(source_.depth());
  }

  bool next(Val& out) override {
    auto& frame = frame_.as<FrameObject>();
    if (!started_) interpreter_.enter(loop_.test_function->scope, frame);
    started_ = true;
    while (source_.as<IteratorObject>().next(out)) {
      if (interpreter_.passes_loop_test(loop_, out, frame)) return true;
    }
    return false;
  }

 private:
  Interpreter& interpreter_;
  const Stmt& loop_;
  Val source_, frame_;
  bool started_ = false;
};

}  // namespace

Interpreter::Interpreter(const Template& program, Heap& heap, const Options& options)
    : program_(program), heap_(heap), options_(options) {
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
        constants_.push_back(make_string(heap, constant.text));
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
  if (const std::string* text = value.as_string()) return make_string(heap_, *text);
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
    dict->set(make_string(heap_, name), import_value(member, depth + 1));
  }
  return result;
}

std::string Interpreter::run(const Value& context) {
  context_ = import_value(context, 1);
  for (std::string_view name : {"range", "dict", "namespace", "cycler", "joiner", "lipsum",
                                "raise_exception", "strftime_now"}) {
    globals_.emplace(name, Val(new FunctionObject(heap_, *find_function(name))));
  }
  Val frame(new FrameObject(heap_, program_.function, nullptr));
  enter(program_.function.scope, frame.as<FrameObject>());
  exec(program_.body, frame.as<FrameObject>());
  return std::move(out_);
}

void Interpreter::write(std::string_view text) {
  output_bytes_ += text.size();
  if (output_bytes_ > options_.max_output_bytes) throw TemplateError("the output is too long");
  heap_.charge_bytes(text.size());
  out_ += text;
}

void Interpreter::write_string(const Val& value) {
  if (!value.is_string()) throw_type_error("output", value);
  write(value.text());
}

Val Interpreter::resolve(const std::string& name) const {
  auto set = context_vars_.find(name);
  if (set != context_vars_.end()) return set->second;
  if (context_.is(Type::kDict)) {
    if (const Val* value = context_.as<DictObject>().find(name)) return *value;
  }
  auto global = globals_.find(name);
  return global != globals_.end() ? global->second : Val::missing();
}

Val& Interpreter::slot(FrameObject& frame, const Ref& ref) {
  FrameObject* owner = &frame;
  for (int i = 0; i < ref.hops; ++i) owner = owner->parent();
  return owner->slots[static_cast<size_t>(ref.slot)];
}

void Interpreter::enter(const Scope& scope, FrameObject& frame) {
  for (const Load& load : scope.enter) {
    Val value = Val::missing();
    if (load.kind == Load::Kind::kResolve) value = resolve(load.name);
    if (load.kind == Load::Kind::kAlias) value = slot(frame, load.from);
    frame.slots[static_cast<size_t>(load.slot)] = std::move(value);
  }
}

void Interpreter::leave(const Scope& scope, FrameObject& frame) {
  for (int index : scope.leave) frame.slots[static_cast<size_t>(index)] = Val::missing();
}

Interpreter::Flow Interpreter::exec(const Body& body, FrameObject& frame) {
  for (const StmtPtr& stmt : body) {
    Flow flow = exec(*stmt, frame);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::exec(const Stmt& stmt, FrameObject& frame) {
  Nesting nesting(*this);
  heap_.charge(1);
  heap_.sweep();
  line_ = stmt.line;
  switch (stmt.kind) {
    case StmtKind::kOutput:
      exec_output(stmt, frame);
      break;
    case StmtKind::kFor:
      return exec_for(stmt, frame);
    case StmtKind::kIf:
      return exec_if(stmt, frame);
    case StmtKind::kMacro:
      slot(frame, stmt.ref) = Val(new MacroObject(heap_, stmt, frame));
      if (stmt.sets_context && program_.has_blocks) {
        context_vars_[stmt.name] = slot(frame, stmt.ref);
      }
      break;
    case StmtKind::kCall:
    case StmtKind::kGeneration:
      exec_call(stmt, frame);
      break;
    case StmtKind::kFilter:
      return exec_filter(stmt, frame);
    case StmtKind::kWith:
      return exec_with(stmt, frame);
    case StmtKind::kSet:
      assign(*stmt.target, eval(*stmt.value, frame), frame);
      if (stmt.sets_context && program_.has_blocks) remember(*stmt.target, frame);
      break;
    case StmtKind::kSetBlock:
      return exec_set_block(stmt, frame);
    case StmtKind::kScope:
      return exec_scope(stmt, frame);
    case StmtKind::kBlock:
      exec_block(stmt);
      break;
    case StmtKind::kImport:
      throw TemplateError("'" + stmt.name + "' is not supported: a chat template stands alone");
    case StmtKind::kBreak:
      return Flow::kBreak;
    case StmtKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

void Interpreter::exec_output(const Stmt& stmt, FrameObject& frame) {
  for (const ExprPtr& expr : stmt.exprs) {
    Val value = eval(*expr, frame);
    if (value.is_string()) {
      write(value.text());
    } else {
      write(to_text(heap_, value));
    }
  }
}

Interpreter::Flow Interpreter::exec_if(const Stmt& stmt, FrameObject& frame) {
  if (is_true(eval(*stmt.test, frame))) return exec(stmt.body, frame);
  for (const StmtPtr& elif : stmt.elifs) {
    line_ = elif->line;
    if (is_true(eval(*elif->test, frame))) return exec(elif->body, frame);
  }
  return exec(stmt.else_body, frame);
}

Interpreter::Flow Interpreter::exec_for(const Stmt& stmt, FrameObject& frame) {
  Val iterable = eval(*stmt.value, frame);
  if (!stmt.recursive) return run_loop(stmt, frame, frame, iterable, 0);
  write(run_recursive(stmt, frame, iterable, 0).text());
  return Flow::kNext;
}

Val Interpreter::run_recursive(const Stmt& stmt, FrameObject& outer, const Val& iterable,
                               int depth0) {
  Val frame(new FrameObject(heap_, *stmt.function, &outer));
  Capture capture(*this);
  run_loop(stmt, frame.as<FrameObject>(), outer, iterable, depth0);
  return capture.text();
}

bool Interpreter::passes_loop_test(const Stmt& loop, const Val& item, FrameObject& frame) {
  heap_.charge(1);
  assign(*loop.target, item, frame, true);
  return is_true(eval(*loop.test, frame));
}

Interpreter::Flow Interpreter::run_loop(const Stmt& stmt, FrameObject& frame, FrameObject& outer,
                                        const Val& iterable, int depth0) {
  Val source = iterate(heap_, iterable);
  if (stmt.test) source = Val(new FilterIterator(*this, stmt, source, outer));
  auto* loop = new LoopObject(heap_, stmt.test ? source : iterable, source, depth0);
  Val loop_value(loop);
  if (stmt.recursive) {
    loop->recursive = &stmt;
    loop->frame = Val(&outer);
  }
  bool finished = false;
  Flow flow = run_loop_body(stmt, frame, *loop, finished);
  if (flow == Flow::kNext && !finished && !stmt.else_body.empty()) {
    enter(stmt.else_scope, frame);
    flow = exec(stmt.else_body, frame);
    leave(stmt.else_scope, frame);
  }
  return flow;
}

// `finished` tells whether some round reached the end of the body: rounds that were cut short by
// break or continue do not keep the else branch from running.
Interpreter::Flow Interpreter::run_loop_body(const Stmt& stmt, FrameObject& frame, LoopObject& loop,
                                             bool& finished) {
  Val item;
  while (loop.advance(item)) {
    heap_.charge(1);
    assign(*stmt.target, item, frame);
    if (stmt.ref.slot >= 0) frame.slots[static_cast<size_t>(stmt.ref.slot)] = Val(&loop);
    enter(stmt.scope, frame);
    Flow flow = exec(stmt.body, frame);
    if (flow == Flow::kBreak) break;
    if (flow == Flow::kNext) finished = true;
  }
  leave(stmt.scope, frame);
  return Flow::kNext;
}

Interpreter::Flow Interpreter::exec_scope(const Stmt& stmt, FrameObject& frame) {
  enter(stmt.scope, frame);
  Flow flow = exec(stmt.body, frame);
  if (flow == Flow::kNext) leave(stmt.scope, frame);
  return flow;
}

Interpreter::Flow Interpreter::exec_with(const Stmt& stmt, FrameObject& frame) {
  enter(stmt.scope, frame);
  for (size_t i = 0; i < stmt.params.size(); ++i) {
    assign(*stmt.params[i], eval(*stmt.exprs[i], frame), frame);
  }
  Flow flow = exec(stmt.body, frame);
  if (flow == Flow::kNext) leave(stmt.scope, frame);
  return flow;
}

Interpreter::Flow Interpreter::exec_filter(const Stmt& stmt, FrameObject& frame) {
  enter(stmt.scope, frame);
  Val text;
  {
    Capture capture(*this);
    Flow flow = exec(stmt.body, frame);
    if (flow != Flow::kNext) return flow;
    text = capture.text();
  }
  std::swap(text, block_text_);
  Val result = eval(*stmt.value, frame);
  std::swap(text, block_text_);
  write_string(result);
  leave(stmt.scope, frame);
  return Flow::kNext;
}

Interpreter::Flow Interpreter::exec_set_block(const Stmt& stmt, FrameObject& frame) {
  enter(stmt.scope, frame);
  Val text;
  {
    Capture capture(*this);
    Flow flow = exec(stmt.body, frame);
    if (flow != Flow::kNext) return flow;
    text = capture.text();
  }
  if (stmt.value) {
    std::swap(text, block_text_);
    Val result = eval(*stmt.value, frame);
    std::swap(text, block_text_);
    text = result;
  }
  assign(*stmt.target, text, frame);
  if (stmt.sets_context && program_.has_blocks) remember(*stmt.target, frame);
  leave(stmt.scope, frame);
  return Flow::kNext;
}

void Interpreter::exec_call(const Stmt& stmt, FrameObject& frame) {
  Val caller(new MacroObject(heap_, stmt, frame));
  Val result = stmt.kind == StmtKind::kGeneration ? call(caller, {})
                                                  : eval_call(*stmt.value, frame, &caller);
  write_string(result);
}

void Interpreter::exec_block(const Stmt& stmt) {
  Val frame(new FrameObject(heap_, *stmt.function, nullptr));
  enter(stmt.function->scope, frame.as<FrameObject>());
  exec(stmt.body, frame.as<FrameObject>());
}

void Interpreter::remember(const Expr& target, FrameObject& frame) {
  if (target.kind == ExprKind::kName) context_vars_[target.text] = slot(frame, target.ref);
  for (const ExprPtr& item : target.items) remember(*item, frame);
}

void Interpreter::assign(const Expr& target, const Val& value, FrameObject& frame, bool in_filter) {
  if (target.kind == ExprKind::kName) {
    slot(frame, in_filter ? target.filter_ref : target.ref) = value;
    return;
  }
  if (target.kind == ExprKind::kNsRef) {
    const Val& space = slot(frame, target.ref);
    if (!space.is(Type::kNamespace)) {
      throw TemplateError("cannot assign attribute on non-namespace object");
    }
    if (target.attribute[0] == '_') {
      throw TemplateError("attributes of a namespace may not start with '_': " + target.attribute);
    }
    space.as<NamespaceObject>().set(target.attribute, value);
    return;
  }
  Vals items = to_vals(heap_, value);
  if (items.size() != target.items.size()) {
    throw TemplateError("cannot unpack " + std::to_string(items.size()) + " values into " +
                        std::to_string(target.items.size()));
  }
  for (size_t i = 0; i < items.size(); ++i) assign(*target.items[i], items[i], frame, in_filter);
}

Val Interpreter::call_macro(MacroObject& macro, CallArgs args) {
  Nesting nesting(*this);
  Val keep(&macro);
  const Function& function = *macro.stmt.function;
  auto* frame = new FrameObject(heap_, function, &macro.frame());
  Val frame_value(frame);
  bind_macro(macro, args, *frame);
  int line = line_;
  Capture capture(*this);
  enter(function.scope, *frame);
  fill_macro_defaults(macro.stmt, *frame);
  exec(macro.stmt.body, *frame);
  line_ = line;
  return capture.text();
}

namespace {
Val take_keyword(CallArgs& args, std::string_view name) {
  for (auto it = args.keywords.begin(); it != args.keywords.end(); ++it) {
    if (it->first != name) continue;
    Val value = std::move(it->second);
    args.keywords.erase(it);
    return value;
  }
  return Val::missing();
}
}  // namespace

void Interpreter::bind_macro(const MacroObject& macro, CallArgs& args, FrameObject& frame) {
  const Stmt& stmt = macro.stmt;
  const Function& function = *stmt.function;
  size_t num_params = stmt.params.size();
  bool found_caller = function.has_explicit_caller;
  for (size_t i = 0; i < num_params; ++i) {
    Val& value = frame.slots[static_cast<size_t>(function.param_slots[i])];
    if (i < args.positional.size()) {
      value = args.positional[i];
    } else {
      value = take_keyword(args, stmt.params[i]->text);
    }
  }
  bind_macro_rest(stmt, args, found_caller, frame);
}

void Interpreter::bind_macro_rest(const Stmt& stmt, CallArgs& args, bool found_caller,
                                  FrameObject& frame) {
  const Function& function = *stmt.function;
  size_t num_params = stmt.params.size();
  if (function.caller_slot >= 0 && !found_caller) {
    Val caller = take_keyword(args, "caller");
    if (caller.is_missing() || caller.is_none())
      caller = make_undefined(heap_, "No caller defined");
    frame.slots[static_cast<size_t>(function.caller_slot)] = caller;
  }
  if (function.kwargs_slot >= 0) {
    auto* dict = new DictObject(heap_);
    Val value(dict);
    for (auto& [name, argument] : args.keywords) dict->set(make_string(heap_, name), argument);
    frame.slots[static_cast<size_t>(function.kwargs_slot)] = value;
  } else if (!args.keywords.empty()) {
    throw TemplateError("macro '" + stmt.name + "' takes no keyword argument '" +
                        args.keywords[0].first + "'");
  }
  size_t num_used = std::min(num_params, args.positional.size());
  if (function.varargs_slot >= 0) {
    Vals rest(args.positional.begin() + static_cast<std::ptrdiff_t>(num_used),
              args.positional.end());
    frame.slots[static_cast<size_t>(function.varargs_slot)] = make_tuple(heap_, std::move(rest));
  } else if (args.positional.size() > num_params) {
    throw TemplateError("macro '" + stmt.name + "' takes not more than " +
                        std::to_string(num_params) + " argument(s)");
  }
}

void Interpreter::fill_macro_defaults(const Stmt& stmt, FrameObject& frame) {
  size_t num_required = stmt.params.size() - stmt.defaults.size();
  for (size_t i = 0; i < stmt.params.size(); ++i) {
    auto index = static_cast<size_t>(stmt.function->param_slots[i]);
    if (!frame.slots[index].is_missing()) continue;
    if (i < num_required) {
      frame.slots[index] =
          make_undefined(heap_, "parameter '" + stmt.params[i]->text + "' was not provided");
    } else {
      Val value = eval(*stmt.defaults[i - num_required], frame);
      frame.slots[index] = std::move(value);
    }
  }
}

}  // namespace sluice::text::jinja
