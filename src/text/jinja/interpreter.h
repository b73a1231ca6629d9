#pragma once

#include <ctime>
#include <map>
#include <string>

#include "text/jinja/ast.h"
#include "text/jinja/builtins.h"
#include "text/jinja/object.h"
#include "text/jinja/runtime.h"
#include "text/value.h"

namespace sluice::text::jinja {

// One rendering: walks the tree of a template. Throws TemplateError.
class Interpreter {
 public:
  struct Options {
    size_t max_output_bytes;
    int max_nesting;     // of evaluations, over all calls
    const std::tm* now;  // null: the current local time
    int now_microseconds;
  };
  Interpreter(const Template& program, Heap& heap, const Options& options);

  std::string run(const Value& context);
  // Line of the template that is being worked on.
  int line() const { return line_; }

  // For filters, methods and functions.
  Heap& heap() const { return heap_; }
  const Options& options() const { return options_; }
  Val string(std::string text, bool markup = false) {
    return make_string(heap_, std::move(text), markup);
  }
  Val call(const Val& callee, CallArgs args);
  // A filter or test by the name a template gave as an argument.
  Val call_filter(const Val& name, const Val& value, const CallArgs& args);
  bool call_test(const Val& name, const Val& value, const CallArgs& args);
  // For the iterator behind {% for ... if test %}.
  bool passes_loop_test(const Stmt& loop, const Val& item, FrameObject& frame);
  void enter(const Scope& scope, FrameObject& frame);

 private:
  enum class Flow { kNext, kBreak, kContinue };
  class Capture;
  struct Nesting;

  Flow exec(const Body& body, FrameObject& frame);
  Flow exec(const Stmt& stmt, FrameObject& frame);
  void exec_output(const Stmt& stmt, FrameObject& frame);
  Flow exec_if(const Stmt& stmt, FrameObject& frame);
  Flow exec_for(const Stmt& stmt, FrameObject& frame);
  Flow exec_filter(const Stmt& stmt, FrameObject& frame);
  Flow exec_with(const Stmt& stmt, FrameObject& frame);
  Flow exec_set_block(const Stmt& stmt, FrameObject& frame);
  Flow exec_scope(const Stmt& stmt, FrameObject& frame);
  void exec_call(const Stmt& stmt, FrameObject& frame);
  void exec_block(const Stmt& stmt);
  Flow run_loop(const Stmt& stmt, FrameObject& frame, FrameObject& outer, const Val& iterable,
                int depth0);
  Flow run_loop_body(const Stmt& stmt, FrameObject& frame, LoopObject& loop, bool& finished);
  Val run_recursive(const Stmt& stmt, FrameObject& outer, const Val& iterable, int depth0);
  Val call_macro(MacroObject& macro, CallArgs args);
  void bind_macro(const MacroObject& macro, CallArgs& args, FrameObject& frame);
  void bind_macro_rest(const Stmt& stmt, CallArgs& args, bool found_caller, FrameObject& frame);
  void fill_macro_defaults(const Stmt& stmt, FrameObject& frame);

  void leave(const Scope& scope, FrameObject& frame);
  Val resolve(const std::string& name) const;
  static Val& slot(FrameObject& frame, const Ref& ref);
  void assign(const Expr& target, const Val& value, FrameObject& frame, bool in_filter = false);
  void remember(const Expr& target, FrameObject& frame);

  Val eval(const Expr& expr, FrameObject& frame);
  Val eval_name(const Expr& expr, FrameObject& frame);
  Val eval_items(const Expr& expr, FrameObject& frame);
  Val eval_dict(const Expr& expr, FrameObject& frame);
  Val eval_logic(const Expr& expr, FrameObject& frame);
  Val eval_concat(const Expr& expr, FrameObject& frame);
  Val eval_compare(const Expr& expr, FrameObject& frame);
  Val eval_get_item(const Expr& expr, FrameObject& frame);
  Val eval_call(const Expr& expr, FrameObject& frame, const Val* caller);
  Val eval_filter(const Expr& expr, FrameObject& frame);
  CallArgs eval_args(const Expr& expr, FrameObject& frame);
  void add_dynamic_keywords(CallArgs& args, const Val& mapping);

  void write(std::string_view text);
  // What call and filter blocks give must be a string already.
  void write_string(const Val& value);
  Val import_value(const Value& value, int depth);

  const Template& program_;
  Heap& heap_;
  Options options_;
  std::string out_;
  size_t output_bytes_ = 0;  // of out_ and all outputs it interrupts
  int line_ = 1;
  int nesting_ = 0;
  Vals constants_;
  Val context_;
  std::map<std::string, Val, std::less<>> globals_;
  std::map<std::string, Val, std::less<>> context_vars_;  // set at the top level
  Val block_text_;                                        // what the filter of a block applies to
};

}  // namespace sluice::text::jinja
