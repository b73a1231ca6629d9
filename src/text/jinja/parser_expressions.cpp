#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/parser.h"

namespace sluice::text::jinja {

ExprPtr Parser::make(ExprKind kind, int line) const {
  auto node = std::make_unique<Expr>();
  node->kind = kind;
  node->line = line;
  return node;
}

ExprPtr Parser::make_constant(Constant constant, int line) {
  ExprPtr node = make(ExprKind::kConst, line);
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
  ExprPtr node = make(ExprKind::kName, line);
  node->text = name;
  node->index = name_index(name);
  for (Stmt* macro : macros_) {
    macro->uses_caller = macro->uses_caller || name == "caller";
    macro->uses_kwargs = macro->uses_kwargs || name == "kwargs";
    macro->uses_varargs = macro->uses_varargs || name == "varargs";
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

ExprPtr Parser::binary(ExprKind kind, Op op, ExprPtr left, ExprPtr right, int line) const {
  ExprPtr node = make(kind, line);
  node->op = op;
  adopt(*node, std::move(left));
  adopt(*node, std::move(right));
  return node;
}

ExprPtr Parser::parse_expression(bool with_condition) {
  return with_condition ? parse_condition() : parse_or();
}

ExprPtr Parser::parse_condition() {
  Nesting nesting(*this);
  int line = current().line;
  ExprPtr value = parse_or();
  while (skip_name("if")) {
    ExprPtr node = make(ExprKind::kCond, line);
    adopt(*node, parse_or());
    adopt(*node, std::move(value));
    adopt(*node, skip_name("else") ? parse_condition() : nullptr);
    value = std::move(node);
    line = current().line;
  }
  return value;
}

ExprPtr Parser::parse_or() {
  int line = current().line;
  ExprPtr left = parse_and();
  while (skip_name("or")) {
    left = binary(ExprKind::kOr, Op::kAdd, std::move(left), parse_and(), line);
    line = current().line;
  }
  return left;
}

ExprPtr Parser::parse_and() {
  int line = current().line;
  ExprPtr left = parse_not();
  while (skip_name("and")) {
    left = binary(ExprKind::kAnd, Op::kAdd, std::move(left), parse_not(), line);
    line = current().line;
  }
  return left;
}

ExprPtr Parser::parse_not() {
  if (!current().is_name("not")) return parse_compare();
  Nesting nesting(*this);
  ExprPtr node = make(ExprKind::kNot, next().line);
  adopt(*node, parse_not());
  return node;
}

ExprPtr Parser::parse_compare() {
  static constexpr std::pair<std::string_view, Op> kOperators[] = {
      {"==", Op::kEq}, {"!=", Op::kNe}, {"<", Op::kLt},
      {"<=", Op::kLe}, {">", Op::kGt},  {">=", Op::kGe}};
  ExprPtr node = make(ExprKind::kCompare, current().line);
  ExprPtr first = parse_sum();
  auto operator_here = [&](Op& op) {
    for (const auto& [text, value] : kOperators) {
      if (skip_operator(text)) {
        op = value;
        return true;
      }
    }
    op = Op::kIn;
    if (skip_name("in")) return true;
    if (!current().is_name("not") || !look().is_name("in")) return false;
    op = Op::kNotIn;
    position_ += 2;
    return true;
  };
  Op op = Op::kEq;
  if (!operator_here(op)) return first;
  adopt(*node, std::move(first));
  do {
    node->ops.push_back(op);
    adopt(*node, parse_sum());
  } while (operator_here(op));
  return node;
}

ExprPtr Parser::parse_sum() {
  int line = current().line;
  ExprPtr left = parse_concat();
  while (current().is_operator("+") || current().is_operator("-")) {
    Op op = next().text == "+" ? Op::kAdd : Op::kSub;
    left = binary(ExprKind::kBinary, op, std::move(left), parse_concat(), line);
    line = current().line;
  }
  return left;
}

ExprPtr Parser::parse_concat() {
  int line = current().line;
  ExprPtr first = parse_product();
  if (!current().is_operator("~")) return first;
  ExprPtr node = make(ExprKind::kConcat, line);
  adopt(*node, std::move(first));
  while (skip_operator("~")) adopt(*node, parse_product());
  return node;
}

ExprPtr Parser::parse_product() {
  static constexpr std::pair<std::string_view, Op> kOperators[] = {
      {"*", Op::kMul}, {"/", Op::kDiv}, {"//", Op::kFloorDiv}, {"%", Op::kMod}};
  int line = current().line;
  ExprPtr left = parse_power();
  while (true) {
    auto found = std::find_if(std::begin(kOperators), std::end(kOperators), [&](const auto& entry) {
      return current().is_operator(entry.first);
    });
    if (found == std::end(kOperators)) return left;
    next();
    left = binary(ExprKind::kBinary, found->second, std::move(left), parse_power(), line);
    line = current().line;
  }
}

ExprPtr Parser::parse_power() {
  int line = current().line;
  ExprPtr left = parse_unary();
  while (skip_operator("**")) {
    left = binary(ExprKind::kBinary, Op::kPow, std::move(left), parse_unary(), line);
    line = current().line;
  }
  return left;
}

ExprPtr Parser::parse_unary(bool with_filter) {
  ExprPtr node;
  if (current().is_operator("-") || current().is_operator("+")) {
    Nesting nesting(*this);
    const Token& sign = next();
    node = make(sign.text == "-" ? ExprKind::kNegate : ExprKind::kPlus, sign.line);
    adopt(*node, parse_unary(false));
  } else {
    node = parse_primary();
  }
  node = parse_postfix(std::move(node));
  return with_filter ? parse_filter_expression(std::move(node)) : std::move(node);
}

ExprPtr Parser::parse_name(bool with_namespace) {
  const Token& token = next();
  const std::string& name = token.text;
  Constant constant;
  if (name == "true" || name == "false" || name == "True" || name == "False") {
    constant.kind = Constant::Kind::kBool;
    constant.integer = name == "true" || name == "True";
    return make_constant(std::move(constant), token.line);
  }
  if (name == "none" || name == "None") return make_constant(std::move(constant), token.line);
  ExprPtr node = make_name(name, token.line);
  if (with_namespace && skip_operator(".")) {
    node->kind = ExprKind::kNsRef;
    node->attribute = expect_any_name();
  }
  return node;
}

ExprPtr Parser::parse_literal() {
  const int line = current().line;
  Constant constant;
  if (current().type == TokenType::kInteger) {
    constant.kind = Constant::Kind::kInt;
    constant.integer = next().integer;
  } else if (current().type == TokenType::kFloat) {
    constant.kind = Constant::Kind::kFloat;
    constant.real = next().real;
  } else {
    constant.kind = Constant::Kind::kString;
    while (current().type == TokenType::kString) constant.text += next().text;
  }
  return make_constant(std::move(constant), line);
}

ExprPtr Parser::parse_primary(bool with_namespace) {
  Nesting nesting(*this);
  switch (current().type) {
    case TokenType::kName:
      return parse_name(with_namespace);
    case TokenType::kString:
    case TokenType::kInteger:
    case TokenType::kFloat:
      return parse_literal();
    default:
      break;
  }
  if (skip_operator("(")) {
    ExprPtr node = parse_tuple(true, true);
    expect_operator(")");
    return node;
  }
  if (current().is_operator("[")) return parse_list();
  if (current().is_operator("{")) return parse_dict();
  fail("unexpected '" + current().text + "'");
}

bool Parser::at_tuple_end() const {
  const Token& token = current();
  return token.type == TokenType::kVariableEnd || token.type == TokenType::kBlockEnd ||
         token.is_operator(")");
}

template <typename ParseItem>
ExprPtr Parser::parse_tuple_items(ParseItem parse_item, bool parentheses) {
  ExprPtr node = make(ExprKind::kTuple, current().line);
  bool is_tuple = false;
  while (true) {
    if (!node->items.empty()) expect_operator(",");
    if (at_tuple_end()) break;
    adopt(*node, parse_item());
    if (!current().is_operator(",")) break;
    is_tuple = true;
  }
  if (is_tuple) return node;
  if (!node->items.empty()) return std::move(node->items[0]);
  if (!parentheses) fail("Expected an expression, got '" + current().text + "'");
  return node;
}

ExprPtr Parser::parse_tuple(bool with_condition, bool parentheses) {
  return parse_tuple_items([&] { return parse_expression(with_condition); }, parentheses);
}

ExprPtr Parser::parse_target_tuple(bool with_namespace) {
  return parse_tuple_items([&] { return parse_primary(with_namespace); }, false);
}

ExprPtr Parser::parse_list() {
  ExprPtr node = make(ExprKind::kList, current().line);
  expect_operator("[");
  while (!current().is_operator("]")) {
    if (!node->items.empty()) expect_operator(",");
    if (current().is_operator("]")) break;
    adopt(*node, parse_expression());
  }
  expect_operator("]");
  return node;
}

ExprPtr Parser::parse_dict() {
  ExprPtr node = make(ExprKind::kDict, current().line);
  expect_operator("{");
  while (!current().is_operator("}")) {
    if (!node->items.empty()) expect_operator(",");
    if (current().is_operator("}")) break;
    adopt(*node, parse_expression());
    expect_operator(":");
    adopt(*node, parse_expression());
  }
  expect_operator("}");
  return node;
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
  int line = current().line;
  if (skip_operator(".")) {
    const Token& name = next();
    if (name.type == TokenType::kName) {
      ExprPtr node = make(ExprKind::kGetAttr, line);
      node->text = name.text;
      node->names_method = names_method(name.text);
      adopt(*node, std::move(object));
      return node;
    }
    if (name.type != TokenType::kInteger) fail("expected name or number", name.line);
    Constant index;
    index.kind = Constant::Kind::kInt;
    index.integer = name.integer;
    return binary(ExprKind::kGetItem, Op::kAdd, std::move(object),
                  make_constant(std::move(index), name.line), line);
  }
  expect_operator("[");
  ExprPtr indexes = make(ExprKind::kTuple, line);
  while (!current().is_operator("]")) {
    if (!indexes->items.empty()) expect_operator(",");
    adopt(*indexes, parse_subscribed());
  }
  expect_operator("]");
  ExprPtr index = indexes->items.size() == 1 ? std::move(indexes->items[0]) : std::move(indexes);
  return binary(ExprKind::kGetItem, Op::kAdd, std::move(object), std::move(index), line);
}

ExprPtr Parser::parse_subscribed() {
  int line = current().line;
  ExprPtr start;
  if (!current().is_operator(":")) {
    start = parse_expression();
    if (!current().is_operator(":")) return start;
  }
  expect_operator(":");
  auto part = [&]() -> ExprPtr {
    bool absent =
        current().is_operator(":") || current().is_operator("]") || current().is_operator(",");
    return absent ? nullptr : parse_expression();
  };
  ExprPtr node = make(ExprKind::kSlice, line);
  adopt(*node, std::move(start));
  adopt(*node, part());
  adopt(*node, skip_operator(":") ? part() : nullptr);
  return node;
}

void Parser::parse_call_args(Expr& call) {
  int line = current().line;
  expect_operator("(");
  bool require_comma = false;
  auto ensure = [&](bool condition) {
    if (!condition) fail("invalid syntax for function call expression", line);
  };
  while (!current().is_operator(")")) {
    if (require_comma) {
      expect_operator(",");
      if (current().is_operator(")")) break;
    }
    if (skip_operator("*")) {
      ensure(!call.dynamic_args && !call.dynamic_keywords);
      call.dynamic_args = parse_expression();
      deepen(call, *call.dynamic_args);
    } else if (skip_operator("**")) {
      ensure(!call.dynamic_keywords);
      call.dynamic_keywords = parse_expression();
      deepen(call, *call.dynamic_keywords);
    } else if (current().type == TokenType::kName && look().is_operator("=")) {
      ensure(!call.dynamic_keywords);
      std::string name = next().text;
      next();
      for (const auto& keyword : call.keywords) {
        if (keyword.first == name) fail("keyword argument repeated: " + name);
      }
      ExprPtr value = parse_expression();
      deepen(call, *value);
      call.keywords.emplace_back(std::move(name), std::move(value));
    } else {
      ensure(!call.dynamic_args && !call.dynamic_keywords && call.keywords.empty());
      adopt(call, parse_expression());
    }
    require_comma = true;
  }
  expect_operator(")");
}

ExprPtr Parser::parse_call(ExprPtr callee) {
  ExprPtr node = make(ExprKind::kCall, current().line);
  adopt(*node, std::move(callee));
  parse_call_args(*node);
  return node;
}

std::string Parser::parse_dotted_name() {
  std::string name = expect_any_name();
  while (skip_operator(".")) name += "." + expect_any_name();
  return name;
}

ExprPtr Parser::parse_filter(ExprPtr operand, bool start_inline) {
  while (start_inline || skip_operator("|")) {
    ExprPtr node = make(ExprKind::kFilter, current().line);
    node->text = parse_dotted_name();
    node->builtin = find_filter(node->text);
    adopt(*node, std::move(operand));
    if (current().is_operator("(")) parse_call_args(*node);
    operand = std::move(node);
    start_inline = false;
  }
  return operand;
}

ExprPtr Parser::parse_test(ExprPtr operand) {
  ExprPtr node = make(ExprKind::kTest, next().line);
  bool negated = skip_name("not");
  node->text = parse_dotted_name();
  node->builtin = find_test(node->text);
  adopt(*node, std::move(operand));
  const Token& token = current();
  bool argument = token.type == TokenType::kName || token.type == TokenType::kString ||
                  token.type == TokenType::kInteger || token.type == TokenType::kFloat ||
                  token.is_operator("[") || token.is_operator("{");
  if (token.is_operator("(")) {
    parse_call_args(*node);
  } else if (argument && !token.is_name("else") && !token.is_name("or") && !token.is_name("and")) {
    if (token.is_name("is")) fail("You cannot chain multiple tests with is");
    adopt(*node, parse_postfix(parse_primary()));
  }
  if (!negated) return node;
  ExprPtr negation = make(ExprKind::kNot, node->line);
  adopt(*negation, std::move(node));
  return negation;
}

}  // namespace sluice::text::jinja
