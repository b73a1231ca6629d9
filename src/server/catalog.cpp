#include "server/catalog.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>

#include "base/error.h"

namespace sluice::server {
namespace {

store::ModelRecord make_extra(const ExtraModel& extra) {
  struct stat info {};
  if (::stat(extra.path.c_str(), &info) != 0) throw io_error("cannot open", extra.path, errno);
  if (S_ISDIR(info.st_mode)) {
    throw Error(ErrorCode::kInvalidArgument,
                "cannot open " + extra.path + ": it is a directory; name a GGUF file in it");
  }
  store::ModelRecord record{
      .name = store::ModelName::parse(extra.name),
      .digest = store::sha256(extra.path),  // of its place: hashing the file would take too long
      .manifest = {},
      .size_bytes = static_cast<uint64_t>(info.st_size),
      .modified = std::chrono::system_clock::from_time_t(info.st_mtime),
      .model_path = std::filesystem::absolute(extra.path).string(),
      .config = {},
      .texts = {}};
  record.config.format = "gguf";
  return record;
}

}  // namespace

Catalog::Catalog(const std::string& store_root, const std::vector<ExtraModel>& extra)
    : store_(store_root) {
  for (const ExtraModel& model : extra) extra_.push_back(make_extra(model));
}

const store::ModelRecord* Catalog::find_extra(std::string_view name) const {
  const auto parsed = store::ModelName::try_parse(name);
  if (!parsed) return nullptr;
  for (const store::ModelRecord& record : extra_) {
    if (record.name.is_same_model(*parsed)) return &record;
  }
  return nullptr;
}

store::ModelRecord Catalog::get(std::string_view name) const {
  if (const auto* extra = find_extra(name)) return *extra;
  return store_.get(name);
}

std::vector<store::ModelRecord> Catalog::list() const {
  std::vector<store::ModelRecord> models = extra_;
  store::ModelList stored = store_.list();
  for (const auto& problem : stored.problems) {
    spdlog::warn("{} is not readable: {}", problem.path, problem.reason);
  }
  for (auto& record : stored.models) models.push_back(std::move(record));
  return models;
}

void Catalog::remove(std::string_view name) {
  if (find_extra(name)) {
    throw Error(ErrorCode::kUnsupported, "model '" + std::string(name) +
                                             "' is a file given on the command line; it is not in "
                                             "the store and cannot be removed");
  }
  store_.remove(store_.get(name).name);
}

std::string name_for_file(std::string_view path) {
  std::string stem = std::filesystem::path(path).filename().string();
  if (stem.size() > 5 && stem.ends_with(".gguf")) stem.resize(stem.size() - 5);
  std::string name;
  for (const char c : stem.substr(0, 80)) {
    const bool is_alnum =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (is_alnum || c == '_' || (!name.empty() && (c == '-' || c == '.'))) {
      name.push_back(c);
    } else if (!name.empty()) {
      name.push_back('-');
    }
  }
  return name.empty() ? "model" : name;
}

}  // namespace sluice::server
