#include "cli/transfer.h"

#include <cstdio>
#include <memory>

#include "base/error.h"
#include "base/print.h"
#include "cli/commands.h"
#include "cli/progress_view.h"

namespace sluice::cli {
namespace {

struct TransferFlags {
  std::string source;
  std::string name;
  bool insecure = false;
};

void transfer(ServerLink& link, const char* target, const api::Json& body) {
  ProgressView view;
  link.stream(target, body, [&](const api::Json& line) {
    view.update(line);
    return true;
  });
}

bool is_web_address(const std::string& text) {
  const bool has_scheme = text.starts_with("https://") || text.starts_with("http://");
  return has_scheme && text.substr(0, text.find_first_of("?#")).ends_with(".gguf");
}

void pull(const TransferFlags& flags) {
  const bool is_file = is_web_address(flags.source);
  if (is_file && flags.name.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "a file needs a name: sluice pull " + flags.source + " NAME");
  }
  if (!is_file && !flags.name.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "only a file, https://.../NAME.gguf, is given another name; `sluice cp` gives a "
                "model a second one");
  }
  ServerLink link = ServerLink::connect_or_embed(read_settings());
  if (is_file) {
    pull_model(link, flags.name, flags.insecure, flags.source);
  } else {
    pull_model(link, flags.source, flags.insecure);
  }
}

void push(const TransferFlags& flags) {
  ServerLink link = ServerLink::connect_or_embed(read_settings());
  api::Json body = {{"model", flags.source}};
  if (flags.insecure) body["insecure"] = true;
  transfer(link, "/api/push", body);
}

}  // namespace

void pull_model(ServerLink& link, const std::string& name, bool insecure, const std::string& url) {
  api::Json body = {{"model", name}};
  if (insecure) body["insecure"] = true;
  if (!url.empty()) body["url"] = url;
  transfer(link, "/api/pull", body);
}

void add_pull(Command& program) {
  auto flags = std::make_shared<TransferFlags>();
  Command command = program.subcommand("pull", "Fetch a model from a registry, or a file");
  command
      .option("MODEL", flags->source,
              "llama3.2:1b, hf.co/org/repo:Q4_K_M, host:port/space/model:tag, or "
              "https://.../file.gguf")
      .required();
  command.option("NAME", flags->name, "What a file is to be called");
  command.flag("--insecure", flags->insecure,
               "Plain HTTP, or https:// without a look at the certificate");
  command.footer(
      "Examples:\n  sluice pull smollm2:135m\n  sluice pull hf.co/org/repo:Q4_K_M\n"
      "  sluice pull https://host/model.gguf mine:7b\n"
      "What was fetched before an interruption is not fetched again.");
  command.action([flags] { pull(*flags); });
}

void add_push(Command& program) {
  auto flags = std::make_shared<TransferFlags>();
  Command command = program.subcommand("push", "Send a model to a registry");
  command.option("MODEL", flags->source, "A name such as me/model:tag or host:port/space/model")
      .required();
  command.flag("--insecure", flags->insecure,
               "Plain HTTP, or https:// without a look at the certificate");
  command.action([flags] { push(*flags); });
}

void add_cp(Command& program) {
  auto flags = std::make_shared<TransferFlags>();
  Command command = program.subcommand("cp", "Give a model a second name");
  command.option("SOURCE", flags->source, "A name in the store").required();
  command.option("DESTINATION", flags->name, "The second name").required();
  command.action([flags] {
    ServerLink link = ServerLink::connect_or_embed(read_settings());
    const api::Json body = {{"source", flags->source}, {"destination", flags->name}};
    link.call("POST", "/api/copy", &body);
    std::printf("copied '%s' to '%s'\n", printable(flags->source).c_str(),
                printable(flags->name).c_str());
  });
}

}  // namespace sluice::cli
