#include "text/chat_template.h"

#include <algorithm>

#include "base/error.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/parser.h"

namespace sluice::text {

struct ChatTemplate::Program {
  std::string source;
  jinja::Template parsed;
};

namespace {

constexpr size_t kMaxSourceBytes = 1u << 20;

[[noreturn]] void fail(int line, std::string message) {
  // One line, whatever a template puts into its messages.
  std::replace(message.begin(), message.end(), '\n', ' ');
  throw Error(ErrorCode::kInvalidArgument,
              "chat template, line " + std::to_string(line) + ": " + message);
}

}  // namespace

ChatTemplate::ChatTemplate(std::string_view source) {
  if (source.size() > kMaxSourceBytes) {
    throw Error(ErrorCode::kInvalidArgument, "chat template is longer than 1 MB");
  }
  auto program = std::make_unique<Program>();
  program->source = source;
  try {
    program->parsed = jinja::Parser(source).parse();
  } catch (const jinja::SyntaxError& error) {
    fail(error.line, error.what());
  }
  program_ = std::move(program);
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

PromptText ChatTemplate::render(const Value& context, const RenderLimits& limits,
                                Work& work) const {
  constexpr int kEvaluationsPerLevel = 10;  // a nested call takes a few nested evaluations
  jinja::Heap heap(limits.max_steps, limits.max_memory_bytes, limits.max_depth, work);
  jinja::Interpreter::Options options{limits.max_output_bytes,
                                      limits.max_depth * kEvaluationsPerLevel,
                                      limits.now ? &*limits.now : nullptr};
  int line = 1;
  try {
    jinja::Interpreter interpreter(program_->parsed, heap, options);
    try {
      return interpreter.run(context);
    } catch (const jinja::TemplateError&) {
      line = interpreter.line();
      throw;
    }
  } catch (const jinja::TemplateError& error) {
    fail(line, error.what());
  }
}

const std::string& ChatTemplate::source() const { return program_->source; }

}  // namespace sluice::text
