#include "text/tokenizer.h"

#include <cstdio>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/print.h"
#include "cli/commands.h"
#include "cli/settings.h"
#include "cli/terminal.h"
#include "gguf/file.h"

namespace sluice::cli {
namespace {

struct TokenizeFlags {
  std::string model;
  std::string text;
  std::string file;
  bool ids_only = false;
  bool bos = false;
  bool plain = false;
  bool has_text = false;
};

std::string table(const text::Tokenizer& tokenizer, const std::vector<text::TokenId>& ids) {
  std::string out;
  for (const text::TokenId id : ids) {
    char number[16];
    std::snprintf(number, sizeof number, "%8d  ", id);
    out += number;
    out += "\"" + printable(tokenizer.token_bytes(id, true)) + "\"\n";
  }
  return out;
}

std::string id_line(const std::vector<text::TokenId>& ids) {
  std::string out;
  out.reserve(ids.size() * 6);
  for (const text::TokenId id : ids) {
    if (!out.empty()) out += ' ';
    out += std::to_string(id);
  }
  return out + "\n";
}

void tokenize(const TokenizeFlags& flags) {
  const gguf::File file = gguf::File::open(resolve_model_path(flags.model));
  const auto tokenizer = text::Tokenizer::from_gguf(file);
  const std::string text = !flags.file.empty() ? read_file(expand_home(flags.file))
                           : flags.has_text    ? flags.text
                                               : read_standard_input();
  text::EncodeOptions options;
  options.parse_special = !flags.plain;
  std::vector<text::TokenId> ids = tokenizer->encode(text, options);
  if (flags.bos) {
    const auto bos = tokenizer->bos();
    if (!bos) throw Error(ErrorCode::kInvalidArgument, "this model has no BOS token");
    ids.insert(ids.begin(), *bos);
  }
  const std::string out = flags.ids_only ? id_line(ids) : table(*tokenizer, ids);
  write_output(out);
}

}  // namespace

void add_tokenize(Command& program) {
  auto flags = std::make_shared<TokenizeFlags>();
  Command command = program.subcommand(
      "tokenize", "Show the tokens of a text (an argument, -f FILE, or standard input)");
  command.option("MODEL", flags->model, "Name in the store, or path of a GGUF file").required();
  const Option text = command.option("TEXT", flags->text, "The text");
  command.option("-f,--file", flags->file, "Take the bytes of this file").excludes(text);
  command.flag("--ids", flags->ids_only, "Only the ids, on one line");
  command.flag("--bos", flags->bos, "Put the model's BOS token first");
  command.flag("--plain", flags->plain,
               "Treat the names of special tokens in the text as plain text");
  command.action([flags, text] {
    flags->has_text = text.is_given();
    tokenize(*flags);
  });
}

}  // namespace sluice::cli
