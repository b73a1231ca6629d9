#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/print.h"
#include "cli/commands.h"
#include "cli/server_link.h"
#include "cli/terminal.h"

namespace sluice::cli {

void add_rm(Command& program) {
  auto names = std::make_shared<std::vector<std::string>>();
  Command command = program.subcommand("rm", "Remove models from the store");
  command.option("MODEL", *names, "Names").required();
  command.action([names] {
    ServerLink link = ServerLink::connect_or_embed(read_settings());
    size_t num_failed = 0;
    for (const std::string& name : *names) {
      const api::Json body = {{"model", name}};
      try {
        link.call("DELETE", "/api/delete", &body);
        std::printf("deleted '%s'\n", printable(name).c_str());
      } catch (const Error& error) {
        if (names->size() == 1) throw;
        print_error(error.what());
        ++num_failed;
      }
    }
    if (num_failed > 0) {
      throw Error(ErrorCode::kIo, std::to_string(num_failed) + " of " +
                                      std::to_string(names->size()) + " models were not deleted");
    }
  });
}

}  // namespace sluice::cli
