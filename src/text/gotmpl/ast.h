#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include "text/prompt_text.h"

// A Go template, parsed.
namespace sluice::text::gotmpl {

// Anything that is wrong with a template, found while parsing or running it.
class TemplateError : public std::runtime_error {
 public:
  TemplateError(int line, const std::string& message) : std::runtime_error(message), line(line) {}
  int line;
};

enum class Function : uint8_t {
  kAnd,
  kOr,
  kNot,
  kEq,
  kNe,
  kLt,
  kLe,
  kGt,
  kGe,
  kLen,
  kIndex,
  kSlice,
  kPrint,
  kPrintf,
  kPrintln,
  kJson,
  kCurrentDate,
  kYesterdayDate,
};

struct Nil {};
using Constant = std::variant<Nil, bool, int64_t, double, PromptText>;

struct Pipe;

// What stands for a value: `.`, .A.B, $x.A, "text", 3, (pipe).A, or a function.
enum class OperandKind : uint8_t { kDot, kVariable, kConstant, kPipe, kFunction };
struct Operand {
  OperandKind kind = OperandKind::kDot;
  int line = 1;
  size_t variable = 0;  // place among the variables; 0 is $
  Constant constant;
  std::unique_ptr<Pipe> pipe;
  Function function = Function::kAnd;
  std::vector<std::string> fields;  // that follow, without their dots
};

struct Command {
  std::vector<Operand> operands;  // of a call: the function, then its arguments
};

struct Pipe {
  int line = 1;
  std::vector<size_t> variables;  // that it sets: one, or a range's two
  std::vector<Command> commands;  // each gets the last one's value behind its arguments
};

enum class StmtKind : uint8_t {
  kText,
  kAction,
  kIf,
  kRange,
  kWith,
  kTemplate,
  kBreak,
  kContinue,
};

struct Stmt;
using Body = std::vector<Stmt>;

struct Stmt {
  StmtKind kind = StmtKind::kText;
  int line = 1;
  PromptText text;  // kText; kTemplate: the name
  Pipe pipe;        // kTemplate: may be without commands
  Body body, other;
  // In the order of the source, over everything: where an old template is cut.
  size_t position = 0;
};

struct Template {
  Body body;
  std::map<std::string, Body> defined;
  std::set<std::string> fields;  // that it reads, in lower case
  size_t num_variables = 1;      // most at one time, with $
  size_t response_position = 0;  // of the first action with .Response; 0: there is none
};

}  // namespace sluice::text::gotmpl
