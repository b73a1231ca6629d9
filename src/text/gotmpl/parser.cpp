#include "text/gotmpl/parser.h"

#include <algorithm>
#include <utility>

#include "text/gotmpl/lexer.h"
#include "text/unicode.h"

namespace sluice::text::gotmpl {
namespace {

constexpr std::pair<std::string_view, Function> kFunctions[] = {
    {"and", Function::kAnd},
    {"or", Function::kOr},
    {"not", Function::kNot},
    {"eq", Function::kEq},
    {"ne", Function::kNe},
    {"lt", Function::kLt},
    {"le", Function::kLe},
    {"gt", Function::kGt},
    {"ge", Function::kGe},
    {"len", Function::kLen},
    {"index", Function::kIndex},
    {"slice", Function::kSlice},
    {"print", Function::kPrint},
    {"printf", Function::kPrintf},
    {"println", Function::kPrintln},
    {"json", Function::kJson},
    {"currentDate", Function::kCurrentDate},
    {"yesterdayDate", Function::kYesterdayDate}};

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(tokenize(source)) {}

  Template run() {
    template_.body = parse_body();
    if (current().type != TokenType::kEnd) fail("unexpected {{" + current_keyword() + "}}");
    for (const auto& [name, line] : called_) {
      if (!template_.defined.contains(name)) {
        throw TemplateError(line, "template \"" + shown(name) + "\" is not defined");
      }
    }
    return std::move(template_);
  }

 private:
  // Variables that a block sets end with it; nesting is bounded.
  struct Scope {
    explicit Scope(Parser& parser) : parser(parser), num_variables(parser.variables_.size()) {
      if (++parser.depth_ > kMaxSyntaxDepth) parser.fail("blocks are nested too deeply");
    }
    ~Scope() {
      parser.variables_.resize(num_variables);
      --parser.depth_;
    }
    Parser& parser;
    size_t num_variables;
  };

  static std::string shown(std::string_view name) { return std::string(utf8_prefix(name, 60)); }
  const Token& current() const { return tokens_[position_]; }
  const Token& take() { return tokens_[position_++]; }
  [[noreturn]] void fail(const std::string& message) const {
    throw TemplateError(current().line, message);
  }
  bool at_symbol(std::string_view symbol) const {
    return current().type == TokenType::kSymbol && current().text == symbol;
  }
  bool skip_symbol(std::string_view symbol) {
    if (!at_symbol(symbol)) return false;
    ++position_;
    return true;
  }
  void close(std::string_view what) {
    if (current().type != TokenType::kClose) fail("unexpected text in " + std::string(what));
    ++position_;
  }
  // The word that the action at hand begins with; "" when it is no word.
  std::string current_keyword() const {
    if (current().type != TokenType::kOpen) return "";
    const Token& next = tokens_[position_ + 1];
    return next.type == TokenType::kName ? next.text : "";
  }

  // Up to an {{end}}, an {{else}} or the end of the source, which stay.
  Body parse_body() {
    Body body;
    while (current().type != TokenType::kEnd) {
      if (current().type == TokenType::kText) {
        Stmt stmt = make(StmtKind::kText);
        stmt.text = PromptText(take().text, true);
        body.push_back(std::move(stmt));
        continue;
      }
      const std::string keyword = current_keyword();
      if (keyword == "end" || keyword == "else") break;
      parse_action(keyword, body);
    }
    return body;
  }

  Stmt make(StmtKind kind) {
    Stmt stmt;
    stmt.kind = kind;
    stmt.line = current().line;
    stmt.position = ++num_statements_;
    return stmt;
  }

