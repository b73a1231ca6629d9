#include <cstdio>

#include "base/error.h"
#include "base/print.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/server_link.h"
#include "cli/terminal.h"

namespace sluice::cli {
namespace {

void list(const std::string& prefix) {
  ServerLink link = ServerLink::connect_or_embed(read_settings());
  const api::Json reply = link.call("GET", "/api/tags");
  std::vector<std::vector<std::string>> rows = {{"NAME", "ID", "SIZE", "MODIFIED"}};
  const api::Json* models = api::array_field(reply, "models");
  for (const api::Json& model : models ? *models : api::Json::array()) {
    const std::string name = api::string_field(model, "name").value_or("");
    if (!name.starts_with(prefix)) continue;
    rows.push_back({name, api::string_field(model, "digest").value_or("").substr(0, 12),
                    format_bytes(static_cast<uint64_t>(
                        api::int_field(model, "size", 0, INT64_MAX).value_or(0))),
                    relative_time(api::string_field(model, "modified_at").value_or(""))});
  }
  print_table(rows);
  const api::Json* unreadable = api::array_field(reply, "unreadable");
  if (!unreadable) return;
  for (const api::Json& model : *unreadable) {
    std::fprintf(stderr, "cannot read '%s': %s\n",
                 printable(api::string_field(model, "name").value_or("")).c_str(),
                 printable(api::string_field(model, "reason").value_or("")).c_str());
  }
  throw Error(ErrorCode::kCorruptData,
              std::to_string(unreadable->size()) +
                  " of the models cannot be read; `sluice rm` removes them");
}

}  // namespace

void add_list(Command& program) {
  auto prefix = std::make_shared<std::string>();
  Command command = program.subcommand("list", "Show the models in the store");
  command.alias("ls");
  command.option("PREFIX", *prefix, "Only names that begin with this");
  command.action([prefix] { list(*prefix); });
}

}  // namespace sluice::cli
