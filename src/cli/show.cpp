#include <unistd.h>

#include <memory>

#include "base/print.h"
#include "cli/commands.h"
#include "cli/server_link.h"
#include "cli/show_text.h"
#include "cli/terminal.h"

namespace sluice::cli {
namespace {

struct Flags {
  std::string model;
  bool license = false;
  bool modelfile = false;
  bool parameters = false;
  bool system = false;
  bool chat_template = false;
  bool verbose = false;
};

void show(const Flags& flags) {
  const Settings settings = read_settings();
  ServerLink link = is_model_path(flags.model) ? ServerLink::for_model(settings, flags.model, {})
                                               : ServerLink::connect_or_embed(settings);
  const std::string name = link.model().empty() ? flags.model : link.model();
  const api::Json body = {{"model", name}, {"verbose", flags.verbose}};
  const api::Json reply = link.call("POST", "/api/show", &body);
  const char* field = flags.license         ? "license"
                      : flags.modelfile     ? "modelfile"
                      : flags.parameters    ? "parameters"
                      : flags.system        ? "system"
                      : flags.chat_template ? "template"
                                            : nullptr;
  if (field == nullptr) return write_output(show_text(reply, flags.verbose));
  // A file gets the text as it is; a terminal must not obey it.
  const std::string text = api::string_field(reply, field).value_or("") + "\n";
  write_output(is_terminal(STDOUT_FILENO) ? printable_lines(text) : text);
}

}  // namespace

void add_show(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("show", "Show what a model is");
  command->add_option("MODEL", flags->model, "Name in the store, or path of a GGUF file")
      ->required();
  CLI::Option_group* only = command->add_option_group("only", "Only this part");
  only->add_flag("--license", flags->license, "The license");
  only->add_flag("--modelfile", flags->modelfile, "The Modelfile");
  only->add_flag("--parameters", flags->parameters, "The parameters");
  only->add_flag("--system", flags->system, "The system message");
  only->add_flag("--template", flags->chat_template, "The chat template");
  only->require_option(0, 1);
  command->add_flag("-v,--verbose", flags->verbose, "All metadata and tensors, too");
  command->callback([flags] { show(*flags); });
}

}  // namespace sluice::cli
