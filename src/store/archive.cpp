#include "store/archive.h"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/input_file.h"
#include "base/print.h"
#include "store/blob_writer.h"
#include "store/files.h"

namespace sluice::store {
namespace {

using ArchiveJson = nlohmann::ordered_json;

constexpr std::string_view kLayoutName = "oci-layout";
constexpr std::string_view kIndexName = "index.json";
constexpr std::string_view kBlobsPrefix = "blobs/sha256/";
constexpr const char* kNameAnnotation = "org.opencontainers.image.ref.name";
constexpr size_t kMaxIndexBytes = size_t{64} << 10;
constexpr size_t kMaxArchiveManifest = size_t{4} << 20;
constexpr int kMaxEntries = 20'000;
constexpr size_t kTarBlock = 512;

// The blobs of a model, each once, the manifest's own not counted.
std::map<Digest, uint64_t> blobs_of(const Manifest& manifest) {
  std::map<Digest, uint64_t> blobs = {{manifest.config.digest, manifest.config.size_bytes}};
  for (const Layer& layer : manifest.layers) blobs.emplace(layer.digest, layer.size_bytes);
  return blobs;
}

struct WriteCloser {
  void operator()(archive* file) const { archive_write_free(file); }
};
struct ReadCloser {
  void operator()(archive* file) const { archive_read_free(file); }
};
struct EntryCloser {
  void operator()(archive_entry* entry) const { archive_entry_free(entry); }
};

// A tar that is written to a temporary file beside its place.
class TarWriter {
 public:
  explicit TarWriter(const std::string& path)
      : path_(path), file_(folder_of(path)), tar_(archive_write_new()) {
    if (!tar_) throw std::bad_alloc();
    archive_write_set_format_pax_restricted(tar_.get());
    archive_write_set_bytes_per_block(tar_.get(), static_cast<int>(kCopyBufferBytes));
    archive_write_set_bytes_in_last_block(tar_.get(), 1);  // no padding up to a whole one
    check(archive_write_open(tar_.get(), this, nullptr, &TarWriter::on_write, nullptr));
  }

  void begin(const std::string& name, uint64_t size_bytes) {
    const std::unique_ptr<archive_entry, EntryCloser> entry(archive_entry_new());
    if (!entry) throw std::bad_alloc();
    archive_entry_set_pathname(entry.get(), name.c_str());
    archive_entry_set_size(entry.get(), static_cast<la_int64_t>(size_bytes));
    archive_entry_set_filetype(entry.get(), AE_IFREG);
    archive_entry_set_perm(entry.get(), 0644);
    archive_entry_set_mtime(entry.get(), 0, 0);  // the same model gives the same file
    check(archive_write_header(tar_.get(), entry.get()));
  }
  void write(std::span<const std::byte> bytes) {
    if (archive_write_data(tar_.get(), bytes.data(), bytes.size()) < 0) check(ARCHIVE_FATAL);
  }
  void add(std::string_view name, const std::string& text) {
    begin(std::string(name), text.size());
    write(std::as_bytes(std::span(text)));
  }
  void commit() {
    check(archive_write_close(tar_.get()));
    file_.commit(path_);
  }

 private:
  static std::string folder_of(const std::string& path) {
    const std::string folder = std::filesystem::path(path).parent_path().string();
    return folder.empty() ? "." : folder;
  }
  static la_ssize_t on_write(archive* tar, void* self, const void* data, size_t size) {
    auto& writer = *static_cast<TarWriter*>(self);
    try {
      writer.file_.write(std::span(static_cast<const std::byte*>(data), size));
      return static_cast<la_ssize_t>(size);
    } catch (...) {
      writer.failure_ = std::current_exception();
      archive_set_error(tar, EIO, "write");
      return -1;
    }
  }
  void check(int result) {
    if (failure_) std::rethrow_exception(failure_);
    if (result >= ARCHIVE_WARN) return;
    const char* text = archive_error_string(tar_.get());
    throw Error(ErrorCode::kIo, "cannot write '" + path_ + "': " + (text ? text : "unknown"));
  }

