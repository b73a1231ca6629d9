#pragma once

#include <atomic>
#include <map>
#include <random>
#include <string>

#include "registry/pull.h"
#include "scripted_server.h"
#include "store/store_fixture.h"

namespace sluice::registry::test {

inline std::string random_text(size_t size, unsigned seed = 7) {
  std::mt19937 random(seed);
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

// A registry with one model in it, which behaves; tests put their faults in front of serve().
class FakeRegistry {
 public:
  explicit FakeRegistry(size_t model_bytes = size_t{20} << 20) {
    store::Manifest manifest;
    manifest.config = add(store::kConfigType, R"({"model_format":"gguf","model_family":"llama"})");
    manifest.layers = {add(store::kModelLayer, random_text(model_bytes)),
                       add(store::kTemplateLayer, "{{ .Prompt }}")};
    model = manifest.layers[0];
    manifest_text = store::encode_manifest(manifest);
    server.set_script([this](const ScriptedRequest& request, Peer& peer) {
      const bool is_taken = fault && fault(request, peer);
      if (!is_taken) serve(request, peer);
    });
  }

  store::Layer add(std::string_view media_type, const std::string& content) {
    store::Layer layer{std::string(media_type), store::sha256(content), content.size(), "", ""};
    blobs["/v2/ns/model/blobs/" + layer.digest.text()] = content;
    return layer;
  }

  void serve(const ScriptedRequest& request, Peer& peer) const {
    if (request.target == "/v2/ns/model/manifests/tag") return peer.reply(200, "", manifest_text);
    const auto blob = blobs.find(request.target);
    if (blob == blobs.end()) return peer.reply(404, "", "{}");
    const auto [first, last] = range_of(request, blob->second.size());
    if (request.header("range").empty() || ignores_ranges) {
      return peer.reply(200, "", blob->second);
    }
    peer.reply(206, range_header(first, last, blob->second.size()),
               std::string_view(blob->second).substr(first, last - first + 1));
  }

  static std::pair<size_t, size_t> range_of(const ScriptedRequest& request, size_t size) {
    const std::string range = request.header("range");
    if (range.empty()) return {0, size - 1};
    const size_t equals = range.find('='), dash = range.find('-');
    return {std::stoul(range.substr(equals + 1)), std::stoul(range.substr(dash + 1))};
  }
  static std::string range_header(size_t first, size_t last, size_t total) {
    return "Content-Range: bytes " + std::to_string(first) + "-" + std::to_string(last) + "/" +
           std::to_string(total) + "\r\n";
  }

  bool is_for_model(const ScriptedRequest& request) const {
    return request.target.find(model.digest.text()) != std::string::npos;
  }
  const std::string& model_text() const {
    return blobs.at("/v2/ns/model/blobs/" + model.digest.text());
  }

  std::map<std::string, std::string> blobs;  // by the path
  std::string manifest_text;
  store::Layer model;
  bool ignores_ranges = false;
  // True when it has answered, or broken the connection.
  std::function<bool(const ScriptedRequest&, Peer&)> fault;
  ScriptedServer server;
};

class RegistryTest : public store::testing::StoreTest {
 protected:
  RegistryTest() {
    options_.first_delay = std::chrono::milliseconds(5);
    options_.longest_delay = std::chrono::milliseconds(20);
    options_.stall_timeout = std::chrono::milliseconds(1000);
    options_.head_timeout = std::chrono::milliseconds(2000);
    options_.reply_timeout = std::chrono::milliseconds(5000);
    options_.connect_timeout = std::chrono::milliseconds(1000);
  }

  // The statuses that were told.
  std::vector<std::string> pull(const FakeRegistry& registry, std::stop_token stop = {}) {
    std::vector<std::string> statuses;
    store::Store store = this->store();
    registry::pull(
        store, Reference::parse(registry.server.host() + "/ns/model:tag", true), options_,
        [&](const Progress& line) {
          if (statuses.empty() || statuses.back() != line.status) statuses.push_back(line.status);
          last_ = line;
          if (on_line_) on_line_(line);
        },
        stop);
    return statuses;
  }
  // The error that a pull ends with.
  Error failed_pull(const FakeRegistry& registry) {
    try {
      pull(registry);
    } catch (const Error& error) {
      return error;
    }
    return Error(ErrorCode::kInternal, "it did not fail");
  }
  std::string stored_model(const FakeRegistry& registry) const {
    return store::testing::read_text(store().blob_path(registry.model.digest));
  }

  RegistryOptions options_;
  Progress last_;
  std::function<void(const Progress&)> on_line_;
};

}  // namespace sluice::registry::test
