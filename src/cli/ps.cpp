#include "base/units.h"
#include "cli/commands.h"
#include "cli/server_link.h"
#include "cli/terminal.h"

namespace sluice::cli {
namespace {

std::string processor(int64_t size, int64_t size_vram) {
  if (size_vram == 0) return "100% CPU";
  if (size_vram >= size) return "100% GPU";
  const auto gpu =
      static_cast<int>(100.0 * static_cast<double>(size_vram) / static_cast<double>(size));
  return std::to_string(100 - gpu) + "%/" + std::to_string(gpu) + "% CPU/GPU";
}

// "40%/60% CPU/GPU, layers: 3 cpu, 5 cuda:0", when they are split.
std::string split_text(const api::Json& model) {
  std::string text;
  const api::Json* extra = api::object_field(model, "sluice");
  const api::Json* parts = extra ? api::array_field(*extra, "parts") : nullptr;
  for (const api::Json& part : parts ? *parts : api::Json::array()) {
    text += (text.empty() ? ", layers: " : ", ") +
            std::to_string(api::int_field(part, "layers", 0, INT64_MAX).value_or(0)) + " " +
            printable(api::string_field(part, "device").value_or(""));
  }
  return text;
}

std::vector<std::string> row_of(const api::Json& model) {
  const int64_t size = api::int_field(model, "size", 0, INT64_MAX).value_or(0);
  const int64_t vram = api::int_field(model, "size_vram", 0, INT64_MAX).value_or(0);
  std::string until = relative_time(api::string_field(model, "expires_at").value_or(""));
  if (until.ends_with(" ago")) until = "Stopping...";
  return {api::string_field(model, "name").value_or(""),
          api::string_field(model, "digest").value_or("").substr(0, 12),
          format_bytes(static_cast<uint64_t>(size)),
          processor(size, vram) + split_text(model),
          std::to_string(api::int_field(model, "context_length", 0, INT64_MAX).value_or(0)),
          until};
}

void ps(const std::string& prefix) {
  ServerLink link = ServerLink::connect(read_settings());
  const api::Json reply = link.call("GET", "/api/ps");
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"}};
  const api::Json* models = api::array_field(reply, "models");
  for (const api::Json& model : models ? *models : api::Json::array()) {
    std::vector<std::string> row = row_of(model);
    if (row.front().starts_with(prefix)) rows.push_back(std::move(row));
  }
  print_table(rows);
}

}  // namespace

void add_ps(Command& program) {
  auto prefix = std::make_shared<std::string>();
  Command command = program.subcommand("ps", "Show the models that the server has in memory");
  command.option("PREFIX", *prefix, "Only names that begin with this");
  command.action([prefix] { ps(*prefix); });
}

}  // namespace sluice::cli
