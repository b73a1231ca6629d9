#include <unistd.h>

#include <memory>

#include "base/print.h"
#include "cli/commands.h"
#include "cli/server_link.h"
#include "cli/show_text.h"
#include "cli/terminal.h"

namespace sluice::cli {
namespace {

struct ShowFlags {
  std::string model;
  bool license = false;
  bool modelfile = false;
  bool parameters = false;
  bool system = false;
  bool chat_template = false;
  bool tensors = false;
  bool verbose = false;
};

void show(const ShowFlags& flags) {
  const Settings settings = read_settings();
  ServerLink link = is_model_path(flags.model) ? ServerLink::for_model(settings, flags.model, {})
                                               : ServerLink::connect_or_embed(settings);
  const std::string name = link.model().empty() ? flags.model : link.model();
  const api::Json body = {{"model", name}, {"verbose", flags.verbose || flags.tensors}};
  const api::Json reply = link.call("POST", "/api/show", &body);
  const char* field = flags.license         ? "license"
                      : flags.modelfile     ? "modelfile"
                      : flags.parameters    ? "parameters"
                      : flags.system        ? "system"
                      : flags.chat_template ? "template"
                                            : nullptr;
  if (flags.tensors) return write_output(tensors_text(reply));
  if (field == nullptr) return write_output(show_text(reply, flags.verbose));
  // A file gets the text as it is; a terminal must not obey it.
  const std::string text = api::string_field(reply, field).value_or("") + "\n";
  write_output(is_terminal(STDOUT_FILENO) ? printable_lines(text) : text);
}

}  // namespace

void add_show(Command& program) {
  auto flags = std::make_shared<ShowFlags>();
  Command command = program.subcommand("show", "Show what a model is");
  command.option("MODEL", flags->model, "Name in the store, or path of a GGUF file").required();
  Command only = command.exclusive_group("only", "Only this part");
  only.flag("--license", flags->license, "The license");
  only.flag("--modelfile", flags->modelfile, "The Modelfile");
  only.flag("--parameters", flags->parameters, "The parameters");
  only.flag("--system", flags->system, "The system message");
  only.flag("--template", flags->chat_template, "The chat template");
  only.flag("--tensors", flags->tensors, "Type and shape of each tensor, and how many of a type");
  command.flag("-v,--verbose", flags->verbose, "All metadata and tensors, too");
  command.action([flags] { show(*flags); });
}

}  // namespace sluice::cli
