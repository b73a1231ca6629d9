#include "registry/pull.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "fake_registry.h"
#include "registry/model_front.h"
#include "registry/signing_key.h"
#include "store/partial_blob.h"

namespace sluice::registry {
namespace {

using test::FakeRegistry;
using test::Peer;
using test::RegistryTest;
using test::ScriptedRequest;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class PullTest : public RegistryTest {};

TEST_F(PullTest, BringsEveryBlobAndTheManifestByteForByte) {
  FakeRegistry registry;
  const auto statuses = pull(registry);
  EXPECT_EQ(statuses.front(), "pulling manifest");
  EXPECT_EQ(statuses[1], "pulling " + registry.model.digest.short_id());
  EXPECT_THAT(std::vector(statuses.end() - 3, statuses.end()),
              ElementsAre("verifying sha256 digest", "writing manifest", "success"));
  EXPECT_EQ(stored_model(registry), registry.model_text());
  const auto record = store().get(registry.server.host() + "/ns/model:tag");
  EXPECT_EQ(record.digest, store::sha256(registry.manifest_text));
  EXPECT_EQ(record.texts.chat_template, "{{ .Prompt }}");
  EXPECT_EQ(files().size(), 4u);  // nothing half-written
}

TEST_F(PullTest, AsksForSeveralRangesAtOnce) {
  FakeRegistry registry;
  std::atomic<int> num_running = 0, most = 0;
  registry.fault = [&](const ScriptedRequest& request, Peer&) {
    if (!registry.is_for_model(request)) return false;
    const int now = ++num_running;
    for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    --num_running;
    return false;
  };
  pull(registry);
  EXPECT_EQ(most, options_.num_ranges);
}

TEST_F(PullTest, FetchesNothingThatIsThere) {
  FakeRegistry registry;
  pull(registry);
  const size_t before = registry.server.count("GET", "/blobs/");
  pull(registry);
  EXPECT_EQ(registry.server.count("GET", "/blobs/"), before);
  EXPECT_EQ(last_.status, "success");
}

TEST_F(PullTest, GoesOnWhereACutConnectionEnded) {
  FakeRegistry registry;
  std::atomic<size_t> num_sent = 0;
  registry.fault = [&](const ScriptedRequest& request, Peer& peer) {
    if (!registry.is_for_model(request)) return false;
    const auto [first, last] = FakeRegistry::range_of(request, registry.model.size_bytes);
    const size_t count = std::min<size_t>(last - first + 1, 300'000);
    peer.send("HTTP/1.1 206 Partial\r\n" +
              FakeRegistry::range_header(first, last, registry.model.size_bytes) +
              "Content-Length: " + std::to_string(last - first + 1) + "\r\n\r\n" +
              registry.model_text().substr(first, count));
    num_sent += count;
    peer.close();
    return true;
  };
  pull(registry);
  EXPECT_EQ(stored_model(registry), registry.model_text());
  EXPECT_EQ(num_sent, registry.model.size_bytes);  // no byte twice
}

TEST_F(PullTest, GoesOnAfterItWasEnded) {
  FakeRegistry registry;
  std::stop_source stop;
  on_line_ = [&](const Progress& line) {
    if (line.completed_bytes > line.total_bytes / 3) stop.request_stop();
  };
  std::atomic<size_t> num_asked = 0;
  registry.fault = [&](const ScriptedRequest& request, Peer&) {
    if (!registry.is_for_model(request)) return false;
    const auto [first, last] = FakeRegistry::range_of(request, registry.model.size_bytes);
    num_asked += last - first + 1;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    return false;
  };
  EXPECT_THROW(pull(registry, stop.get_token()), Error);
  const uint64_t kept = store::PartialBlob::look_up_completed(
      (root() / "blobs").string(), registry.model.digest, registry.model.size_bytes);
  EXPECT_GT(kept, registry.model.size_bytes / 3);
  on_line_ = {};
  num_asked = 0;
  pull(registry);
  EXPECT_EQ(num_asked, registry.model.size_bytes - kept);
  EXPECT_EQ(stored_model(registry), registry.model_text());
}

TEST_F(PullTest, TakesAServerThatKnowsNoRanges) {
  FakeRegistry registry;
  registry.ignores_ranges = true;
  pull(registry);
  EXPECT_EQ(stored_model(registry), registry.model_text());
}

TEST_F(PullTest, AsksAgainForARangeThatStalls) {
  FakeRegistry registry;
  std::atomic<int> num_stalls = 0;
  registry.fault = [&](const ScriptedRequest& request, Peer& peer) {
    if (!registry.is_for_model(request) || ++num_stalls > 3) return false;
    const auto [first, last] = FakeRegistry::range_of(request, registry.model.size_bytes);
    peer.send("HTTP/1.1 206 Partial\r\n" +
              FakeRegistry::range_header(first, last, registry.model.size_bytes) +
              "Content-Length: " + std::to_string(last - first + 1) + "\r\n\r\n" +
              registry.model_text().substr(first, 1000));
    peer.wait_until_gone();
    return true;
  };
  pull(registry);
  EXPECT_EQ(stored_model(registry), registry.model_text());
}

TEST_F(PullTest, FetchesAnewWhatWasHurtOnItsWay) {
  FakeRegistry registry;
  std::atomic<int> num_hurt = 0;
  registry.fault = [&](const ScriptedRequest& request, Peer& peer) {
    if (!registry.is_for_model(request) || num_hurt++ > 0) return false;
    const auto [first, last] = FakeRegistry::range_of(request, registry.model.size_bytes);
    std::string piece = registry.model_text().substr(first, last - first + 1);
    piece[piece.size() / 2] ^= 1;
    peer.reply(206, FakeRegistry::range_header(first, last, registry.model.size_bytes), piece);
    return true;
  };
  pull(registry);
  EXPECT_EQ(stored_model(registry), registry.model_text());
}

TEST_F(PullTest, RefusesBytesThatAreNotThoseOfTheDigest) {
  FakeRegistry registry;
  registry.blobs["/v2/ns/model/blobs/" + registry.model.digest.text()][5] ^= 1;
  const Error error = failed_pull(registry);
  EXPECT_EQ(error.code(), ErrorCode::kCorruptData);
  EXPECT_THAT(error.what(), HasSubstr("digest mismatch"));
  EXPECT_THAT(files(), ElementsAre());  // the blob, its parts and the manifest
}

TEST_F(PullTest, ShowsItsTokenToNobodyElse) {
  FakeRegistry registry;
  test::ScriptedServer elsewhere(
      [&](const ScriptedRequest& request, Peer& peer) { registry.serve(request, peer); });
  registry.fault = [&](const ScriptedRequest& request, Peer& peer) {
    if (request.target.starts_with("/token")) {
      peer.reply(200, "", R"({"token":"secret"})");
    } else if (request.header("authorization") != "Bearer secret") {
      peer.reply(401,
                 "WWW-Authenticate: Bearer realm=\"" + registry.server.url() +
                     "/token\",service=\"s\",scope=\"repository:ns/model:pull\"\r\n",
                 "{}");
    } else if (request.target.find("/blobs/") != std::string::npos) {
      peer.reply(307, "Location: " + elsewhere.url() + request.target + "\r\n", "");
    } else {
      return false;
    }
    return true;
  };
  pull(registry);
  EXPECT_EQ(stored_model(registry), registry.model_text());
  EXPECT_EQ(registry.server.count("GET", "/token?"), 1u);
  EXPECT_EQ(registry.server.count("GET", "scope=repository%3Ans%2Fmodel%3Apull"), 1u);
  ASSERT_FALSE(elsewhere.requests().empty());
  for (const ScriptedRequest& request : elsewhere.requests()) {
    EXPECT_EQ(request.header("authorization"), "");
  }
}

TEST_F(PullTest, SignsTheWholeAddressItAsksForATokenAt) {
  FakeRegistry registry;
  options_.key_path = (folder_ / "id_ed25519").string();
  const SigningKey key = SigningKey::load_or_create(options_.key_path);
  registry.fault = [&](const ScriptedRequest& request, Peer& peer) {
    if (request.target.starts_with("/token")) {
      EXPECT_EQ(request.header("authorization"),
                sign_token_request(key, registry.server.url() + request.target));
      EXPECT_THAT(request.target, HasSubstr("&ts="));
      EXPECT_THAT(request.target, HasSubstr("nonce="));
      peer.reply(200, "", R"({"token":"t"})");
    } else if (request.header("authorization") != "Bearer t") {
      peer.reply(401, "WWW-Authenticate: Bearer realm=\"" + registry.server.url() + "/token\"\r\n",
                 "");
    } else {
      return false;
    }
    return true;
  };
  pull(registry);
  EXPECT_EQ(last_.status, "success");
}

TEST_F(PullTest, SignsInAtTheRegistryItselfOnly) {
  FakeRegistry registry;
  test::ScriptedServer foreign(
      [](const ScriptedRequest&, Peer& peer) { peer.reply(200, "", R"({"token":"t"})"); });
  registry.fault = [&](const ScriptedRequest&, Peer& peer) {
    peer.reply(401, "WWW-Authenticate: Bearer realm=\"" + foreign.url() + "/token\"\r\n", "");
    return true;
  };
  EXPECT_THAT(failed_pull(registry).what(), HasSubstr("another host"));
  EXPECT_TRUE(foreign.requests().empty());
}

TEST_F(PullTest, EndsWhenATokenDoesNotHelp) {
  FakeRegistry registry;
  registry.fault = [&](const ScriptedRequest& request, Peer& peer) {
    if (request.target.starts_with("/token")) {
      peer.reply(200, "", R"({"token":"useless"})");
    } else {
      peer.reply(401, "WWW-Authenticate: Bearer realm=\"" + registry.server.url() + "/token\"\r\n",
                 "");
    }
    return true;
  };
  EXPECT_THAT(failed_pull(registry).what(), HasSubstr("unauthorized: access denied"));
  EXPECT_EQ(registry.server.requests().size(), 3u);
}

TEST_F(PullTest, EndsRedirectsThatGoInCircles) {
  FakeRegistry registry;
  registry.fault = [&](const ScriptedRequest& request, Peer& peer) {
    if (!registry.is_for_model(request)) return false;
    peer.reply(302, "Location: " + request.target + "\r\n", "");
    return true;
  };
  EXPECT_THAT(failed_pull(registry).what(), HasSubstr("redirects for ever"));
}

TEST_F(PullTest, FollowsNobodyToLinkLocalAddressesOrOtherProtocols) {
  for (const char* target :
       {"http://169.254.169.254/latest", "file:///etc/passwd", "gopher://x/"}) {
    FakeRegistry registry;
    registry.fault = [&](const ScriptedRequest& request, Peer& peer) {
      if (!registry.is_for_model(request)) return false;
      peer.reply(302, "Location: " + std::string(target) + "\r\n", "");
      return true;
    };
    EXPECT_THAT(failed_pull(registry).what(), HasSubstr(target[0] == 'h' ? "refused" : "no http"));
  }
}

TEST_F(PullTest, ComesBackWhenAServerIsBusy) {
  FakeRegistry registry;
  std::atomic<int> num_refused = 0;
  registry.fault = [&](const ScriptedRequest&, Peer& peer) {
    const int number = num_refused++;
    if (number % 3 == 2 || number > 30) return false;
    peer.reply(number % 3 == 0 ? 429 : 503, "Retry-After: 0\r\n", "busy");
    return true;
  };
  pull(registry);
  EXPECT_EQ(stored_model(registry), registry.model_text());
}

TEST_F(PullTest, GivesUpAfterEnoughAttemptsAndKeepsWhatCame) {
  FakeRegistry registry;
  registry.fault = [&](const ScriptedRequest& request, Peer& peer) {
    if (!registry.is_for_model(request) || request.header("range").starts_with("bytes=0-")) {
      return false;
    }
    peer.close();
    return true;
  };
  const Error error = failed_pull(registry);
  EXPECT_EQ(error.code(), ErrorCode::kIo);
  EXPECT_THAT(error.what(), HasSubstr("try again to go on"));
  EXPECT_GT(store::PartialBlob::look_up_completed((root() / "blobs").string(),
                                                  registry.model.digest, registry.model.size_bytes),
            0u);
}

TEST_F(PullTest, NamesWhatIsNotThere) {
  FakeRegistry registry;
  registry.fault = [](const ScriptedRequest&, Peer& peer) {
    peer.reply(404, "", R"({"errors":[{"code":"MANIFEST_UNKNOWN"}]})");
    return true;
  };
  const Error error = failed_pull(registry);
  EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  EXPECT_STREQ(error.what(), "pull model manifest: file does not exist");
}

// A server that lies about one thing of its replies to ranges.
struct Lie {
  const char* what;
  std::function<void(size_t first, size_t last, const std::string& text, Peer&)> reply;
};

TEST_F(PullTest, BelievesNoLies) {
  const auto header = FakeRegistry::range_header;
  const std::vector<Lie> lies = {
      {"another length",
       [&](size_t first, size_t last, const std::string& text, Peer& peer) {
         peer.reply(206, header(first, last, text.size() + 1),
                    text.substr(first, last - first + 1));
       }},
      {"off by one",
       [&](size_t first, size_t last, const std::string& text, Peer& peer) {
         peer.reply(206, header(first + 1, last, text.size()),
                    text.substr(first + 1, last - first));
       }},
      {"no range told",
       [&](size_t first, size_t last, const std::string& text, Peer& peer) {
         peer.reply(206, "", text.substr(first, last - first + 1));
       }},
      {"more than asked",
       [&](size_t first, size_t last, const std::string& text, Peer& peer) {
         peer.reply(206, header(first, last, text.size()), text.substr(first) + text);
       }},
      {"a whole of another length", [&](size_t, size_t, const std::string& text,
                                        Peer& peer) { peer.reply(200, "", text + "x"); }},
      {"shorter than it should be",
       [&](size_t, size_t, const std::string&, Peer& peer) { peer.reply(416, "", ""); }},
  };
  for (const Lie& lie : lies) {
    FakeRegistry registry(size_t{3} << 20);
    registry.fault = [&](const ScriptedRequest& request, Peer& peer) {
      if (!registry.is_for_model(request)) return false;
      const auto [first, last] = FakeRegistry::range_of(request, registry.model.size_bytes);
      lie.reply(first, last, registry.model_text(), peer);
      return true;
    };
    EXPECT_EQ(failed_pull(registry).code(), ErrorCode::kCorruptData) << lie.what;
    EXPECT_TRUE(store().list().models.empty());
  }
}

TEST_F(PullTest, RefusesManifestsThatAreNone) {
  const auto refused = [&](const std::string& text) {
    FakeRegistry registry(1000);
    registry.manifest_text = text;
    const Error error = failed_pull(registry);
    EXPECT_EQ(registry.server.count("GET", "/blobs/"), 0u) << text.substr(0, 100);
    return std::string(error.what());
  };
  const FakeRegistry good(1000);
  const auto with = [&](std::string_view before, std::string_view after) {
    std::string text = good.manifest_text;
    for (size_t at = 0; (at = text.find(before, at)) != std::string::npos; at += after.size()) {
      text.replace(at, before.size(), after);
    }
    return text;
  };
  EXPECT_THAT(refused("<html>"), HasSubstr("JSON"));
  EXPECT_THAT(refused(std::string(5 << 20, ' ')), HasSubstr("short reply"));
  EXPECT_THAT(refused(std::string(100'000, '[')), HasSubstr("deep"));
  EXPECT_THAT(refused(with("sha256:", "sha256:../")), HasSubstr("invalid digest"));
  EXPECT_THAT(refused(with("image.model", "image.tensor")), HasSubstr("MLX"));
  EXPECT_THAT(refused(with("vnd.ollama.image.model", "vnd.docker.image.rootfs.diff.tar.gzip")),
              HasSubstr("no model"));
  store::Manifest manifest = store::parse_manifest(good.manifest_text);
  manifest.layers.resize(2000, manifest.layers[1]);
  EXPECT_THAT(refused(store::encode_manifest(manifest)), HasSubstr("2000 layers"));
  manifest.layers.resize(2);
  manifest.config.size_bytes = uint64_t{1} << 40;
  EXPECT_THAT(refused(store::encode_manifest(manifest)), HasSubstr("short text"));
  manifest.config.size_bytes = 2;
  manifest.layers[0].size_bytes = uint64_t{1} << 61;
  EXPECT_THAT(refused(store::encode_manifest(manifest)), HasSubstr("not enough space"));
}

TEST_F(PullTest, EndsHeadersThatDoNotEnd) {
  FakeRegistry registry(1000);
  registry.fault = [&](const ScriptedRequest& request, Peer& peer) {
    if (registry.is_for_model(request)) {  // slowly
      peer.send("HTTP/1.1 200 OK\r\n");
      while (peer.send("X-A: b\r\n")) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    } else if (request.target.find("/blobs/") != std::string::npos) {
      return false;
    } else {
      return false;
    }
    return true;
  };
  options_.max_attempts = 2;
  EXPECT_THAT(failed_pull(registry).what(), HasSubstr("in time"));
  registry.fault = [&](const ScriptedRequest& request, Peer& peer) {
    if (!registry.is_for_model(request)) return false;
    peer.send("HTTP/1.1 200 OK\r\n");
    while (peer.send("X-A: " + std::string(1000, 'b') + "\r\n")) {
    }
    return true;
  };
  EXPECT_THAT(failed_pull(registry).what(), HasSubstr("endless headers"));
}

TEST_F(PullTest, WaitsForWhoFetchesTheSame) {
  FakeRegistry registry;
  const std::string folder = (root() / "blobs").string();
  std::filesystem::create_directories(folder);
  auto other =
      store::PartialBlob::try_open(folder, registry.model.digest, registry.model.size_bytes);
  std::thread finisher([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    other->write(0, std::as_bytes(std::span(registry.model_text())));
    other->commit(folder + "/" + registry.model.digest.file_name());
    other.reset();
  });
  pull(registry);
  finisher.join();
  for (const auto& request : registry.server.requests()) {
    EXPECT_FALSE(registry.is_for_model(request));
  }
  EXPECT_EQ(stored_model(registry), registry.model_text());
}

TEST_F(PullTest, EndsSoonWhenItIsToldTo) {
  FakeRegistry registry;
  registry.fault = [](const ScriptedRequest&, Peer& peer) {
    peer.wait_until_gone();
    return true;
  };
  std::stop_source stop;
  std::thread stopper([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    stop.request_stop();
  });
  options_.head_timeout = std::chrono::minutes(1);
  const auto before = std::chrono::steady_clock::now();
  EXPECT_THROW(pull(registry, stop.get_token()), Error);
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(10));
  stopper.join();
}

TEST_F(PullTest, OpensNoConnectionWhenOffline) {
  FakeRegistry registry;
  options_.is_offline = true;
  EXPECT_THAT(failed_pull(registry).what(), HasSubstr("offline"));
  EXPECT_TRUE(registry.server.requests().empty());
}

TEST_F(PullTest, RemovesWhatOnlyTheReplacedModelUsed) {
  FakeRegistry first(1000), second(1000);
  store::Store store = this->store();
  pull(first);
  store::Manifest manifest = store::parse_manifest(first.manifest_text);
  manifest.layers[1] = first.add(store::kTemplateLayer, "another");
  const auto old = files();
  first.manifest_text = store::encode_manifest(manifest);
  const auto statuses = pull(first);
  EXPECT_EQ(statuses[statuses.size() - 2], "removing unused layers");
  EXPECT_EQ(files().size(), old.size());
}

TEST_F(PullTest, FetchesAFileByItsAddress) {
  const std::string path = store::testing::write_gguf(folder_ / "m.gguf", "salt", 1 << 20);
  const std::string text = store::testing::read_text(path);
  test::ScriptedServer server([&](const ScriptedRequest& request, Peer& peer) {
    if (request.method == "HEAD") {
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(text.size()) + "\r\n\r\n");
      return;
    }
    const auto [first, last] = FakeRegistry::range_of(request, text.size());
    peer.reply(206, FakeRegistry::range_header(first, last, text.size()),
               text.substr(first, last - first + 1));
  });
  store::Store store = this->store();
  pull_file(store, WebUrl::parse(server.url() + "/a/m.gguf"), true, store::ModelName::parse("mine"),
            options_, [](const Progress&) {}, {});
  const auto record = store.get("mine");
  EXPECT_EQ(record.config.family, "llama");
  EXPECT_EQ(store::testing::read_text(record.model_path), text);
  EXPECT_THROW(pull_file(store, WebUrl::parse(server.url() + "/a/m.gguf"), false,
                         store::ModelName::parse("mine"), options_, [](const Progress&) {}, {}),
               Error);
}

TEST_F(PullTest, RefusesAFileThatIsNoModel) {
  test::ScriptedServer server(
      [&](const ScriptedRequest&, Peer& peer) { peer.reply(200, "", "<html>not here</html>"); });
  store::Store store = this->store();
  EXPECT_THROW(pull_file(store, WebUrl::parse(server.url() + "/m.gguf"), true,
                         store::ModelName::parse("mine"), options_, [](const Progress&) {}, {}),
               Error);
  EXPECT_TRUE(files().empty());
}

// --- the front alone ---

class FrontTest : public RegistryTest {
 protected:
  ModelFront fetch(const FakeRegistry& registry, uint64_t enough) {
    return fetch_front(Reference::parse(registry.server.host() + "/ns/model:tag", true), options_,
                       [&](const ModelFront& front) { return front.bytes.size() >= enough; }, {});
  }
};

TEST_F(FrontTest, GrowsUntilItIsEnough) {
  const FakeRegistry registry;
  const ModelFront front = fetch(registry, 3 << 20);
  EXPECT_EQ(front.bytes, registry.model_text().substr(0, 4 << 20));
  EXPECT_EQ(front.size_bytes, registry.model_text().size());
  EXPECT_EQ(registry.server.count("GET", "/blobs/"), 2u);
  EXPECT_TRUE(files().empty());
}

TEST_F(FrontTest, EndsWithTheFile) {
  const FakeRegistry registry(100);
  EXPECT_EQ(fetch(registry, 100).bytes, registry.model_text());
  EXPECT_THROW(fetch(registry, 101), Error);
}

TEST_F(FrontTest, ARegistryThatGivesNoRangesIsNotReadWhole) {
  FakeRegistry registry;
  registry.ignores_ranges = true;
  EXPECT_THROW(fetch(registry, 1), Error);
}

}  // namespace
}  // namespace sluice::registry