  const std::string path_;
  TemporaryFile file_;
  std::exception_ptr failure_;
  std::unique_ptr<archive, WriteCloser> tar_;
};

// The entries of a tar, from front to back.
class TarReader {
 public:
  explicit TarReader(const std::string& path) : path_(path), tar_(archive_read_new()) {
    if (!tar_) throw std::bad_alloc();
    archive_read_support_format_tar(tar_.get());
    archive_read_support_filter_none(tar_.get());
    check(archive_read_open_filename(tar_.get(), path.c_str(), kCopyBufferBytes));
  }

  // False at the end. What is no plain file is passed over.
  bool next() {
    archive_entry* entry = nullptr;
    while (true) {
      const int result = archive_read_next_header(tar_.get(), &entry);
      if (result == ARCHIVE_EOF) return false;
      check(result);
      if (++num_entries_ > kMaxEntries) fail("it has more than 20000 entries");
      if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry)) continue;
      const char* name = archive_entry_pathname(entry);
      if (!name) continue;
      name_ = name;
      if (name_.starts_with("./")) name_.erase(0, 2);
      size_bytes_ = static_cast<uint64_t>(std::max<la_int64_t>(0, archive_entry_size(entry)));
      return true;
    }
  }
  const std::string& name() const { return name_; }
  uint64_t size_bytes() const { return size_bytes_; }

  // Of the entry; 0 at its end.
  size_t read(std::span<std::byte> out) {
    const la_ssize_t count = archive_read_data(tar_.get(), out.data(), out.size());
    if (count < 0) check(ARCHIVE_FATAL);
    return static_cast<size_t>(count);
  }
  std::string read_text(size_t max_bytes) {
    if (size_bytes_ > max_bytes) fail("'" + printable(name_) + "' in it is too large");
    std::string text(size_bytes_, '\0');
    const size_t count = read(std::as_writable_bytes(std::span(text)));
    if (count != text.size()) fail("it was cut short");
    return text;
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::kCorruptData, "'" + path_ + "' is no exported model: " + what);
  }

 private:
  void check(int result) const {
    if (result >= ARCHIVE_WARN) return;
    const char* text = archive_error_string(tar_.get());
    fail(printable(text ? text : "it cannot be read"));
  }

  const std::string path_;
  std::unique_ptr<archive, ReadCloser> tar_;
  std::string name_;
  uint64_t size_bytes_ = 0;
  int num_entries_ = 0;
};

std::string encode_index(const ModelName& name, const std::string& manifest_text) {
  ArchiveJson entry;
  entry["mediaType"] = kManifestType;
  entry["digest"] = sha256(manifest_text).text();
  entry["size"] = manifest_text.size();
  entry["annotations"][kNameAnnotation] = name.full_name();
  ArchiveJson index;
  index["schemaVersion"] = 2;
  index["mediaType"] = "application/vnd.oci.image.index.v1+json";
  index["manifests"] = {entry};
  return index.dump() + "\n";
}

// What index.json says.
struct ArchiveIndex {
  Digest manifest;
  std::optional<ModelName> name;
};

std::optional<ArchiveIndex> parse_index(const std::string& text) {
  constexpr int kMaxDepth = 16;
  const auto limit = [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    if (depth > kMaxDepth) throw Error(ErrorCode::kCorruptData, "index.json is nested too deeply");
    return true;
  };
  const auto json = nlohmann::json::parse(text, limit, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("manifests")) return {};
  const auto& manifests = json["manifests"];
  if (!manifests.is_array() || manifests.size() != 1 || !manifests[0].is_object()) return {};
  const auto string_at = [](const nlohmann::json& object, const char* key) -> std::string {
    if (!object.is_object() || !object.contains(key) || !object[key].is_string()) return "";
    return object[key].get<std::string>();
  };
  const auto digest = Digest::parse(string_at(manifests[0], "digest"));
  if (!digest) return {};
  ArchiveIndex index{*digest, {}};
  if (manifests[0].contains("annotations")) {
    index.name = ModelName::try_parse(string_at(manifests[0]["annotations"], kNameAnnotation));
  }
  return index;
}

// The text of the entry of that name; nothing when there is none.
std::optional<std::string> find_text(const std::string& path, std::string_view name,
                                     size_t max_bytes) {
  TarReader reader(path);
  while (reader.next()) {
    if (reader.name() == name) return reader.read_text(max_bytes);
  }
  return std::nullopt;
}

