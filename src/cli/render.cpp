#include <unistd.h>

#include <memory>
#include <string>

#include "api/chat_context.h"
#include "api/json.h"
#include "base/error.h"
#include "base/print.h"
#include "cli/commands.h"
#include "cli/settings.h"
#include "cli/terminal.h"
#include "gguf/file.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace sluice::cli {
namespace {

struct RenderFlags {
  std::string source;
  std::string messages;
  std::string tools;
};

struct TemplateSource {
  std::string text;
  std::string bos = "<s>";
  std::string eos = "</s>";
};

TemplateSource read_source(const std::string& source) {
  if (source.ends_with(".jinja")) return {read_file(expand_home(source))};
  const gguf::File file = gguf::File::open(resolve_model_path(source));
  TemplateSource result;
  result.text = file.get_string("tokenizer.chat_template").value_or("");
  if (result.text.empty()) {
    throw Error(ErrorCode::kUnsupported, "this model has no chat template");
  }
  const auto tokenizer = text::Tokenizer::from_gguf(file);
  const auto bos = tokenizer->bos();
  const auto eos = tokenizer->eos();
  result.bos = bos ? tokenizer->token_text(*bos) : std::string_view();
  result.eos = eos ? tokenizer->token_text(*eos) : std::string_view();
  return result;
}

api::Json read_json(const std::string& path) {
  try {
    return api::parse_json(read_file(expand_home(path)));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kInvalidArgument) throw;
    throw Error(error.code(), path + ": " + error.what());
  }
}

// As `transformers` calls a template: tools and documents are always there, as none if not given.
void render(const RenderFlags& flags) {
  const TemplateSource source = read_source(flags.source);
  const api::Json messages = read_json(flags.messages);
  if (!messages.is_array()) {
    throw Error(ErrorCode::kInvalidArgument,
                flags.messages + ": must be a list of messages, [{\"role\": .., \"content\": ..}]");
  }
  const text::Value tools =
      flags.tools.empty() ? text::Value() : api::to_value(read_json(flags.tools));
  const text::Value context(text::Value::Dict{{"messages", api::to_value(messages)},
                                              {"tools", tools},
                                              {"documents", text::Value()},
                                              {"add_generation_prompt", text::Value(true)},
                                              {"bos_token", text::Value(source.bos)},
                                              {"eos_token", text::Value(source.eos)}});
  std::string prompt = text::ChatTemplate(source.text).render(context).take_text();
  // A file gets the prompt as it is; a terminal must not obey it.
  if (is_terminal(STDOUT_FILENO)) {
    prompt = printable_lines(prompt);
    if (!prompt.ends_with('\n')) prompt += '\n';
  }
  write_output(prompt);
}

}  // namespace

void add_render(Command& program) {
  auto flags = std::make_shared<RenderFlags>();
  Command command =
      program.subcommand("render", "Print the prompt that a chat template makes of messages");
  command
      .option("MODEL", flags->source, "Name in the store, path of a GGUF file, or of a .jinja file")
      .required();
  command.option("MESSAGES", flags->messages, "JSON file with the list of messages").required();
  command.option("--tools", flags->tools, "JSON file with the list of tools");
  command.action([flags] { render(*flags); });
}

}  // namespace sluice::cli
