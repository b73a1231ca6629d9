#include <memory>
#include <string>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/server_link.h"

namespace sluice::cli {

void add_stop(Command& program) {
  auto name = std::make_shared<std::string>();
  Command command = program.subcommand("stop", "Unload a model from the server's memory");
  command.option("MODEL", *name, "Name").required();
  command.action([name] {
    ServerLink link = ServerLink::connect(read_settings());
    const api::Json body = {{"model", *name}, {"keep_alive", 0}};
    try {
      link.call("POST", "/api/generate", &body);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kNotFound) throw;
      throw Error(ErrorCode::kNotFound,
                  "couldn't find model \"" + *name + "\" to stop" + link.near_models(*name));
    }
  });
}

}  // namespace sluice::cli