void take_blob(const Store& store, TarReader& reader, const Digest& digest,
               const std::function<void(uint64_t)>& on_bytes) {
  BlobWriter writer(store, digest, reader.size_bytes());
  std::vector<std::byte> buffer(kCopyBufferBytes);
  while (const size_t count = reader.read(buffer)) {
    writer.write(std::span<const std::byte>(buffer).first(count));
    on_bytes(count);
  }
  writer.commit();
}

}  // namespace

void export_model(const Store& store, const ModelName& name, const std::string& path,
                  const ArchiveProgress& on_progress) {
  const std::string manifest_text = store.read_manifest(name);
  const Manifest manifest = parse_manifest(manifest_text);
  const std::map<Digest, uint64_t> blobs = blobs_of(manifest);
  uint64_t total = 0, completed = 0;
  for (const auto& [digest, size_bytes] : blobs) total += size_bytes;
  TarWriter tar(path);
  tar.add(kLayoutName, "{\"imageLayoutVersion\":\"1.0.0\"}\n");
  tar.add(kIndexName, encode_index(name, manifest_text));
  tar.add(std::string(kBlobsPrefix) + sha256(manifest_text).hex(), manifest_text);
  std::vector<std::byte> buffer(kCopyBufferBytes);
  for (const auto& [digest, size_bytes] : blobs) {
    const InputFile file(store.blob_path(digest));
    Sha256 hash;
    tar.begin(std::string(kBlobsPrefix) + digest.hex(), size_bytes);
    uint64_t offset = 0;
    while (const size_t count = file.read_some(offset, buffer)) {
      const auto piece = std::span<const std::byte>(buffer).first(count);
      hash.update(piece);
      tar.write(piece);
      offset += count;
      completed += count;
      if (on_progress) on_progress(std::min(completed, total), total);
    }
    if (offset != size_bytes || hash.finish() != digest) {
      throw Error(ErrorCode::kCorruptData,
                  "'" + file.path() + "' is damaged; import or pull the model again");
    }
  }
  tar.commit();
}

bool is_archive(const std::string& path) {
  const InputFile file(path);
  std::string head(kTarBlock, '\0');
  const size_t count = file.read_some(0, std::as_writable_bytes(std::span(head)));
  return count == kTarBlock && head.substr(257, 5) == "ustar";
}

ModelName import_archive(Store& store, const std::string& path,
                         const std::optional<ModelName>& wanted_name,
                         const ArchiveProgress& on_progress) {
  TarReader reader(path);
  const auto index_text = find_text(path, kIndexName, kMaxIndexBytes);
  const auto index = index_text ? parse_index(*index_text) : std::nullopt;
  if (!index) reader.fail("index.json, which names one model, is not in it");
  const std::optional<ModelName> name = wanted_name ? wanted_name : index->name;
  if (!name) {
    throw Error(ErrorCode::kInvalidArgument,
                "'" + path + "' does not say what the model is called; give a NAME");
  }
  const auto text =
      find_text(path, std::string(kBlobsPrefix) + index->manifest.hex(), kMaxArchiveManifest);
  if (!text || sha256(*text) != index->manifest) reader.fail("its manifest is missing or damaged");
  const std::map<Digest, uint64_t> blobs = blobs_of(parse_manifest(*text));
  uint64_t total = 0, completed = 0;
  for (const auto& [digest, size_bytes] : blobs) total += size_bytes;
  const auto count_bytes = [&](uint64_t count) {
    completed += count;
    if (on_progress) on_progress(std::min(completed, total), total);
  };
  while (reader.next()) {
    if (!reader.name().starts_with(kBlobsPrefix)) continue;
    const auto digest = Digest::parse("sha256:" + reader.name().substr(kBlobsPrefix.size()));
    const auto blob = digest ? blobs.find(*digest) : blobs.end();
    if (blob == blobs.end()) continue;
    if (reader.size_bytes() != blob->second) reader.fail("a blob has another size than it should");
    if (store.has_blob(blob->first, blob->second)) {
      count_bytes(blob->second);
    } else {
      take_blob(store, reader, blob->first, count_bytes);
    }
  }
  const Store::CommitResult result = store.commit(*name, *text);
  if (!result.missing.empty()) {
    reader.fail("blob " + result.missing[0].digest.short_id() + " is not in it");
  }
  return *name;
}

}  // namespace sluice::store
