#include <memory>
#include <string>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/server_link.h"

namespace sluice::cli {

void add_stop(CLI::App& app) {
  auto name = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("stop", "Unload a model from the server's memory");
  command->add_option("MODEL", *name, "Name")->required();
  command->callback([name] {
    ServerLink link = ServerLink::connect(read_settings());
    const api::Json body = {{"model", *name}, {"keep_alive", 0}};
    try {
      link.call("POST", "/api/generate", &body);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kNotFound) throw;
      throw Error(ErrorCode::kNotFound, "couldn't find model \"" + *name + "\" to stop");
    }
  });
}

}  // namespace sluice::cli
