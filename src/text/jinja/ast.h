#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/value.h"

// The syntax tree. One plain node for expressions and one for statements; which fields a kind uses
// is said beside it. Names and constants are numbered; which variable a name means is found along
// the scopes when the template runs.
namespace sluice::text::jinja {

struct Builtin;

enum class ExprKind : uint8_t {
  kConst,    // index among the template's constants
  kName,     // text; index among the template's names
  kNsRef,    // text.attribute as a target of set; index of the namespace
  kTuple,    // items
  kList,     // items
  kDict,     // items: key, value, key, value ...
  kCond,     // items: test, value, else (may be null)
  kAnd,      // items: left, right
  kOr,       // items: left, right
  kNot,      // items: operand
  kNegate,   // items: operand
  kBinary,   // items: left, right; op
  kConcat,   // items
  kCompare,  // items: first, then one more for each of ops
  kGetAttr,  // items: object; text; names_method
  kGetItem,  // items: object, index
  kSlice,    // items: start, stop, step (each may be null)
  kCall,     // items: callee, arguments...; keywords, dynamic_keywords
  kFilter,   // as kCall, but items: operand (null in a filter block), arguments...; text; builtin
  kTest,     // as kFilter
};

enum class Op : uint8_t {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kFloorDiv,
  kMod,
  kEq,
  kNe,
  kLt,
  kLe,
  kGt,
  kGe,
  kIn,
  kNotIn,
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Expr {
  Expr(ExprKind kind, int line) : kind(kind), line(line) {}
  ExprKind kind;
  Op op = Op::kAdd;
  int line;
  int depth = 1;  // nesting below
  std::string text;
  std::string attribute;
  std::vector<ExprPtr> items;
  std::vector<std::pair<std::string, ExprPtr>> keywords;
  ExprPtr dynamic_keywords;
  std::vector<Op> ops;
  int index = 0;
  bool names_method = false;
  const Builtin* builtin = nullptr;  // null: unknown, an error when it is reached
};

enum class StmtKind : uint8_t {
  kOutput,    // exprs
  kFor,       // target in value [if test]; body, else_body; recursive
  kIf,        // test, body, elifs, else_body
  kMacro,     // target (its name), params, defaults, body; uses_caller
  kCall,      // value (a call), params, defaults, body; uses_caller
  kFilter,    // value (a filter with null operand), body
  kWith,      // params = exprs; body; also what {% generation %} is
  kSet,       // target, value
  kSetBlock,  // target, value (filter or null), body
  kBreak,
  kContinue,
};

struct Stmt;
using StmtPtr = std::unique_ptr<Stmt>;
using Body = std::vector<StmtPtr>;

struct Stmt {
  Stmt(StmtKind kind, int line) : kind(kind), line(line) {}
  StmtKind kind;
  int line;
  bool recursive = false;
  bool uses_caller = false;  // of a macro's body
  ExprPtr target, value, test;
  std::vector<ExprPtr> exprs, params, defaults;
  Body body, else_body;
  std::vector<StmtPtr> elifs;
};

// Numbers of the names that the interpreter itself gives values: "loop" and "caller".
enum SpecialName : int { kLoopName, kCallerName };

// A parsed template, immutable.
struct Template {
  Body body;
  std::vector<Value> constants;
  std::vector<std::string> names;
};

}  // namespace sluice::text::jinja
