#include "store/doctor.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include "base/error.h"
#include "store/files.h"
#include "store/layout.h"
#include "store/partial_blob.h"

namespace sluice::store {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::hours kYoung{1};

// How the manifests that can be read use one blob.
struct Use {
  std::vector<std::string> models;
  uint64_t size_bytes = 0;
  bool sizes_differ = false;
};

uint64_t size_of(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0 ? static_cast<uint64_t>(status.st_size) : 0;
}

// Less than its size for a file with holes.
uint64_t size_on_disk(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return 0;
  return static_cast<uint64_t>(std::min<int64_t>(status.st_size, int64_t{status.st_blocks} * 512));
}

bool is_young(const std::string& path) {
  const auto age = age_of(path);
  return age && *age < kYoung;
}

// Ours, and Ollama's: sha256-<hex>-partial, sha256-<hex>-partial-<N>.
bool is_half_written(const std::string& name) {
  if (name.starts_with(TemporaryFile::kPrefix) || name.starts_with(PartialBlob::kPrefix)) {
    return true;
  }
  const size_t end = name.find("-partial");
  return end != std::string::npos && Digest::parse(name.substr(0, end)).has_value();
}

class Examination {
 public:
  Examination(const Store& store, const std::function<void(const CheckProgress&)>& on_progress)
      : store_(store), on_progress_(on_progress), blobs_(blobs_folder(store.root())) {}

  CheckReport run() {
    read_manifests();
    look_through_blobs();
    look_for_missing();
    return std::move(report_);
  }

 private:
  void add(Finding::Kind kind, const std::string& path, const std::string& detail,
           const std::vector<std::string>& models = {}) {
    report_.findings.push_back({kind, path, detail, models, size_on_disk(path)});
  }

  void read_manifests() {
    for (const Store::FoundManifest& found : store_.scan_manifests()) {
      const std::string name = found.name.short_name();
      try {
        const Manifest manifest = parse_manifest(store_.read_manifest(found.name));
        ++report_.num_models;
        take(manifest.config, name);
        for (const Layer& layer : manifest.layers) take(layer, name);
      } catch (const Error& error) {
        if (error.code() != ErrorCode::kNotFound) {  // removed meanwhile
          add(Finding::Kind::kUnreadableManifest, found.path, error.what(), {name});
        }
      }
    }
  }

  void take(const Layer& layer, const std::string& model) {
    const auto [at, is_new] = uses_.try_emplace(layer.digest);
    Use& use = at->second;
    if (is_new) use.size_bytes = layer.size_bytes;
    use.sizes_differ = use.sizes_differ || use.size_bytes != layer.size_bytes;
    if (use.models.empty() || use.models.back() != model) use.models.push_back(model);
  }

  void look_through_blobs() {
    std::vector<std::pair<Digest, std::string>> blobs;
    std::error_code error;
    for (fs::directory_iterator entry(blobs_, error), end; !error && entry != end;
         entry.increment(error)) {
      const std::string path = entry->path().string();
      const std::string name = entry->path().filename().string();
      if (const auto digest = Digest::parse(name); digest && is_regular_file(path)) {
        blobs.emplace_back(*digest, path);
        progress_.total_bytes += size_of(path);
      } else if (is_half_written(name)) {
        add(Finding::Kind::kHalfWritten, path, "");
      } else {
        add(Finding::Kind::kForeignFile, path, "");
      }
    }
    std::sort(blobs.begin(), blobs.end());
    for (const auto& [digest, path] : blobs) check_blob(digest, path);
  }

  void check_blob(const Digest& digest, const std::string& path) {
    const auto use = uses_.find(digest);
    const std::vector<std::string> models =
        use == uses_.end() ? std::vector<std::string>{} : use->second.models;
    const uint64_t before = progress_.completed_bytes;
    try {
      const Digest found = sha256_file(path, [&](uint64_t completed_bytes) {
        progress_.completed_bytes = before + completed_bytes;
        if (on_progress_) on_progress_(progress_);
      });
      ++report_.num_blobs;
      report_.checked_bytes += progress_.completed_bytes - before;
      if (found != digest) {
        add(Finding::Kind::kDamagedBlob, path, "its digest is " + found.text(), models);
      } else if (models.empty()) {
        add(Finding::Kind::kUnusedBlob, path, "");
      } else if (use->second.sizes_differ || use->second.size_bytes != size_of(path)) {
        add(Finding::Kind::kDamagedBlob, path, "a manifest says another size", models);
      }
      seen_.insert(digest);
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kNotFound) return;  // removed meanwhile
      if (error.code() != ErrorCode::kIo) throw;
      add(Finding::Kind::kDamagedBlob, path, error.what(), models);
      seen_.insert(digest);
    }
  }

