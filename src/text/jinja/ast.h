#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

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
  kPlus,     // items: operand
  kBinary,   // items: left, right; op
  kConcat,   // items
  kCompare,  // items: first, then one more for each of ops
  kGetAttr,  // items: object; text; names_method
  kGetItem,  // items: object, index
  kSlice,    // items: start, stop, step (each may be null)
  kCall,     // items: callee, arguments...; keywords, dynamic
  kFilter,   // items: operand (null in a filter block), arguments...; text; keywords, dynamic;
             // builtin
  kTest,     // as kFilter
};

enum class Op : uint8_t {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kFloorDiv,
  kMod,
  kPow,
  kEq,
  kNe,
  kLt,
  kLe,
  kGt,
  kGe,
  kIn,
  kNotIn,
};

struct Constant {
  enum class Kind : uint8_t { kNone, kBool, kInt, kFloat, kString } kind = Kind::kNone;
  int64_t integer = 0;  // also the bool
  double real = 0;
  std::string text;
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Expr {
  ExprKind kind = ExprKind::kConst;
  Op op = Op::kAdd;
  int line = 0;
  int depth = 1;  // nesting below
  std::string text;
  std::string attribute;
  std::vector<ExprPtr> items;
  std::vector<std::pair<std::string, ExprPtr>> keywords;
  ExprPtr dynamic_args, dynamic_keywords;
  std::vector<Op> ops;
  int index = 0;
  bool names_method = false;
  const Builtin* builtin = nullptr;  // null: unknown, an error when it is reached
};

enum class StmtKind : uint8_t {
  kOutput,      // exprs
  kFor,         // target in value [if test]; body, else_body; recursive
  kIf,          // test, body, elifs, else_body
  kMacro,       // target (its name), params, defaults, body; uses
  kCall,        // value (a call), params, defaults, body; uses
  kGeneration,  // body
  kFilter,      // value (a filter with null operand), body
  kWith,        // params = exprs; body
  kSet,         // target, value
  kSetBlock,    // target, value (filter or null), body
  kBreak,
  kContinue,
};

struct Stmt;
using StmtPtr = std::unique_ptr<Stmt>;
using Body = std::vector<StmtPtr>;

struct Stmt {
  StmtKind kind = StmtKind::kOutput;
  int line = 0;
  bool recursive = false;
  bool uses_caller = false, uses_kwargs = false, uses_varargs = false;  // of a macro's body
  ExprPtr target, value, test;
  std::vector<ExprPtr> exprs, params, defaults;
  Body body, else_body;
  std::vector<StmtPtr> elifs;
};

// Numbers of the names that mean something of their own where they are read.
enum SpecialName : int { kLoopName, kCallerName, kKwargsName, kVarargsName, kNumSpecialNames };
inline constexpr const char* kSpecialNames[] = {"loop", "caller", "kwargs", "varargs"};

// A parsed template, immutable.
struct Template {
  Body body;
  std::vector<Constant> constants;
  std::vector<std::string> names;
};

}  // namespace sluice::text::jinja
