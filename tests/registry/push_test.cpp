#include "registry/push.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "fake_registry.h"

namespace sluice::registry {
namespace {

using test::Peer;
using test::RegistryTest;
using test::ScriptedRequest;
using test::ScriptedServer;
using ::testing::HasSubstr;

// A registry that takes what comes.
class TakingRegistry {
 public:
  TakingRegistry() {
    server.set_script([this](const ScriptedRequest& request, Peer& peer) {
      const bool is_taken = fault && fault(request, peer);
      if (!is_taken) serve(request, peer);
    });
  }

  void serve(const ScriptedRequest& request, Peer& peer) {
    std::lock_guard lock(mutex);
    if (request.method == "HEAD") {
      const bool is_there = blobs.contains(request.target.substr(request.target.rfind('/') + 1));
      peer.send(is_there ? "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"
                         : "HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\n");
    } else if (request.method == "POST") {
      upload.clear();
      peer.reply(202, "Location: /upload/1\r\n", "");
    } else if (request.method == "PATCH") {
      upload += request.body;
      peer.reply(202, "Location: /upload/1?state=" + std::to_string(upload.size()) + "\r\n", "");
    } else if (request.method == "GET") {
      const size_t last = upload.empty() ? 0 : upload.size() - 1;
      peer.reply(204, "Location: /upload/1\r\nRange: 0-" + std::to_string(last) + "\r\n", "");
    } else if (request.target.find("digest=") != std::string::npos) {
      blobs[store::sha256(upload).text()] = upload;
      peer.reply(201, "", "");
    } else {
      manifest = request.body;
      peer.reply(201, "", "");
    }
  }

  std::mutex mutex;
  std::map<std::string, std::string> blobs;  // by the digest
  std::string upload, manifest;
  std::function<bool(const ScriptedRequest&, Peer&)> fault;
  ScriptedServer server;
};

class PushTest : public RegistryTest {
 protected:
  // A model in the store under the registry's name.
  store::Manifest make_model(const TakingRegistry& registry) {
    store::Manifest manifest;
    manifest.config = add_blob(store::kConfigType, "{}");
    manifest.layers = {add_blob(store::kModelLayer, test::random_text(5'000'000))};
    name_ = registry.server.host() + "/ns/model:tag";
    store().commit(store::ModelName::parse(name_), store::encode_manifest(manifest));
    return manifest;
  }
  void push() {
    const Reference reference = Reference::parse(name_, true);
    registry::push(store(), reference, options_,
                   [&](const Progress& line) { statuses_.push_back(line.status); }, {});
  }

  std::string name_;
  std::vector<std::string> statuses_;
};

TEST_F(PushTest, SendsBlobsThenTheManifest) {
  TakingRegistry registry;
  const store::Manifest manifest = make_model(registry);
  push();
  EXPECT_EQ(registry.manifest, store::encode_manifest(manifest));
  EXPECT_EQ(registry.blobs[manifest.layers[0].digest.text()], test::random_text(5'000'000));
  EXPECT_EQ(statuses_.front(), "retrieving manifest");
  EXPECT_EQ(statuses_.back(), "success");
}

TEST_F(PushTest, PassesOverWhatIsThere) {
  TakingRegistry registry;
  make_model(registry);
  push();
  const size_t num_patches = registry.server.count("PATCH", "");
  push();
  EXPECT_EQ(registry.server.count("PATCH", ""), num_patches);
}

TEST_F(PushTest, GoesOnBehindWhatArrived) {
  TakingRegistry registry;
  const store::Manifest manifest = make_model(registry);
  std::atomic<int> num_cut = 0;
  registry.fault = [&](const ScriptedRequest& request, Peer& peer) {
    if (request.method != "PATCH" || num_cut++ > 0) return false;
    std::lock_guard lock(registry.mutex);
    registry.upload += request.body.substr(0, 1'000'000);
    peer.close();
    return true;
  };
  push();
  EXPECT_EQ(registry.blobs[manifest.layers[0].digest.text()].size(), 5'000'000u);
}

TEST_F(PushTest, SendsNoDamagedBlob) {
  TakingRegistry registry;
  const store::Manifest manifest = make_model(registry);
  std::string text = test::random_text(5'000'000);
  text[100] ^= 1;
  store::testing::write_text(store().blob_path(manifest.layers[0].digest), text);
  EXPECT_THROW(push(), Error);
  EXPECT_TRUE(registry.blobs.empty());
  EXPECT_EQ(registry.manifest, "");
}

TEST_F(PushTest, TakesPartsWhereTheRegistrySendsThem) {
  TakingRegistry registry;
  ScriptedServer elsewhere([&](const ScriptedRequest& request, Peer& peer) {
    EXPECT_EQ(request.header("authorization"), "");
    {
      std::lock_guard lock(registry.mutex);
      registry.upload += request.body;
    }
    peer.reply(200, "", "");
  });
  const store::Manifest manifest = make_model(registry);
  registry.fault = [&](const ScriptedRequest& request, Peer& peer) {
    if (request.method != "PATCH") return false;
    peer.reply(
        307, "Location: " + elsewhere.url() + "/part\r\nDocker-Upload-Location: /upload/1\r\n", "");
    return true;
  };
  push();
  EXPECT_EQ(registry.blobs[manifest.layers[0].digest.text()].size(), 5'000'000u);
  EXPECT_EQ(registry.server.count("PUT", "&etag="), 2u);
}

TEST_F(PushTest, SaysThatItMayNot) {
  TakingRegistry registry;
  make_model(registry);
  registry.fault = [](const ScriptedRequest&, Peer& peer) {
    peer.reply(403, "", R"({"errors":[{"message":"not yours"}]})");
    return true;
  };
  try {
    push();
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("access denied"));
  }
}

}  // namespace
}  // namespace sluice::registry
