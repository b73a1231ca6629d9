#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/settings.h"
#include "cli/terminal.h"
#include "store/store.h"

namespace sluice::cli {
namespace {

struct Flags {
  std::string file;
  std::string name;
  std::string models;
  bool hard_link = false;
};

// One line that is drawn again, at most 20 times a second; nothing when standard error is a file.
class ProgressLine {
 public:
  void update(const store::ImportProgress& progress) {
    if (!is_terminal_) return;
    const auto now = std::chrono::steady_clock::now();
    const bool is_new = progress.phase != phase_;
    if (!is_new && now - drawn_ < std::chrono::milliseconds(50)) return;
    phase_ = progress.phase;
    drawn_ = now;
    std::string line = "\r\033[K" + phase_;
    if (progress.total_bytes > 0) line += " " + bar(progress);
    std::fputs(line.c_str(), stderr);
  }
  void finish() {
    if (is_terminal_) std::fputs("\r\033[K", stderr);
  }

 private:
  static std::string bar(const store::ImportProgress& progress) {
    constexpr int kWidth = 30;
    const double part =
        static_cast<double>(progress.completed_bytes) / static_cast<double>(progress.total_bytes);
    const int filled = static_cast<int>(part * kWidth);
    char percent[8];
    std::snprintf(percent, sizeof percent, "%3d%%", static_cast<int>(part * 100));
    return std::string(percent) + " [" + std::string(static_cast<size_t>(filled), '=') +
           std::string(static_cast<size_t>(kWidth - filled), ' ') + "] " +
           format_bytes(progress.completed_bytes) + "/" + format_bytes(progress.total_bytes);
  }

  bool is_terminal_ = is_terminal(STDERR_FILENO);
  std::string phase_;
  std::chrono::steady_clock::time_point drawn_;
};

void import(const Flags& flags) {
  store::Store store(flags.models.empty() ? read_settings().models_dir : expand_home(flags.models));
  const store::ModelName name = store::ModelName::parse(flags.name);
  ProgressLine line;
  store::ImportOptions options;
  options.hard_link = flags.hard_link;
  options.on_progress = [&line](const store::ImportProgress& progress) { line.update(progress); };
  try {
    const store::ModelRecord record = store.import_gguf(expand_home(flags.file), name, options);
    line.finish();
    std::printf("imported %s (%s, id %s)\n", record.name.short_name().c_str(),
                format_bytes(record.size_bytes).c_str(), record.digest.short_id().c_str());
  } catch (...) {
    line.finish();
    throw;
  }
}

}  // namespace

void add_import(Command& program) {
  auto flags = std::make_shared<Flags>();
  Command command = program.subcommand("import", "Put a GGUF file into the store under a name");
  command.option("FILE", flags->file, "A GGUF file").required();
  command.option("NAME", flags->name, "A name such as smollm2:135m").required();
  command.option("--models", flags->models, "Folder of the store (default ~/.ollama/models)");
  command.flag("--hard-link", flags->hard_link,
               "Share the file's bytes instead of copying; nobody may write to it any more");
  command.action([flags] { import(*flags); });
}

}  // namespace sluice::cli
