#pragma once

#include <ctime>
#include <string>

#include "text/jinja/ast.h"
#include "text/jinja/builtins.h"
#include "text/jinja/object.h"
#include "text/jinja/ops.h"
#include "text/value.h"

namespace sluice::text::jinja {

// The variables of a loop's turn, a macro's call or a block, inside those of `parent`. The
// template's own variables stand outside of all scopes.
class ScopeObject : public Object {
 public:
  ScopeObject(Heap& heap, ScopeObject* parent) : Object(heap, Type::kScope, true) {
    if (parent != nullptr) parent_ = Val(parent);
  }
  // The scope that `value` is; null when it is none.
  static ScopeObject* of(const Val& value) {
    return value.is(Type::kScope) ? &value.as<ScopeObject>() : nullptr;
  }
  void clear() override;
  void set(int name, Val value);
  // Null when it is not set here.
  const Val* find(int name) const {
    for (const auto& [index, value] : variables_) {
      if (index == name) return &value;
    }
    return nullptr;
  }
  // Forgets the variables, to be used once more.
  void empty() { variables_.clear(); }
  ScopeObject* parent() const { return of(parent_); }

 private:
  std::vector<std::pair<int, Val>> variables_;
  Val parent_;
};

// A global function, or a method with its object.
class BuiltinObject : public Object {
 public:
  BuiltinObject(Heap& heap, const Builtin& builtin, Val self = Val())
      : Object(heap, Type::kFunction, false), builtin(builtin), self(std::move(self)) {
    contain(this->self.depth());
  }
  const Builtin& builtin;
  const Val self;
};

// A macro, or the caller() of a call block (without a name).
class MacroObject : public Object {
 public:
  MacroObject(Heap& heap, const Stmt& stmt, ScopeObject* scope)
      : Object(heap, Type::kMacro, true), stmt(stmt) {
    if (scope != nullptr) scope_ = Val(scope);
  }
  void clear() override { scope_ = Val(); }
  // Where it was made; null for the template's own level.
  ScopeObject* scope() const { return ScopeObject::of(scope_); }
  const Stmt& stmt;

 private:
  Val scope_;
};

class Interpreter;

// The `loop` of a for statement, and its position.
class LoopObject : public Object {
 public:
  LoopObject(Interpreter& interpreter, const Stmt& stmt, ScopeObject* scope, const Val& iterable,
             int depth0);
  void clear() override;
  // Moves to the next item that passes the loop's test; false at the end.
  bool advance();
  const Val& item() const { return item_; }
  // Number of items; puts all of them to the test to find out.
  int64_t length();
  // "index", "first" and so on; missing when there is none of that name.
  Val attribute(std::string_view name);
  // Where the statement stands, for a recursive loop; null for the template's own level.
  ScopeObject* scope() const { return ScopeObject::of(scope_); }

  const Stmt& stmt;
  const int depth0;
  int64_t index0 = -1;
  Val last_changed = Val::missing();  // missing before loop.changed() was first called

 private:
  bool next(Val& item);  // of the items not yet peeked at; false at the end
  bool peek();

  Interpreter& interpreter_;
  Val scope_;
  Val items_;  // a sequence, from next_ on not yet put to the test; or an iterator
  size_t next_ = 0;
  bool has_test_;
  Val previous_, item_;
  Val after_ = Val::missing();  // the item peeked at
};

// One rendering: walks the tree of a template. Throws TemplateError.
class Interpreter {
 public:
  struct Options {
    size_t max_output_bytes;
    int max_nesting;     // of evaluations, over all calls
    const std::tm* now;  // null: the current local time
  };
  Interpreter(const Template& program, Heap& heap, const Options& options);

  PromptText run(const Value& context);
  // Line of the template that is being worked on.
  int line() const { return line_; }

  Heap& heap() const { return heap_; }
  const Options& options() const { return options_; }
  Val call_builtin(const Builtin& builtin, const Val& self, CallArgs args);
  // Whether `item` passes the test of a loop whose statement stands in `scope`.
  bool passes_test(const Stmt& loop, const Val& item, ScopeObject* scope);

 private:
  enum class Flow { kNext, kBreak, kContinue };
  class Capture;
  // Counts nested statements, expressions and calls.
  struct Nesting {
    explicit Nesting(Interpreter& interpreter) : interpreter(interpreter) {
      if (interpreter.nesting_ >= interpreter.options_.max_nesting) {
        fail("calls are nested too deeply");
      }
      ++interpreter.nesting_;
    }
    ~Nesting() { --interpreter.nesting_; }
    Interpreter& interpreter;
  };

  // Statements. `scope` is null at the template's own level.
  Flow exec(const Body& body, ScopeObject* scope);
  Flow exec(const Stmt& stmt, ScopeObject* scope);
  Flow exec_if(const Stmt& stmt, ScopeObject* scope);
  Flow exec_with(const Stmt& stmt, ScopeObject* scope);
  Flow exec_captured(const Stmt& stmt, ScopeObject* scope);
  Flow run_loop(const Stmt& stmt, ScopeObject* scope, const Val& iterable, int depth0);
  Val run_recursive(const LoopObject& loop, const CallArgs& args);
  Val call_macro(const MacroObject& macro, CallArgs args);
  void bind_macro(const Stmt& stmt, CallArgs args, ScopeObject& scope);
  void assign(const Expr& target, const Val& value, ScopeObject* scope);
  void set(int name, Val value, ScopeObject* scope);
  const Val& find(int name, const ScopeObject* scope) const;

  // Expressions (evaluate.cpp).
  Val eval(const Expr& expr, ScopeObject* scope);
  Val eval_name(const Expr& expr, ScopeObject* scope);
  Val eval_items(const Expr& expr, ScopeObject* scope);
  Val eval_dict(const Expr& expr, ScopeObject* scope);
  Val eval_logic(const Expr& expr, ScopeObject* scope);
  Val eval_concat(const Expr& expr, ScopeObject* scope);
  Val eval_compare(const Expr& expr, ScopeObject* scope);
  Val eval_get_item(const Expr& expr, ScopeObject* scope);
  Val eval_call(const Expr& expr, ScopeObject* scope, const Val* caller);
  Val eval_filter(const Expr& expr, ScopeObject* scope);
  CallArgs eval_args(const Expr& expr, ScopeObject* scope);

  void write(const Val& value);
  Val import_value(const Value& value, int depth);
  Val import_key(const std::string& name);
  const Val& constant(size_t index);

  const Template& program_;
  Heap& heap_;
  Options options_;
  PromptText out_;
  size_t output_bytes_ = 0;  // of out_ and all outputs it interrupts
  int line_ = 1;
  int nesting_ = 0;
  Vals constants_;  // missing until asked for
  Vals keys_;       // of mappings, see import_key()
  Vals variables_;  // of the template's own level, by name; missing where there is none
  Val block_text_;  // what the filter of a block applies to
};

}  // namespace sluice::text::jinja