  void look_for_missing() {
    for (const auto& [digest, use] : uses_) {
      if (seen_.contains(digest) || is_regular_file(store_.blob_path(digest))) continue;
      std::vector<std::string> models;
      for (const std::string& model : use.models) {
        if (still_needs(model, digest)) models.push_back(model);
      }
      if (!models.empty()) {
        add(Finding::Kind::kMissingBlob, store_.blob_path(digest), "", models);
      }
    }
  }

  // The model may have been removed or replaced while others were being read.
  bool still_needs(const std::string& model, const Digest& digest) const {
    try {
      const Manifest manifest = parse_manifest(store_.read_manifest(ModelName::parse(model)));
      return manifest.config.digest == digest ||
             std::any_of(manifest.layers.begin(), manifest.layers.end(),
                         [&](const Layer& layer) { return layer.digest == digest; });
    } catch (const Error&) {
      return false;
    }
  }

  const Store& store_;
  const std::function<void(const CheckProgress&)>& on_progress_;
  const std::string blobs_;
  std::map<Digest, Use> uses_;
  std::set<Digest> seen_;
  CheckProgress progress_;
  CheckReport report_;
};

// What all manifests need; nothing when one of them cannot be read.
std::optional<std::set<Digest>> all_used(const Store& store) {
  std::set<Digest> used;
  for (const Store::FoundManifest& found : store.scan_manifests()) {
    try {
      const Manifest manifest = parse_manifest(store.read_manifest(found.name));
      used.insert(manifest.config.digest);
      for (const Layer& layer : manifest.layers) used.insert(layer.digest);
    } catch (const Error& error) {
      if (size_of(found.path) > 0) return std::nullopt;
    }
  }
  return used;
}

void remove_file(const std::string& path, RepairResult& result) {
  const uint64_t size_bytes = size_on_disk(path);
  if (::unlink(path.c_str()) != 0) return;
  result.removed.push_back(path);
  result.freed_bytes += size_bytes;
}

}  // namespace

bool CheckReport::is_sound() const {
  return std::none_of(findings.begin(), findings.end(),
                      [](const Finding& finding) { return finding.is_harmful(); });
}

CheckReport check_store(const Store& store,
                        const std::function<void(const CheckProgress&)>& on_progress) {
  return Examination(store, on_progress).run();
}

RepairResult repair_store(const Store& store, const CheckReport& report) {
  RepairResult result;
  if (report.findings.empty()) return result;
  const FileLock lock(lock_path(store.root()));
  const std::optional<std::set<Digest>> used = all_used(store);
  PartialBlob::remove_stale(blobs_folder(store.root()), 0);  // those that nobody is writing
  std::set<std::string> incomplete;
  for (const Finding& finding : report.findings) {
    const std::string& path = finding.path;
    switch (finding.kind) {
      case Finding::Kind::kUnreadableManifest:
        if (is_regular_file(path) && size_of(path) == 0) remove_file(path, result);
        incomplete.insert(finding.models.begin(), finding.models.end());
        break;
      case Finding::Kind::kDamagedBlob:
        remove_file(path, result);
        incomplete.insert(finding.models.begin(), finding.models.end());
        break;
      case Finding::Kind::kMissingBlob:
        incomplete.insert(finding.models.begin(), finding.models.end());
        break;
      case Finding::Kind::kUnusedBlob: {
        const auto digest = Digest::parse(fs::path(path).filename().string());
        if (digest && used && !used->contains(*digest) && !is_young(path)) {
          remove_file(path, result);
        }
        break;
      }
      case Finding::Kind::kHalfWritten:
        if (!fs::path(path).filename().string().starts_with(PartialBlob::kPrefix)) {
          if (!is_young(path)) remove_file(path, result);
        } else if (!is_regular_file(path)) {  // remove_stale() has done it
          result.removed.push_back(path);
          result.freed_bytes += finding.size_bytes;
        }
        break;
      case Finding::Kind::kForeignFile:
        break;
    }
  }
  result.incomplete.assign(incomplete.begin(), incomplete.end());
  return result;
}

}  // namespace sluice::store
