#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/parser.h"

namespace sluice::text::jinja {

// Operators between two expressions; those of the higher level bind stronger, equal ones to the
// left.
struct Parser::Operator {
  std::string_view sign;
  int level;
  ExprKind kind;
  Op op = Op::kAdd;
};

namespace {
enum Level { kOr, kAnd, kNot, kCompare, kSum, kConcat, kProduct };
}

const Value* find_constant(std::string_view name) {
  static const std::map<std::string_view, Value> kConstants = {{"true", true},   {"True", true},
                                                               {"false", false}, {"False", false},
                                                               {"none", {}},     {"None", {}}};
  const auto found = kConstants.find(name);
  return found != kConstants.end() ? &found->second : nullptr;
}

ExprPtr Parser::make_constant(Value constant, int line) {
  auto node = std::make_unique<Expr>(ExprKind::kConst, line);
  node->index = static_cast<int>(template_.constants.size());
  template_.constants.push_back(std::move(constant));
  return node;
}

int Parser::name_index(const std::string& name) {
  const auto [found, is_new] = names_.emplace(name, static_cast<int>(names_.size()));
  if (is_new) template_.names.push_back(name);
  return found->second;
}

ExprPtr Parser::make_name(const std::string& name, int line) {
  auto node = std::make_unique<Expr>(ExprKind::kName, line);
  node->text = name;
  node->index = name_index(name);
  uses_caller_ = uses_caller_ || name == "caller";
  if (num_macros_ > 0 && (name == "varargs" || name == "kwargs")) {
    fail("'" + name + "' of a macro is not supported");
  }
  return node;
}

void Parser::deepen(Expr& parent, const Expr& child) const {
  parent.depth = std::max(parent.depth, child.depth + 1);
  if (parent.depth > kMaxSyntaxDepth) fail("expression is nested too deeply");
}

void Parser::adopt(Expr& parent, ExprPtr child) const {
  if (child) deepen(parent, *child);
  parent.items.push_back(std::move(child));
}

// A node with these children.
ExprPtr Parser::make(ExprKind kind, int line, ExprPtr first, ExprPtr second) const {
  auto node = std::make_unique<Expr>(kind, line);
  adopt(*node, std::move(first));
  if (second) adopt(*node, std::move(second));
  return node;
}

// With an inline if.
ExprPtr Parser::parse_expression() {
  Nesting nesting(*this);
  int line = current().line;
  ExprPtr value = parse_operators(kOr);
  while (skip_name("if")) {
    ExprPtr node = make(ExprKind::kCond, line, parse_operators(kOr), std::move(value));
    adopt(*node, skip_name("else") ? parse_expression() : nullptr);
    value = std::move(node);
    line = current().line;
  }
  return value;
}

// Takes the operator that stands here when it is of this level or a higher one; else null.
const Parser::Operator* Parser::take_operator(int level) {
  static constexpr Operator kOperators[] = {
      {"or", kOr, ExprKind::kOr},
      {"and", kAnd, ExprKind::kAnd},
      {"==", kCompare, ExprKind::kCompare, Op::kEq},
      {"!=", kCompare, ExprKind::kCompare, Op::kNe},
      {"<", kCompare, ExprKind::kCompare, Op::kLt},
      {"<=", kCompare, ExprKind::kCompare, Op::kLe},
      {">", kCompare, ExprKind::kCompare, Op::kGt},
      {">=", kCompare, ExprKind::kCompare, Op::kGe},
      {"in", kCompare, ExprKind::kCompare, Op::kIn},
      {"not in", kCompare, ExprKind::kCompare, Op::kNotIn},
      {"+", kSum, ExprKind::kBinary, Op::kAdd},
      {"-", kSum, ExprKind::kBinary, Op::kSub},
      {"~", kConcat, ExprKind::kConcat},
      {"*", kProduct, ExprKind::kBinary, Op::kMul},
      {"/", kProduct, ExprKind::kBinary, Op::kDiv},
      {"//", kProduct, ExprKind::kBinary, Op::kFloorDiv},
      {"%", kProduct, ExprKind::kBinary, Op::kMod},
  };
  const Token& token = current();
  if (token.type != TokenType::kName && token.type != TokenType::kOperator) return nullptr;
  const bool is_not_in = token.text == "not" && look().is_name("in");
  const std::string_view sign = is_not_in ? "not in" : std::string_view(token.text);
  const auto found = std::find_if(std::begin(kOperators), std::end(kOperators),
                                  [&](const Operator& op) { return op.sign == sign; });
  if (found == std::end(kOperators) || found->level < level) return nullptr;
  position_ += is_not_in ? 2 : 1;
  return found;
}

// An expression whose operators are of this level or higher ones.
ExprPtr Parser::parse_operators(int level) {
  int line = current().line;
  ExprPtr left;
  if (level <= kNot && skip_name("not")) {
    Nesting nesting(*this);
    left = make(ExprKind::kNot, line, parse_operators(kNot));
  } else {
    left = parse_unary();
  }
  int chain = -1;  // level of the operator that `left` ends with
  while (const Operator* op = take_operator(level)) {
    // a < b < c and a ~ b ~ c are one node.
    const bool is_chain = op->level == chain && (op->level == kCompare || op->level == kConcat);
    if (!is_chain) left = make(op->kind, line, std::move(left));
    left->op = op->op;
    if (op->kind == ExprKind::kCompare) left->ops.push_back(op->op);
    adopt(*left, parse_operators(op->level + 1));
    chain = op->level;
    line = current().line;
  }
  return left;
}

ExprPtr Parser::parse_unary(bool with_filter) {
  ExprPtr node;
  if (current().is_operator("-")) {
    Nesting nesting(*this);
    const int line = next().line;
    node = make(ExprKind::kNegate, line, parse_unary(false));
  } else {
    node = parse_primary();
  }
  node = parse_postfix(std::move(node));
  return with_filter ? parse_filter_expression(std::move(node)) : std::move(node);
}

ExprPtr Parser::parse_name(bool with_namespace) {
  const Token& token = next();
  if (const Value* constant = find_constant(token.text))
    return make_constant(*constant, token.line);
  ExprPtr node = make_name(token.text, token.line);
  if (with_namespace && skip_operator(".")) {
    node->kind = ExprKind::kNsRef;
    node->attribute = expect_any_name();
  }
  return node;
}

// Neighbouring strings are one.
ExprPtr Parser::parse_string() {
  const int line = current().line;
  std::string text;
  while (current().type == TokenType::kString) text += next().text;
  return make_constant(Value::trusted(std::move(text)), line);
}

ExprPtr Parser::parse_primary(bool with_namespace) {
  const int line = current().line;
  if (current().type == TokenType::kName) return parse_name(with_namespace);
  if (current().type == TokenType::kString) return parse_string();
  if (current().type == TokenType::kNumber) return make_constant(next().number, line);
  if (skip_operator("(")) {
    ExprPtr node = parse_tuple(true, true);
    expect_operator(")");
    return node;
  }
  if (skip_operator("[")) {
    auto node = std::make_unique<Expr>(ExprKind::kList, line);
    parse_items("]", [&] { adopt(*node, parse_expression()); });
    return node;
  }
  if (skip_operator("{")) {
    auto node = std::make_unique<Expr>(ExprKind::kDict, line);
    parse_items("}", [&] {
      adopt(*node, parse_expression());
      expect_operator(":");
      adopt(*node, parse_expression());
    });
    return node;
  }
  fail("unexpected '" + current().text + "'");
}

// Items with commas between them, up to `end`, which is taken.
void Parser::parse_items(std::string_view end, const std::function<void()>& parse_item) {
  for (bool is_first = true; !skip_operator(end); is_first = false) {
    if (!is_first) expect_operator(",");
    if (!is_first && skip_operator(end)) return;
    parse_item();
  }
}

// Items with commas between them; one without a comma is no tuple.
ExprPtr Parser::parse_tuple_items(const std::function<ExprPtr()>& parse_item, bool parentheses) {
  auto node = std::make_unique<Expr>(ExprKind::kTuple, current().line);
  bool is_tuple = false;
  while (true) {
    if (!node->items.empty()) expect_operator(",");
    const bool is_end = current().type == TokenType::kVariableEnd ||
                        current().type == TokenType::kBlockEnd || current().is_operator(")");
    if (is_end) break;
    adopt(*node, parse_item());
    if (!current().is_operator(",")) break;
    is_tuple = true;
  }
  if (is_tuple) return node;
  if (!node->items.empty()) return std::move(node->items[0]);
  if (!parentheses) fail_expecting("an expression");
  return node;
}

ExprPtr Parser::parse_tuple(bool with_condition, bool parentheses) {
  return parse_tuple_items(
      [&] { return with_condition ? parse_expression() : parse_operators(kOr); }, parentheses);
}

ExprPtr Parser::parse_postfix(ExprPtr node) {
  while (true) {
    if (current().is_operator(".") || current().is_operator("[")) {
      node = parse_subscript(std::move(node));
    } else if (current().is_operator("(")) {
      node = parse_call(std::move(node));
    } else {
      return node;
    }
  }
}

ExprPtr Parser::parse_filter_expression(ExprPtr node) {
  while (true) {
    if (current().is_operator("|")) {
      node = parse_filter(std::move(node), false);
    } else if (current().is_name("is")) {
      node = parse_test(std::move(node));
    } else if (current().is_operator("(")) {
      node = parse_call(std::move(node));
    } else {
      return node;
    }
  }
}

ExprPtr Parser::parse_subscript(ExprPtr object) {
  const int line = current().line;
  if (skip_operator("[")) {
    ExprPtr node = make(ExprKind::kGetItem, line, std::move(object), parse_index());
    expect_operator("]");
    return node;
  }
  expect_operator(".");
  const Token& name = next();
  if (name.type == TokenType::kNumber && name.number.as_int() != nullptr) {
    return make(ExprKind::kGetItem, line, std::move(object), make_constant(name.number, name.line));
  }
  if (name.type != TokenType::kName) fail("expected name or number", name.line);
  ExprPtr node = make(ExprKind::kGetAttr, line, std::move(object));
  node->text = name.text;
  node->names_method = names_method(name.text);
  return node;
}

// An index or a slice.
ExprPtr Parser::parse_index() {
  const int line = current().line;
  const auto part = [&]() -> ExprPtr {
    const bool is_absent = current().is_operator(":") || current().is_operator("]");
    return is_absent ? nullptr : parse_expression();
  };
  ExprPtr start = part();
  if (start && !current().is_operator(":")) return start;
  expect_operator(":");
  ExprPtr node = make(ExprKind::kSlice, line, std::move(start));
  adopt(*node, part());
  adopt(*node, skip_operator(":") ? part() : nullptr);
  return node;
}

void Parser::parse_call_args(Expr& call) {
  expect_operator("(");
  parse_items(")", [&] {
    if (current().is_operator("*")) fail("the argument list '*...' is not supported");
    if (call.dynamic_keywords) fail("an argument behind '**'");
    if (skip_operator("**")) {
      call.dynamic_keywords = parse_expression();
      deepen(call, *call.dynamic_keywords);
    } else if (current().type == TokenType::kName && look().is_operator("=")) {
      std::string name = next().text;
      next();
      for (const auto& keyword : call.keywords) {
        if (keyword.first == name) fail("keyword argument repeated: " + name);
      }
      ExprPtr value = parse_expression();
      deepen(call, *value);
      call.keywords.emplace_back(std::move(name), std::move(value));
    } else {
      if (!call.keywords.empty()) fail("an argument without a name behind one with a name");
      adopt(call, parse_expression());
    }
  });
}

ExprPtr Parser::parse_call(ExprPtr callee) {
  ExprPtr node = make(ExprKind::kCall, current().line, std::move(callee));
  parse_call_args(*node);
  return node;
}

ExprPtr Parser::parse_filter(ExprPtr operand, bool start_inline) {
  while (start_inline || skip_operator("|")) {
    ExprPtr node = make(ExprKind::kFilter, current().line, std::move(operand));
    node->text = expect_any_name();
    node->builtin = find_filter(node->text);
    if (current().is_operator("(")) parse_call_args(*node);
    operand = std::move(node);
    start_inline = false;
  }
  return operand;
}

ExprPtr Parser::parse_test(ExprPtr operand) {
  const int line = next().line;
  const bool is_negated = skip_name("not");
  ExprPtr node = make(ExprKind::kTest, line, std::move(operand));
  node->text = expect_any_name();
  node->builtin = find_test(node->text);
  const Token& token = current();
  const bool is_argument = token.type == TokenType::kName || token.type == TokenType::kString ||
                           token.type == TokenType::kNumber || token.is_operator("[") ||
                           token.is_operator("{");
  if (token.is_operator("(")) {
    parse_call_args(*node);
  } else if (is_argument && !token.is_name("else") && !token.is_name("or") &&
             !token.is_name("and")) {
    if (token.is_name("is")) fail("You cannot chain multiple tests with is");
    adopt(*node, parse_postfix(parse_primary()));
  }
  return is_negated ? make(ExprKind::kNot, line, std::move(node)) : std::move(node);
}

}  // namespace sluice::text::jinja
