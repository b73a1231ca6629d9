#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/print.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/progress_view.h"
#include "cli/settings.h"
#include "cli/terminal.h"
#include "store/doctor.h"

namespace sluice::cli {
namespace {

struct DoctorFlags {
  std::string models;
  bool repair = false;
};

const char* describe_kind(store::Finding::Kind kind) {
  using Kind = store::Finding::Kind;
  switch (kind) {
    case Kind::kUnreadableManifest:
      return "unreadable manifest";
    case Kind::kMissingBlob:
      return "missing";
    case Kind::kDamagedBlob:
      return "damaged";
    case Kind::kUnusedBlob:
      return "not in use";
    case Kind::kHalfWritten:
      return "half-written";
    case Kind::kForeignFile:
      return "not ours";
  }
  return "";
}

void print_finding(const store::Finding& finding) {
  std::string line = std::string(describe_kind(finding.kind)) + ": " + finding.path;
  if (finding.size_bytes > 0) line += " (" + format_bytes(finding.size_bytes) + ")";
  if (!finding.detail.empty()) line += ": " + finding.detail;
  for (size_t i = 0; i < finding.models.size(); ++i) {
    line += (i == 0 ? "; needed by " : ", ") + finding.models[i];
  }
  std::printf("%s\n", printable(line).c_str());
}

void repair(const store::Store& store, const store::CheckReport& report) {
  const store::RepairResult result = store::repair_store(store, report);
  for (const std::string& path : result.removed) {
    std::printf("removed %s\n", printable(path).c_str());
  }
  std::printf("%s freed\n", format_bytes(result.freed_bytes).c_str());
  for (const std::string& model : result.incomplete) {
    std::printf("incomplete: %s; pull or import it again\n", printable(model).c_str());
  }
}

void doctor(const DoctorFlags& flags) {
  const store::Store store(flags.models.empty() ? read_settings().models_dir
                                                : expand_home(flags.models));
  store::CheckReport report;
  {
    ProgressView view;
    report = store::check_store(store, [&](const store::CheckProgress& progress) {
      view.update("checking digests", progress.completed_bytes, progress.total_bytes);
    });
  }
  for (const store::Finding& finding : report.findings) print_finding(finding);
  std::printf("%d models, %d blobs, %s checked: %s\n", report.num_models, report.num_blobs,
              format_bytes(report.checked_bytes).c_str(),
              report.is_sound() ? "sound" : "not sound");
  if (flags.repair && !report.findings.empty()) repair(store, report);
  if (report.is_sound() || flags.repair) return;
  throw Error(ErrorCode::kCorruptData,
              "models are damaged; `sluice doctor --repair` removes what is broken, `sluice pull` "
              "or `sluice import` brings it again");
}

}  // namespace

void add_doctor(Command& program) {
  auto flags = std::make_shared<DoctorFlags>();
  Command command = program.subcommand(
      "doctor", "Check every digest of the store, and what is missing, unused or half-written");
  command.option("--models", flags->models, "Folder of the store (default ~/.ollama/models)");
  command.flag("--repair", flags->repair, "Remove what is broken or not in use");
  command.action([flags] { doctor(*flags); });
}

}  // namespace sluice::cli
