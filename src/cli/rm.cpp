#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/server_link.h"

namespace sluice::cli {

void add_rm(CLI::App& app) {
  auto names = std::make_shared<std::vector<std::string>>();
  CLI::App* command = app.add_subcommand("rm", "Remove models from the store");
  command->add_option("MODEL", *names, "Names")->required();
  command->callback([names] {
    ServerLink link = ServerLink::connect_or_embed(read_settings());
    for (const std::string& name : *names) {
      const api::Json body = {{"model", name}};
      link.call("DELETE", "/api/delete", &body);
      std::printf("deleted '%s'\n", name.c_str());
    }
  });
}

}  // namespace sluice::cli
