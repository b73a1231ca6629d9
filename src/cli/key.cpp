#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/print.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/settings.h"
#include "cli/terminal.h"
#include "keys/key_book.h"

namespace sluice::cli {
namespace {

using database::Database;
using keys::KeyBook;

struct KeyFlags {
  std::string file;
  std::string name;
  std::string scopes = "infer";
  keys::KeyLimits limits;
};

std::string path_of(const KeyFlags& flags) {
  return expand_home(flags.file.empty() ? read_settings().keys_path : flags.file);
}

// The key alone on standard output, for scripts; what there is to know beside it.
void add(const KeyFlags& flags) {
  const keys::Scopes scopes = keys::Scopes::parse(flags.scopes);
  const std::string path = path_of(flags);
  const std::string key =
      KeyBook(path, Database::Mode::kCreate)
          .add(flags.name, scopes, flags.limits, std::chrono::system_clock::now());
  write_output(key + "\n");
  std::fprintf(stderr,
               "This is the only time that the key of '%s' (%s) is shown. Clients send it as "
               "\"Authorization: Bearer KEY\" or \"x-api-key: KEY\"; sluice's commands take it "
               "from SLUICE_API_KEY.\n",
               printable(flags.name).c_str(), scopes.text().c_str());
}

std::string count_text(int64_t count, const char* unit) {
  return count == 0 ? "" : std::to_string(count) + unit;
}

std::string limits_text(const keys::KeyLimits& limits) {
  std::string text;
  for (const std::string& part : {count_text(limits.requests_per_minute, " a minute"),
                                  count_text(limits.max_concurrent, " at once"),
                                  count_text(limits.tokens_per_day, " tokens a day")}) {
    if (part.empty()) continue;
    text += (text.empty() ? "" : ", ") + part;
  }
  return text.empty() ? "none" : text;
}

void list(const KeyFlags& flags) {
  const std::string path = path_of(flags);
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "KEY", "SCOPES", "LIMITS", "TOKENS TODAY", "CREATED"}};
  if (::access(path.c_str(), F_OK) == 0) {
    KeyBook book(path, Database::Mode::kExisting);
    const auto used = book.usage_of_day(keys::day_of(std::chrono::system_clock::now()));
    for (const keys::Key& key : book.keys()) {
      const auto own = std::find_if(used.begin(), used.end(),
                                    [&](const auto& entry) { return entry.first == key.id; });
      const int64_t num_tokens = own == used.end() ? 0 : own->second.num_tokens();
      rows.push_back({key.name, key.hint + "...", key.scopes.text(), limits_text(key.limits),
                      std::to_string(num_tokens), relative_time(format_rfc3339(key.created))});
    }
  }
  print_table(rows);
}

void revoke(const KeyFlags& flags) {
  const std::string path = path_of(flags);
  if (::access(path.c_str(), F_OK) != 0) {
    throw Error(ErrorCode::kNotFound, "there is no key '" + flags.name + "': there are none");
  }
  KeyBook book(path, Database::Mode::kExisting);
  book.revoke(flags.name, std::chrono::system_clock::now());
  std::printf("revoked '%s'\n", printable(flags.name).c_str());
  if (book.keys().empty()) {
    std::fputs(
        "That was the last key: a server on 127.0.0.1 is open to everybody on this machine "
        "again.\n",
        stderr);
  }
}

}  // namespace

void add_key(Command& program) {
  auto flags = std::make_shared<KeyFlags>();
  Command command = program.subcommand(
      "key", "API keys of the server on this machine: as soon as there is one, requests need one");
  command.need_subcommand();
  command.option("--keys", flags->file, "File of the keys (default ~/.sluice/keys.db)");
  command.footer(
      "A server takes notice within half a second, and need not be restarted.\n"
      "Examples:\n"
      "  sluice key add ann                                  for chats and embeddings\n"
      "  sluice key add ops --scope all                      for everything\n"
      "  sluice key add guest --requests-per-minute 30 --max-concurrent 2 --tokens-per-day 200000");

  Command adding = command.subcommand("add", "Make a key and print it, this once");
  adding.option("NAME", flags->name, "Whose it is").required();
  adding
      .option("--scope", flags->scopes,
              "What it may do: infer (use models), manage (pull, create, delete), metrics (status, "
              "usage); several with commas, or all")
      .show_default();
  adding
      .option("--requests-per-minute", flags->limits.requests_per_minute,
              "Requests it may make; more get 429")
      .range(1, 1'000'000);
  adding.option("--max-concurrent", flags->limits.max_concurrent, "Requests it may have at once")
      .range(1, 1'000'000);
  adding
      .option("--tokens-per-day", flags->limits.tokens_per_day,
              "Tokens of prompts and replies that it may use until midnight UTC")
      .range(1.0, 1e15);
  adding.action([flags] { add(*flags); });

  Command listing = command.subcommand("list", "Show the keys, without what makes them work");
  listing.alias("ls");
  listing.action([flags] { list(*flags); });

  Command revoking = command.subcommand("revoke", "End a key");
  revoking.alias("rm");
  revoking.option("NAME", flags->name, "Whose it is").required();
  revoking.action([flags] { revoke(*flags); });
}

}  // namespace sluice::cli
