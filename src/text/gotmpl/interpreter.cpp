#include "text/gotmpl/interpreter.h"

#include <algorithm>
#include <utility>

namespace sluice::text::gotmpl {
namespace {

constexpr uint64_t kBytesPerStep = 64;

Val val_of(const Value& value) {
  if (const bool* flag = value.as_bool()) return *flag;
  if (const int64_t* integer = value.as_int()) return *integer;
  if (const double* real = value.as_double()) return *real;
  if (const Value::List* list = value.as_list()) return ListView{list->data(), list->size()};
  return &value;
}

const Value::Dict* dict_of(const Val& value) {
  const auto* object = std::get_if<const Value*>(&value);
  return object != nullptr ? (*object)->as_dict() : nullptr;
}

bool is_true(const Val& value) {
  if (const bool* flag = std::get_if<bool>(&value)) return *flag;
  if (const int64_t* integer = std::get_if<int64_t>(&value)) return *integer != 0;
  if (const double* real = std::get_if<double>(&value)) return *real != 0;
  if (const ListView* list = std::get_if<ListView>(&value)) return list->size > 0;
  if (const auto* text = std::get_if<const PromptText*>(&value)) return !(*text)->empty();
  if (const auto* made = std::get_if<MadeText>(&value)) return !(*made)->empty();
  if (const auto* object = std::get_if<const Value*>(&value)) {
    if (const std::string* text = (*object)->as_string()) return !text->empty();
    return dict_of(value) != nullptr && !dict_of(value)->empty();
  }
  return false;
}

// Go's ToolCalls is JSON's tool_calls.
bool names_alike(std::string_view go, std::string_view json) {
  size_t i = 0;
  for (const char c : json) {
    if (c == '_') continue;
    if (i >= go.size() || (go[i] | 0x20) != (c | 0x20)) return false;
    ++i;
  }
  return i == go.size();
}

}  // namespace

void Interpreter::charge(uint64_t steps) {
  if (steps > steps_left_) fail("the template runs too long: step limit passed");
  steps_left_ -= steps;
  work_.charge(steps * kBytesPerStep);
}

void Interpreter::write(const PromptText& text) {
  if (text.size() > limits_.max_output_bytes - out_.size()) {
    fail("the output is too long");
  }
  charge(text.size() / kBytesPerStep);
  out_.append(text);
}

// All that was ever made counts: a template makes little that it does not write.
Val Interpreter::make_text(PromptText text) {
  charge(1 + text.size() / kBytesPerStep);
  made_bytes_ += text.size() + text.extra_bytes();
  if (made_bytes_ > limits_.max_memory_bytes) fail("the template needs too much memory");
  return std::make_shared<const PromptText>(std::move(text));
}

void Interpreter::run(const Value& data, bool ends_at_response) {
  top_ = &data;
  end_ = ends_at_response ? program_.response_position : 0;
  Frame frame;
  frame.variables.assign(program_.num_variables, Missing{});
  const Val dot = &data;
  frame.variables[0] = dot;
  exec(program_.body, dot, frame);
}

Interpreter::Flow Interpreter::exec(const Body& body, const Val& dot, Frame& frame) {
  for (const Stmt& stmt : body) {
    if (end_ != 0 && stmt.position > end_) break;
    const Flow flow = exec(stmt, dot, frame);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::exec(const Stmt& stmt, const Val& dot, Frame& frame) {
  line_ = stmt.line;
  charge(1);
  switch (stmt.kind) {
    case StmtKind::kText:
      write(stmt.text);
      return Flow::kNext;
    case StmtKind::kAction: {
      const Val value = eval(stmt.pipe, dot, frame);
      if (stmt.pipe.variables.empty()) write(text_of(value));
      return Flow::kNext;
    }
    case StmtKind::kIf:
      return exec(is_true(eval(stmt.pipe, dot, frame)) ? stmt.body : stmt.other, dot, frame);
    case StmtKind::kWith: {
      const Val value = eval(stmt.pipe, dot, frame);
      return is_true(value) ? exec(stmt.body, value, frame) : exec(stmt.other, dot, frame);
    }
    case StmtKind::kRange:
      return exec_range(stmt, dot, frame);
    case StmtKind::kTemplate:
      exec_template(stmt, dot, frame);
      return Flow::kNext;
    case StmtKind::kBreak:
      return Flow::kBreak;
    case StmtKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::exec_range(const Stmt& stmt, const Val& dot, Frame& frame) {
  const Val value = eval(stmt.pipe, dot, frame);
  const std::vector<size_t>& names = stmt.pipe.variables;
  const auto turn = [&](const Val& key, const Val& item) {
    charge(1);
    if (!names.empty()) frame.variables[names.back()] = item;
    if (names.size() == 2) frame.variables[names.front()] = key;
    return exec(stmt.body, item, frame) != Flow::kBreak;
  };
  if (const int64_t* count = std::get_if<int64_t>(&value)) {
    for (int64_t i = 0; i < *count; ++i) {
      if (!turn(i, i)) return Flow::kNext;
    }
    if (*count > 0) return Flow::kNext;
  } else if (const ListView* list = std::get_if<ListView>(&value)) {
    for (size_t i = 0; i < list->size; ++i) {
      if (!turn(static_cast<int64_t>(i), val_of(list->items[i]))) return Flow::kNext;
    }
    if (list->size > 0) return Flow::kNext;
  } else if (const Value::Dict* dict = dict_of(value)) {  // Go: by key
    charge(dict->size());
    std::vector<const std::pair<std::string, Value>*> items;
    for (const auto& item : *dict) items.push_back(&item);
    std::sort(items.begin(), items.end(),
              [](const auto* a, const auto* b) { return a->first < b->first; });
    for (const auto* item : items) {
      if (!turn(make_text({item->first, false}), val_of(item->second))) return Flow::kNext;
    }
    if (!items.empty()) return Flow::kNext;
  } else if (is_true(value)) {
    fail("range can't iterate over " + to_json(value, 1).substr(0, 40));
  }
  return exec(stmt.other, dot, frame);
}

void Interpreter::exec_template(const Stmt& stmt, const Val& dot, Frame& frame) {
  if (++depth_ > limits_.max_depth) fail("templates call each other too deeply");
  const Val value = stmt.pipe.commands.empty() ? Val(Missing{true}) : eval(stmt.pipe, dot, frame);
  Frame own;
  charge(1 + program_.num_variables);
  own.variables.assign(program_.num_variables, Missing{});
  own.variables[0] = value;
  const size_t outer_end = std::exchange(end_, 0);
  exec(program_.defined.at(stmt.text.text()), value, own);
  end_ = outer_end;
  --depth_;
}

Val Interpreter::eval(const Pipe& pipe, const Val& dot, Frame& frame) {
  Val value;
  for (size_t i = 0; i < pipe.commands.size(); ++i) {
    const Command& command = pipe.commands[i];
    const Operand& first = command.operands[0];
    if (first.kind == OperandKind::kFunction) {
      const Val last = std::move(value);
      value = call(command, i > 0 ? &last : nullptr, dot, frame);
    } else {
      value = eval(first, dot, frame);
    }
  }
  for (const size_t variable : pipe.variables) frame.variables[variable] = value;
  return value;
}

Val Interpreter::eval(const Operand& operand, const Val& dot, Frame& frame) {
  line_ = operand.line;
  charge(1);
  Val value;
  switch (operand.kind) {
    case OperandKind::kDot:
      value = dot;
      break;
    case OperandKind::kVariable:
      value = frame.variables[operand.variable];
      break;
    case OperandKind::kPipe:
      value = eval(*operand.pipe, dot, frame);
      break;
    case OperandKind::kFunction:
      value = call_function(operand.function, {});
      break;
    case OperandKind::kConstant: {
      const Constant& constant = operand.constant;
      if (const bool* flag = std::get_if<bool>(&constant)) value = *flag;
      if (const int64_t* integer = std::get_if<int64_t>(&constant)) value = *integer;
      if (const double* real = std::get_if<double>(&constant)) value = *real;
      if (const PromptText* text = std::get_if<PromptText>(&constant)) value = text;
      break;
    }
  }
  for (const std::string& name : operand.fields) value = field(value, name);
  return value;
}

Val Interpreter::field(const Val& value, const std::string& name) {
  charge(1);
  if (std::holds_alternative<Missing>(value)) return Missing{};
  const Value::Dict* dict = dict_of(value);
  if (dict == nullptr) fail("can't evaluate field " + name + " in something without fields");
  charge(dict->size() / 4);
  const Value* found = std::get<const Value*>(value)->find(name);
  for (auto item = dict->begin(); found == nullptr && item != dict->end(); ++item) {
    if (names_alike(name, item->first)) found = &item->second;
  }
  if (found == nullptr) return Missing{std::get<const Value*>(value) == top_};
  return val_of(*found);
}

Val Interpreter::call(const Command& command, const Val* last, const Val& dot, Frame& frame) {
  const Function function = command.operands[0].function;
  if (++depth_ > 10 * limits_.max_depth) fail("calls are nested too deeply");
  std::vector<Val> args;
  for (size_t i = 1; i < command.operands.size(); ++i) {
    args.push_back(eval(command.operands[i], dot, frame));
    const bool is_and = function == Function::kAnd;
    if (!is_and && function != Function::kOr) continue;
    if (is_true(args.back()) != is_and) {  // that decides
      --depth_;
      return args.back();
    }
  }
  if (last != nullptr) args.push_back(*last);
  line_ = command.operands[0].line;
  Val result = call_function(function, args);
  --depth_;
  return result;
}

}  // namespace sluice::text::gotmpl
