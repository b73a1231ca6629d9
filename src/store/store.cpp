#include "store/store.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <set>
#include <system_error>

#include "base/error.h"
#include "store/files.h"
#include "store/layout.h"
#include "store/partial_blob.h"

namespace sluice::store {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxManifestBytes = size_t{4} << 20;
constexpr size_t kMaxTextBytes = size_t{16} << 20;  // of all layers of one model

// Names in a folder that are valid parts of a model's name, sorted. Nothing for what is no folder.
std::vector<std::string> list_parts(const fs::path& folder, NamePart part) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    std::string name = entry->path().filename().string();
    if (is_valid_name_part(part, name)) names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::chrono::system_clock::time_point modification_time(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) throw io_error("cannot read", path, errno);
  const auto since_epoch = std::chrono::seconds(status.st_mtim.tv_sec) +
                           std::chrono::nanoseconds(status.st_mtim.tv_nsec);
  return std::chrono::system_clock::time_point(
      std::chrono::duration_cast<std::chrono::system_clock::duration>(since_epoch));
}

}  // namespace

Store::Store(std::string root) : root_(std::move(root)) {}

std::string Store::blob_path(const Digest& digest) const {
  std::string path = blobs_folder(root_) + "/" + digest.file_name();
  // Stores of early versions have a colon; use theirs where they are.
  const std::string old_path = blobs_folder(root_) + "/" + digest.text();
  if (!is_regular_file(path) && is_regular_file(old_path)) return old_path;
  return path;
}

std::string Store::manifest_path(const ModelName& name) const {
  return manifests_folder(root_) + "/" + name.relative_path();
}

std::vector<Store::FoundManifest> Store::scan_manifests() const {
  const fs::path top = manifests_folder(root_);
  std::error_code error;
  fs::directory_iterator probe(top, error);
  if (error && error != std::errc::no_such_file_or_directory) {
    throw io_error("cannot read the folder", top.string(), error.value());
  }
  std::vector<FoundManifest> found;
  ModelName name;
  for (const std::string& host : list_parts(top, NamePart::kHost)) {
    name.host = host;
    for (const std::string& space : list_parts(top / host, NamePart::kNamespace)) {
      name.name_space = space;
      for (const std::string& model : list_parts(top / host / space, NamePart::kModel)) {
        name.model = model;
        for (const std::string& tag : list_parts(top / host / space / model, NamePart::kTag)) {
          name.tag = tag;
          std::string path = manifest_path(name);
          if (is_regular_file(path)) found.push_back({name, std::move(path)});
        }
      }
    }
  }
  return found;
}

std::optional<Store::FoundManifest> Store::locate(const ModelName& name) const {
  const std::string exact = manifest_path(name);
  if (is_regular_file(exact)) return FoundManifest{name, exact};
  for (FoundManifest& found : scan_manifests()) {
    if (found.name.is_same_model(name)) return std::move(found);
  }
  return std::nullopt;
}

