#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/server_link.h"
#include "cli/terminal.h"

namespace sluice::cli {
namespace {

struct UsageFlags {
  int num_days = 30;
  bool is_json = false;
};

std::string count_of(const api::Json& item, const char* name) {
  return std::to_string(api::int_field(item, name, 0, INT64_MAX).value_or(0));
}

std::string key_of(const api::Json& item) {
  const auto name = api::string_field(item, "key");
  if (!name) return "(no key)";
  return *name + (api::bool_field(item, "is_revoked").value_or(false) ? " (revoked)" : "");
}

void print_usage(const UsageFlags& flags) {
  ServerLink link = ServerLink::connect_or_embed(read_settings());
  const api::Json reply =
      link.call("GET", "/api/sluice/usage?days=" + std::to_string(flags.num_days));
  if (flags.is_json) {
    write_output(api::dump_json(reply) + "\n");
    return;
  }
  std::vector<std::vector<std::string>> rows = {
      {"DAY", "KEY", "REQUESTS", "REFUSED", "PROMPT TOKENS", "REPLY TOKENS"}};
  const api::Json* usage = api::array_field(reply, "usage");
  for (const api::Json& item : usage ? *usage : api::Json::array()) {
    rows.push_back({api::string_field(item, "day").value_or(""), key_of(item),
                    count_of(item, "requests"), count_of(item, "refused"),
                    count_of(item, "prompt_tokens"), count_of(item, "output_tokens")});
  }
  print_table(rows);
}

}  // namespace

void add_usage(Command& program) {
  auto flags = std::make_shared<UsageFlags>();
  Command command =
      program.subcommand("usage", "What each API key has used: requests and tokens, by day (UTC)");
  command.option("--days", flags->num_days, "So many days back, today's included")
      .range(1, 3660)
      .show_default();
  command.flag("--json", flags->is_json, "As the server tells it");
  command.action([flags] { print_usage(*flags); });
}

}  // namespace sluice::cli
