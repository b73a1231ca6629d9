#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

// The syntax tree. One plain node for expressions and one for statements; which fields a kind uses
// is said beside it. The resolver fills in where variables live.
namespace sluice::text::jinja {

struct FilterEntry;
struct TestEntry;

enum class ExprKind : uint8_t {
  kConst,    // constant
  kName,     // text; ref when it is read or set
  kNsRef,    // text.attribute as a target of set; ref of the namespace
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
  kGetAttr,  // items: object; text
  kGetItem,  // items: object, index
  kSlice,    // items: start, stop, step (each may be null)
  kCall,     // items: callee, arguments...; keywords, dynamic
  kFilter,   // items: operand (null in a filter block), arguments...; text; keywords, dynamic
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

// Where a variable lives: a slot of the frame `hops` functions outwards.
struct Ref {
  int hops = 0;
  int slot = -1;
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
  Constant constant;
  int constant_index = -1;  // among the program's constants
  Ref ref;
  Ref filter_ref;                       // of a for loop's target while the loop's test runs
  const FilterEntry* filter = nullptr;  // null: unknown, an error when it is reached
  const TestEntry* test = nullptr;
};

enum class StmtKind : uint8_t {
  kOutput,      // exprs
  kFor,         // target in value [if test]; body, else_body; recursive
  kIf,          // test, body, elifs, else_body
  kMacro,       // name, params, defaults, body; ref
  kCall,        // value (a call), params, defaults, body
  kGeneration,  // body
  kFilter,      // value (a filter with null operand), body
  kWith,        // params = exprs; body
  kSet,         // target, value
  kSetBlock,    // target, value (filter or null), body
  kBlock,       // name, body
  kScope,       // body
  kImport,      // include, import, from, extends: name is the tag; params are the names it sets
  kBreak,
  kContinue,
};

// What happens when a scope begins: how each of its variables gets its first value.
struct Load {
  enum class Kind : uint8_t { kResolve, kAlias, kUndefined } kind = Kind::kUndefined;
  int slot = 0;
  std::string name;  // kResolve: of the context
  Ref from;          // kAlias
};
struct Scope {
  std::vector<Load> enter;
  std::vector<int> leave;  // slots to empty
};

// A unit with variables of its own: the template, a macro, a call block, a loop's test or a
// recursive loop, a block.
struct Function {
  int num_slots = 0;
  Scope scope;
  std::vector<int> param_slots;
  int caller_slot = -1, kwargs_slot = -1, varargs_slot = -1;
  bool has_explicit_caller = false;
};

struct Stmt;
using StmtPtr = std::unique_ptr<Stmt>;
using Body = std::vector<StmtPtr>;

struct Stmt {
  StmtKind kind = StmtKind::kOutput;
  int line = 0;
  int depth = 1;
  bool recursive = false;
  bool sets_context = false;  // a set or macro at the top level: blocks see it
  std::string name;
  ExprPtr target, value, test;
  std::vector<ExprPtr> exprs, params, defaults;
  Body body, else_body;
  std::vector<StmtPtr> elifs;
  Scope scope, else_scope;
  std::unique_ptr<Function> function;       // of a macro, call, generation, block, recursive loop
  std::unique_ptr<Function> test_function;  // of a loop's test
  Ref ref;                                  // of a macro's name; a loop's `loop`
};

// A parsed template, immutable.
struct Template {
  Body body;
  Function function;
  std::vector<Constant> constants;
  bool has_blocks = false;
};

}  // namespace sluice::text::jinja
