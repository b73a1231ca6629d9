#include "server/catalog.h"

#include <sys/stat.h>

#include <filesystem>

#include "base/error.h"
#include "base/input_file.h"
#include "base/print.h"
#include "server/model_layers.h"

namespace sluice::server {
namespace {

// As with a file's template, a faulty one is told of when it is needed.
void read_go_template(CatalogRecord& record) {
  const std::string& source = record.texts.chat_template;
  if (source.empty()) return;
  try {
    record.go_template = std::make_shared<const text::GoTemplate>(source);
  } catch (const Error& error) {
    record.go_template_fault = error.what();
  }
}

SharedRecord share(store::ModelRecord record) {
  api::ModelOptions options = layer_options(record);
  CatalogRecord shared{std::move(record), std::move(options)};
  read_go_template(shared);
  return std::make_shared<const CatalogRecord>(std::move(shared));
}

store::ModelRecord make_extra(const ExtraModel& extra) {
  const InputFile file(extra.path);
  store::ModelRecord record{
      .name = store::ModelName::parse(extra.name),
      .digest = store::sha256(extra.path),  // of its place: hashing the file would take too long
      .manifest = {},
      .size_bytes = file.size_bytes(),
      .modified = file.modified(),
      .model_path = std::filesystem::absolute(extra.path).string(),
      .config = {},
      .texts = {}};
  record.config.format = "gguf";
  return record;
}

}  // namespace

Catalog::Catalog(const std::string& store_root, const std::vector<ExtraModel>& extra)
    : store_(store_root) {
  for (const ExtraModel& model : extra) {
    extra_.push_back(share(make_extra(model)));
  }
}

SharedRecord Catalog::find_extra(std::string_view name) const {
  const auto parsed = store::ModelName::try_parse(name);
  if (!parsed) return nullptr;
  for (const SharedRecord& record : extra_) {
    if (record->name.is_same_model(*parsed)) return record;
  }
  return nullptr;
}

std::optional<Catalog::FileId> Catalog::identify(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return std::nullopt;
  return FileId{info.st_dev, info.st_ino, static_cast<uint64_t>(info.st_size),
                int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec};
}

// Null when that version has not been read, or its weights have gone since.
SharedRecord Catalog::find_read(const std::string& manifest_path, const FileId& id) const {
  std::lock_guard lock(mutex_);
  const auto found = read_.find(manifest_path);
  if (found == read_.end() || found->second.manifest != id) return nullptr;
  const SharedRecord& record = found->second.record;
  return record->model_path.empty() || identify(record->model_path) ? record : nullptr;
}

SharedRecord Catalog::get(std::string_view name) const {
  if (name.empty()) throw Error(ErrorCode::kNotFound, "model '' not found");
  if (SharedRecord extra = find_extra(name)) return extra;
  const auto parsed = store::ModelName::try_parse(name);
  const std::string path = parsed ? store_.manifest_path(*parsed) : "";
  const std::optional<FileId> id = parsed ? identify(path) : std::nullopt;
  if (id) {
    if (SharedRecord record = find_read(path, *id)) return record;
  }
  SharedRecord record = share(store_.get(name));
  // A name in another spelling has no manifest of its own: read every time.
  std::lock_guard lock(mutex_);
  if (id) {
    read_[path] = {*id, record};
  } else {
    read_.erase(path);
  }
  return record;
}

store::ModelList Catalog::list() const {
  store::ModelList list = store_.list();
  std::vector<store::ModelRecord> extra;
  for (const SharedRecord& record : extra_) extra.push_back(*record);
  list.models.insert(list.models.begin(), extra.begin(), extra.end());
  return list;
}

void Catalog::refuse_extra(std::string_view name) const {
  if (!find_extra(name)) return;
  throw Error(ErrorCode::kUnsupported,
              "model '" + std::string(name) +
                  "' is a file given on the command line; it is not in the store and cannot be "
                  "copied, replaced or removed");
}

void Catalog::copy(std::string_view source, std::string_view destination) {
  refuse_extra(source);
  refuse_extra(destination);
  const auto name_of = [](std::string_view which, std::string_view text) {
    if (auto name = store::ModelName::try_parse(text)) return *std::move(name);
    throw Error(ErrorCode::kInvalidArgument,
                std::string(which) + " \"" + printable(text) + "\" is invalid");
  };
  const store::ModelName from = name_of("source", source);
  const store::ModelName to = name_of("destination", destination);
  if (!store_.contains(from)) {
    throw Error(ErrorCode::kNotFound, "model \"" + std::string(source) + "\" not found");
  }
  store_.copy(from, to);
}

void Catalog::remove(std::string_view name) {
  refuse_extra(name);
  const store::ModelName wanted = store::ModelName::parse(name);
  if (!store_.contains(wanted)) {
    throw Error(ErrorCode::kNotFound, "model '" + std::string(name) + "' not found");
  }
  store_.remove(wanted);
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
