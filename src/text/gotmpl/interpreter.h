#pragma once

#include "base/work.h"
#include "text/chat_template.h"
#include "text/gotmpl/ast.h"
#include "text/gotmpl/value.h"

namespace sluice::text::gotmpl {

// Runs templates one after the other into one output, within one set of limits. Throws
// TemplateError, and what `work` throws.
class Interpreter {
 public:
  Interpreter(const Template& program, const RenderLimits& limits, Work& work)
      : program_(program), limits_(limits), work_(work), steps_left_(limits.max_steps) {}

  // `data` is a mapping. `ends_at_response`: nothing behind the first .Response is run.
  void run(const Value& data, bool ends_at_response);
  PromptText take() { return std::move(out_); }

 private:
  enum class Flow { kNext, kBreak, kContinue };
  struct Frame {
    std::vector<Val> variables;
  };

  [[noreturn]] void fail(const std::string& message) const { throw TemplateError(line_, message); }
  void charge(uint64_t steps);
  void write(const PromptText& text);
  Val make_text(PromptText text);

  Flow exec(const Body& body, const Val& dot, Frame& frame);
  Flow exec(const Stmt& stmt, const Val& dot, Frame& frame);
  Flow exec_range(const Stmt& stmt, const Val& dot, Frame& frame);
  void exec_template(const Stmt& stmt, const Val& dot, Frame& frame);
  Val eval(const Pipe& pipe, const Val& dot, Frame& frame);
  Val eval(const Operand& operand, const Val& dot, Frame& frame);
  Val field(const Val& value, const std::string& name);
  Val call(const Command& command, const Val* last, const Val& dot, Frame& frame);
  Val call_function(Function function, const std::vector<Val>& args);
  Val index(const std::vector<Val>& args);
  Val slice(const std::vector<Val>& args);
  Val print(const std::vector<Val>& args, bool is_line);
  Val print_format(const std::vector<Val>& args);
  Val date(int days_back);
  bool compare(Function function, const Val& a, const Val& b);
  PromptText text_of(const Val& value);
  std::string text_of_json(const Val& value);
  int64_t int_of(const Val& value);

  const Template& program_;
  const RenderLimits& limits_;
  Work& work_;
  uint64_t steps_left_;
  PromptText out_;
  size_t made_bytes_ = 0;  // of all texts that were made
  size_t end_ = 0;         // statements behind this position are not run; 0: all are
  int depth_ = 0;
  int line_ = 1;
  const Value* top_ = nullptr;
};

}  // namespace sluice::text::gotmpl
