#include <charconv>
#include <filesystem>

#include "base/error.h"
#include "gguf/file.h"
#include "registry/blob_pull.h"
#include "registry/challenge.h"
#include "registry/pull.h"
#include "store/blob_writer.h"
#include "store/files.h"
#include "store/gguf_config.h"
#include "store/layout.h"

namespace sluice::registry {
namespace {

// What can be known of a file before it is fetched.
struct RemoteFile {
  uint64_t size_bytes = 0;
  std::string version;  // its ETag; "" when it has none
};

RemoteFile ask_for(RegistryClient& client, const WebUrl& url) {
  const std::string action = "'" + url.text() + "'";
  WebReply reply = client.send({.method = "HEAD", .url = url});
  if (reply.head.is_success()) {
    const std::string length = reply.head.header("content-length");
    RemoteFile file{0, reply.head.header("etag")};
    const auto end = length.data() + length.size();
    const auto parsed = std::from_chars(length.data(), end, file.size_bytes);
    if (!length.empty() && parsed.ec == std::errc() && parsed.ptr == end) return file;
  }
  // Not everybody answers HEAD, or tells the length then.
  reply = client.send({.url = url, .headers = {{"range", "bytes=0-0"}}});
  if (!reply.head.is_success()) fail_status(action, reply.head, reply.body);
  ContentRange range;
  if (!parse_content_range(reply.head.header("content-range"), range)) {
    throw Error(ErrorCode::kUnsupported, action + ": the server does not say how long the file is");
  }
  return {range.total, reply.head.header("etag")};
}

store::Layer add_text(const store::Store& store, std::string_view media_type,
                      const std::string& text) {
  store::Layer layer;
  layer.media_type = media_type;
  layer.digest = store::sha256(text);
  layer.size_bytes = text.size();
  store::BlobWriter writer(store, layer.digest, text.size());
  writer.write(std::as_bytes(std::span(text)));
  writer.commit();
  return layer;
}

}  // namespace

void pull_file(store::Store& store, const WebUrl& url, bool insecure, const store::ModelName& name,
               const RegistryOptions& options, const OnProgress& on_progress,
               std::stop_token stop) {
  if (!url.is_secure() && !insecure) {
    throw Error(ErrorCode::kInvalidArgument,
                "insecure protocol http; say --insecure (\"insecure\": true) if that is wanted");
  }
  on_progress({.status = "pulling manifest"});
  RegistryClient client(url, insecure, options, std::move(stop));
  const RemoteFile remote = ask_for(client, url);
  const std::string folder = store::blobs_folder(store.root());
  store::make_directories(folder);
  const std::string what = std::filesystem::path(url.target).filename().string();
  // Another version of the file has another key: parts of two never come together.
  const store::Digest key = store::sha256(url.text() + "\n" + remote.version);
  BlobTeller teller(on_progress, {.status = "pulling " + key.short_id(),
                                  .digest = key.text(),
                                  .total_bytes = remote.size_bytes});
  const auto blob = fetch_file(
      client, folder, {url, key, remote.size_bytes, what}, [] { return false; }, teller);
  on_progress({.status = "verifying sha256 digest"});
  store::Manifest manifest;
  std::string config, params;
  try {
    const gguf::File file = gguf::File::open(blob->path());
    config = store::encode_config(store::config_from_gguf(file));
    params = store::params_from_gguf(file);
  } catch (const Error& error) {
    blob->discard();
    throw Error(error.code(), "'" + url.text() + "': " + error.what());
  }
  store::Layer model{std::string(store::kModelLayer), blob->finish_digest(), remote.size_bytes, "",
                     ""};
  blob->sync();
  blob->commit(folder + "/" + model.digest.file_name());
  manifest.layers = {model};
  manifest.config = add_text(store, store::kConfigType, config);
  if (!params.empty()) manifest.layers.push_back(add_text(store, store::kParamsLayer, params));
  on_progress({.status = "writing manifest"});
  const auto result = store.commit(name, store::encode_manifest(manifest));
  if (!result.missing.empty()) {
    throw Error(ErrorCode::kBusy, "another program has removed what was just fetched; try again");
  }
  on_progress({.status = "success"});
}

}  // namespace sluice::registry