  void parse_action(const std::string& keyword, Body& body) {
    if (keyword == "define" || keyword == "block") return parse_define(keyword == "block", body);
    ++position_;
    if (keyword == "if") return body.push_back(parse_block(StmtKind::kIf, keyword));
    if (keyword == "with") return body.push_back(parse_block(StmtKind::kWith, keyword));
    if (keyword == "range") return body.push_back(parse_block(StmtKind::kRange, keyword));
    if (keyword == "break" || keyword == "continue") {
      if (num_loops_ == 0) fail("{{" + keyword + "}} outside {{range}}");
      body.push_back(make(keyword == "break" ? StmtKind::kBreak : StmtKind::kContinue));
      ++position_;
      return close(keyword);
    }
    if (keyword == "template") {
      Stmt stmt = make(StmtKind::kTemplate);
      ++position_;
      stmt.text = PromptText(parse_name(), true);
      called_.emplace_back(stmt.text.text(), stmt.line);
      if (current().type != TokenType::kClose) stmt.pipe = parse_pipe(false);
      close("{{template}}");
      body.push_back(std::move(stmt));
      return;
    }
    Stmt stmt = make(StmtKind::kAction);
    reads_response_ = false;
    stmt.pipe = parse_pipe(false);
    close("an action");
    if (reads_response_ && template_.response_position == 0) {
      template_.response_position = stmt.position;
    }
    body.push_back(std::move(stmt));
  }

  std::string parse_name() {
    if (current().type != TokenType::kString) fail("expected a template's name in quotes");
    return take().text;
  }

  void parse_define(bool is_block, Body& body) {
    if (!is_block && depth_ > 0) fail("unexpected {{define}} inside of a block");
    Stmt stmt = make(StmtKind::kTemplate);
    position_ += 2;
    const std::string name = parse_name();
    if (is_block) {
      stmt.text = PromptText(name, true);
      stmt.pipe = parse_pipe(false);
    }
    close(is_block ? "{{block}}" : "{{define}}");
    const std::vector<std::string> outer = std::exchange(variables_, {""});
    const int outer_loops = std::exchange(num_loops_, 0);
    {
      const Scope scope(*this);
      template_.defined[name] = parse_body();
    }
    variables_ = outer;
    num_loops_ = outer_loops;
    take_end();
    if (is_block) body.push_back(std::move(stmt));
  }

  void take_end() {
    if (current_keyword() != "end") fail("unexpected end of the template: {{end}} is missing");
    position_ += 2;
    close("{{end}}");
  }

  // Behind "{{", at the keyword; `keyword` may have stood behind an else.
  Stmt parse_block(StmtKind kind, const std::string& keyword) {
    const Scope scope(*this);
    Stmt stmt = make(kind);
    ++position_;
    stmt.pipe = parse_pipe(kind == StmtKind::kRange);
    close("{{" + keyword + "}}");
    if (kind == StmtKind::kRange) ++num_loops_;
    stmt.body = parse_inner();
    if (kind == StmtKind::kRange) --num_loops_;
    if (current_keyword() != "else") {
      take_end();
      return stmt;
    }
    position_ += 2;
    const std::string chained = current().type == TokenType::kName ? current().text : "";
    if ((chained == "if" && kind == StmtKind::kIf) ||
        (chained == "with" && kind == StmtKind::kWith)) {  // one {{end}} closes both
      stmt.other.push_back(parse_block(kind, chained));
      return stmt;
    }
    close("{{else}}");
    stmt.other = parse_inner();
    if (current_keyword() == "else") fail("unexpected {{else}}");
    take_end();
    return stmt;
  }

  Body parse_inner() {
    const Scope scope(*this);
    return parse_body();
  }

  size_t declare(const std::string& name) {
    variables_.push_back(name);
    template_.num_variables = std::max(template_.num_variables, variables_.size());
    return variables_.size() - 1;
  }

  size_t find_variable(const std::string& name) const {
    for (size_t i = variables_.size(); i-- > 0;) {
      if (variables_[i] == name) return i;
    }
    fail("undefined variable \"$" + shown(name) + "\"");
  }

  // Names in front of := and =, which counts as set only behind the pipe.
  Pipe parse_pipe(bool is_range) {
    Pipe pipe;
    pipe.line = current().line;
    std::vector<std::string> names;
    bool is_assignment = false;
    if (current().type == TokenType::kVariable) {
      const size_t start = position_;
      names.push_back(take().text);
      if (is_range && skip_symbol(",")) {
        if (current().type != TokenType::kVariable) fail("range can only initialize variables");
        names.push_back(take().text);
      }
      if (skip_symbol("=")) {
        is_assignment = true;
      } else if (!skip_symbol(":=")) {
        if (names.size() > 1) fail("expected := after the variables of a range");
        names.clear();
        position_ = start;
      }
    }
    do {
      pipe.commands.push_back(parse_command());
    } while (skip_symbol("|"));
    for (size_t i = 1; i < pipe.commands.size(); ++i) {
      if (pipe.commands[i].operands[0].kind != OperandKind::kFunction) {
        fail("a value cannot take what a pipeline gives it");
      }
    }
    for (const std::string& name : names) {
      pipe.variables.push_back(is_assignment ? find_variable(name) : declare(name));
    }
    return pipe;
  }