std::optional<Manifest> Store::try_read_manifest(const FoundManifest& found) {
  try {
    return parse_manifest(read_small_file(found.path, kMaxManifestBytes));
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::string Store::read_blob(const Layer& layer, size_t max_bytes) const {
  const std::string path = blob_path(layer.digest);
  std::string text = read_small_file(path, max_bytes);
  if (sha256(text) != layer.digest) {
    throw Error(ErrorCode::kCorruptData,
                "'" + path + "' is damaged; import or pull the model again");
  }
  return text;
}

ModelRecord Store::read_record(const FoundManifest& found, bool with_texts) const {
  const std::string manifest_text = read_small_file(found.path, kMaxManifestBytes);
  ModelRecord record;
  record.name = found.name;
  record.name.scheme.clear();
  record.digest = sha256(manifest_text);
  record.manifest = parse_manifest(manifest_text);
  record.size_bytes = record.manifest.total_size_bytes();
  record.modified = modification_time(found.path);
  const std::string config_text = read_blob(record.manifest.config, kMaxManifestBytes);
  try {
    record.config = parse_config(config_text);
  } catch (const Error& error) {
    throw Error(error.code(),
                "'" + blob_path(record.manifest.config.digest) + "': " + error.what());
  }
  if (const Layer* model = record.manifest.find_layer(kModelLayer)) {
    record.model_path = blob_path(model->digest);
  }
  if (with_texts) read_texts(record);
  return record;
}

void Store::read_texts(ModelRecord& record) const {
  ModelTexts& texts = record.texts;
  size_t room = kMaxTextBytes;
  const auto read = [&](const Layer& layer) {
    std::string text = read_blob(layer, room);
    room -= text.size();
    return text;
  };
  for (const Layer& layer : record.manifest.layers) {
    if (layer.media_type == kTemplateLayer) texts.chat_template = read(layer);
    if (layer.media_type == kSystemLayer) texts.system = read(layer);
    if (layer.media_type == kLicenseLayer) texts.licenses.push_back(read(layer));
    if (layer.media_type == kParamsLayer) {
      texts.params_json = read(layer);
      texts.params_path = blob_path(layer.digest);
    }
    if (layer.media_type == kMessagesLayer) {
      texts.messages_json = read(layer);
      texts.messages_path = blob_path(layer.digest);
    }
  }
}

void Store::check_weights(const ModelRecord& record) const {
  const Layer* layer = record.manifest.find_layer(kModelLayer);
  if (!layer) return;
  std::error_code error;
  const uint64_t size_bytes = fs::file_size(record.model_path, error);
  if (error || !is_regular_file(record.model_path)) {
    throw Error(ErrorCode::kNotFound, "model '" + record.name.short_name() + "' is incomplete: '" +
                                          record.model_path +
                                          "' is missing; import or pull it again");
  }
  if (size_bytes != layer->size_bytes) {
    throw Error(ErrorCode::kCorruptData, "'" + record.model_path + "' is damaged: it has " +
                                             std::to_string(size_bytes) + " bytes instead of " +
                                             std::to_string(layer->size_bytes) +
                                             "; import or pull the model again");
  }
}

ModelList Store::list() const {
  ModelList list;
  for (const FoundManifest& found : scan_manifests()) {
    try {
      list.models.push_back(read_record(found, /*with_texts=*/false));
    } catch (const Error& error) {
      // What another process removed in between is no problem, it is just not there.
      if (is_regular_file(found.path))
        list.problems.push_back({found.name, found.path, error.what()});
    }
  }
  std::stable_sort(list.models.begin(), list.models.end(),
                   [](const ModelRecord& left, const ModelRecord& right) {
                     return left.modified > right.modified;
                   });
  return list;
}

std::optional<ModelRecord> Store::find(const ModelName& name) const {
  const auto found = locate(name);
  if (!found) return std::nullopt;
  try {
    ModelRecord record = read_record(*found, /*with_texts=*/true);
    check_weights(record);
    return record;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kCorruptData) throw;
    throw Error(error.code(), "'" + found->path + "': " + error.what());
  }
}

ModelRecord Store::get(std::string_view name) const {
  if (auto record = find(ModelName::parse(name))) return *std::move(record);
  throw Error(ErrorCode::kNotFound, "model '" + std::string(name) + "' not found");
}

Store::FoundManifest Store::require(const ModelName& name) const {
  if (auto found = locate(name)) return *std::move(found);
  throw Error(ErrorCode::kNotFound, "model '" + name.short_name() + "' not found");
}

void Store::copy(const ModelName& source, const ModelName& destination) {
  require(source);
  const FileLock lock(lock_path(root_));
  const FoundManifest found = require(source);
  const std::string text = read_small_file(found.path, kMaxManifestBytes);
  parse_manifest(text);  // checks it
  const FoundManifest target = place_of(destination);
  if (target.path == found.path) return;
  TemporaryFile file(blobs_folder(root_));
  file.write(text);
  replace_manifest(target, std::move(file));
}

Store::FoundManifest Store::place_of(const ModelName& name) const {
  if (auto found = locate(name)) return *std::move(found);
  return {name, manifest_path(name)};
}

RemoveResult Store::replace_manifest(const FoundManifest& target, TemporaryFile file) {
  const std::optional<Manifest> replaced = try_read_manifest(target);
  make_directories(fs::path(target.path).parent_path().string());
  file.commit(target.path);
  return replaced ? remove_unused_blobs(*replaced) : RemoveResult{};
}

bool Store::has_blob(const Digest& digest, uint64_t size_bytes) const {
  struct stat status {};
  return ::stat(blob_path(digest).c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
         static_cast<uint64_t>(status.st_size) == size_bytes;
}

std::string Store::read_manifest(const ModelName& name) const {
  return read_small_file(require(name).path, kMaxManifestBytes);
}

Store::CommitResult Store::commit(const ModelName& name, std::string_view manifest_text) {
  const Manifest manifest = parse_manifest(manifest_text);
  const std::string blobs = blobs_folder(root_);
  make_directories(blobs);
  const auto missing = [&] {
    std::vector<Layer> result;
    const auto look = [&](const Layer& layer) {
      if (!has_blob(layer.digest, layer.size_bytes)) result.push_back(layer);
    };
    for (const Layer& layer : manifest.layers) look(layer);
    look(manifest.config);
    return result;
  };
  const FileLock lock(lock_path(root_));
  CommitResult result;
  result.missing = missing();
  if (!result.missing.empty()) return result;
  TemporaryFile file(blobs);
  file.write(manifest_text);
  result.removed = replace_manifest(place_of(name), std::move(file));
  // Ollama knows nothing of our lock: it may have removed a blob that was not in use till now.
  result.missing = missing();
  return result;
}

RemoveResult Store::remove(const ModelName& name) {
  require(name);
  const FileLock lock(lock_path(root_));
  const FoundManifest found = require(name);

  // An unreadable manifest can go, too; nobody knows which blobs were its own.
  const std::optional<Manifest> manifest = try_read_manifest(found);
  if (::unlink(found.path.c_str()) != 0) throw io_error("cannot remove", found.path, errno);
  fs::path folder = fs::path(found.path).parent_path();
  sync_directory(folder.string());
  for (int level = 0; level < 3; ++level, folder = folder.parent_path()) {
    if (::rmdir(folder.c_str()) != 0) break;
  }
  return manifest ? remove_unused_blobs(*manifest) : RemoveResult{};
}

RemoveResult Store::remove_unused_blobs(const Manifest& removed) {
  std::set<Digest> used;
  for (const FoundManifest& found : scan_manifests()) {
    const std::optional<Manifest> manifest = try_read_manifest(found);
    if (!manifest) return {};  // it might use them
    used.insert(manifest->config.digest);
    for (const Layer& layer : manifest->layers) used.insert(layer.digest);
  }
  std::set<Digest> candidates = {removed.config.digest};
  for (const Layer& layer : removed.layers) candidates.insert(layer.digest);
  RemoveResult result;
  for (const Digest& digest : candidates) {
    if (used.contains(digest)) continue;
    const std::string path = blob_path(digest);
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0 || ::unlink(path.c_str()) != 0) continue;
    result.freed_bytes += static_cast<uint64_t>(status.st_size);
    ++result.num_blobs_removed;
  }
  return result;
}

int Store::remove_stale_files(std::chrono::seconds age) {
  constexpr int64_t kWeekSeconds = 7 * 24 * 3600;
  int num_removed = PartialBlob::remove_stale(blobs_folder(root_), kWeekSeconds);
  std::error_code error;
  for (fs::directory_iterator entry(blobs_folder(root_), error), end; !error && entry != end;
       entry.increment(error)) {
    if (!entry->path().filename().string().starts_with(TemporaryFile::kPrefix)) continue;
    const auto own_age = age_of(entry->path().string());
    if (!own_age || *own_age < age) continue;
    if (::unlink(entry->path().c_str()) == 0) ++num_removed;
  }
  return num_removed;
}

}  // namespace sluice::store