  Command parse_command() {
    Command command;
    while (current().type != TokenType::kClose && !at_symbol("|") && !at_symbol(")")) {
      command.operands.push_back(parse_operand());
    }
    if (command.operands.empty()) fail("missing value for an action");
    const Operand& first = command.operands[0];
    if (command.operands.size() > 1 && first.kind != OperandKind::kFunction) {
      fail("arguments behind something that is not a function");
    }
    return command;
  }

  Operand parse_operand() {
    Operand operand;
    operand.line = current().line;
    const Token& token = current();
    switch (token.type) {
      case TokenType::kDot:
        break;
      case TokenType::kField:
        return parse_fields(std::move(operand), true);
      case TokenType::kVariable:
        operand.kind = OperandKind::kVariable;
        operand.variable = find_variable(token.text);
        break;
      case TokenType::kInteger:
        operand.kind = OperandKind::kConstant;
        operand.constant = token.integer;
        break;
      case TokenType::kFloat:
        operand.kind = OperandKind::kConstant;
        operand.constant = token.real;
        break;
      case TokenType::kString:
        operand.kind = OperandKind::kConstant;
        operand.constant = PromptText(token.text, true);
        break;
      case TokenType::kName:
        parse_word(operand, token.text);
        break;
      case TokenType::kSymbol:
        if (token.text != "(") fail("unexpected '" + token.text + "'");
        parse_parentheses(operand);
        break;
      default:
        fail("unexpected end of an action");
    }
    ++position_;
    return parse_fields(std::move(operand), false);
  }

  void parse_parentheses(Operand& operand) {
    const Scope scope(*this);
    ++position_;
    operand.kind = OperandKind::kPipe;
    operand.pipe = std::make_unique<Pipe>(parse_pipe(false));
    if (!operand.pipe->variables.empty()) fail("a variable cannot be set in parentheses");
    if (!at_symbol(")")) fail("unclosed parenthesis");
  }

  void parse_word(Operand& operand, const std::string& word) {
    if (word == "true" || word == "false" || word == "nil") {
      operand.kind = OperandKind::kConstant;
      operand.constant = word == "nil" ? Constant(Nil{}) : Constant(word == "true");
      return;
    }
    const auto found = std::find_if(std::begin(kFunctions), std::end(kFunctions),
                                    [&](const auto& item) { return item.first == word; });
    if (found == std::end(kFunctions)) {
      const bool is_gos = word == "html" || word == "js" || word == "urlquery" || word == "call" ||
                          word == "toTypeScriptType";
      fail("function \"" + shown(word) + (is_gos ? "\" is not supported" : "\" not defined"));
    }
    operand.kind = OperandKind::kFunction;
    operand.function = found->second;
  }

  // Fields that follow without a space.
  Operand parse_fields(Operand operand, bool is_first) {
    while (current().type == TokenType::kField && (is_first || !current().has_space_before)) {
      is_first = false;
      std::string name = take().text;
      std::string lower = name;
      for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
      if (name == "Response") reads_response_ = true;
      template_.fields.insert(std::move(lower));
      operand.fields.push_back(std::move(name));
    }
    const bool has_value = operand.kind != OperandKind::kFunction;
    if (!operand.fields.empty() && !has_value) fail("a field of a function's name");
    return operand;
  }

  std::vector<Token> tokens_;
  size_t position_ = 0;
  int depth_ = 0;
  int num_loops_ = 0;
  size_t num_statements_ = 0;
  bool reads_response_ = false;  // the action that is being parsed
  std::vector<std::string> variables_ = {""};
  std::vector<std::pair<std::string, int>> called_;
  Template template_;
};

}  // namespace

Template parse(std::string_view source) { return Parser(source).run(); }

}  // namespace sluice::text::gotmpl
