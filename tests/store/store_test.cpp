#include "store/store.h"

#include <sys/stat.h>

#include "base/error.h"
#include "store_fixture.h"
#include "thrown.h"

namespace sluice::store {
namespace {

using test::code_of;

using testing::read_text;
using testing::write_text;
namespace fs = std::filesystem;

class StoreLayout : public testing::StoreTest {
 protected:
  // A model as Ollama leaves it: config, weights and all small layers.
  Manifest add_ollama_model(const std::string& path, const std::string& weights) const {
    ModelConfig config;
    config.format = "gguf";
    config.family = "llama";
    config.parameter_size = "1.2B";
    config.quantization = "Q4_K_M";
    Manifest manifest;
    manifest.config = add_blob(kConfigType, encode_config(config));
    manifest.layers = {
        add_blob(kModelLayer, weights),
        add_blob(kTemplateLayer, "{{ .Prompt }}"),
        add_blob(kSystemLayer, "Be brief."),
        add_blob(kParamsLayer, "{\"stop\":[\"<|im_end|>\"]}\n"),
        add_blob(kMessagesLayer, "[{\"role\":\"user\",\"content\":\"hi\"}]\n"),
        add_blob(kLicenseLayer, "Licence one"),
        add_blob(kLicenseLayer, "Licence two"),
    };
    write_text(root() / "manifests" / path, encode_manifest(manifest));
    return manifest;
  }
};

TEST_F(StoreLayout, AnAbsentFolderIsAnEmptyStore) {
  EXPECT_TRUE(store().list().models.empty());
  EXPECT_FALSE(store().find(ModelName::parse("x")));
  EXPECT_EQ(code_of([&] { store().remove(ModelName::parse("x")); }), ErrorCode::kNotFound);
  EXPECT_EQ(store().remove_stale_files(), 0);
  EXPECT_FALSE(fs::exists(root()));
}

TEST_F(StoreLayout, ReadsAnOllamaStoreInPlace) {
  const Manifest manifest = add_ollama_model("registry.ollama.ai/library/llama3.2/1b", "weights");
  const auto record = store().find(ModelName::parse("llama3.2:1b"));
  ASSERT_TRUE(record);
  EXPECT_EQ(record->name.short_name(), "llama3.2:1b");
  EXPECT_EQ(record->digest,
            sha256(read_text(root() / "manifests/registry.ollama.ai/library/llama3.2/1b")));
  EXPECT_EQ(record->size_bytes, manifest.total_size_bytes());
  EXPECT_EQ(read_text(record->model_path), "weights");
  EXPECT_EQ(record->config.quantization, "Q4_K_M");
  EXPECT_EQ(record->texts.chat_template, "{{ .Prompt }}");
  EXPECT_EQ(record->texts.system, "Be brief.");
  EXPECT_EQ(record->texts.params_json, "{\"stop\":[\"<|im_end|>\"]}\n");
  EXPECT_EQ(record->texts.messages_json, "[{\"role\":\"user\",\"content\":\"hi\"}]\n");
  EXPECT_EQ(record->texts.licenses, (std::vector<std::string>{"Licence one", "Licence two"}));
}

TEST_F(StoreLayout, FindsNamesWithoutCaseAndKeepsTheirSpelling) {
  add_ollama_model("hf.co/User/Model-GGUF/Q4_K_M", "weights");
  const auto record = store().find(ModelName::parse("HF.co/user/model-gguf:q4_k_m"));
  ASSERT_TRUE(record);
  EXPECT_EQ(record->name.full_name(), "hf.co/User/Model-GGUF:Q4_K_M");
}

TEST_F(StoreLayout, GetSaysWhatWasNotFoundAsItWasWritten) {
  try {
    store().get("Nope");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
    EXPECT_STREQ(error.what(), "model 'Nope' not found");
  }
  EXPECT_EQ(code_of([&] { store().get("../x"); }), ErrorCode::kInvalidArgument);
}

TEST_F(StoreLayout, ListsNewestFirstAndReportsWhatIsBroken) {
  add_ollama_model("registry.ollama.ai/library/old/latest", "a");
  add_ollama_model("registry.ollama.ai/library/new/latest", "b");
  write_text(root() / "manifests/registry.ollama.ai/library/broken/latest", "{not json");
  write_text(root() / "manifests/registry.ollama.ai/library/.hidden/latest", "{}");
  write_text(root() / "manifests/registry.ollama.ai/library/deep/er/still", "{}");
  write_text(root() / "manifests/stray-file", "x");
  const fs::path pipe = root() / "manifests/registry.ollama.ai/library/pipe/latest";
  fs::create_directories(pipe.parent_path());
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const auto now = fs::file_time_type::clock::now();
  fs::last_write_time(root() / "manifests/registry.ollama.ai/library/old/latest",
                      now - std::chrono::hours(1));
  const ModelList list = store().list();
  ASSERT_EQ(list.models.size(), 2u);
  EXPECT_EQ(list.models[0].name.short_name(), "new:latest");
  EXPECT_EQ(list.models[1].name.short_name(), "old:latest");
  ASSERT_EQ(list.problems.size(), 1u);
  EXPECT_NE(list.problems[0].path.find("broken"), std::string::npos);
  EXPECT_EQ(code_of([&] { store().find(ModelName::parse("broken")); }), ErrorCode::kCorruptData);
}

TEST_F(StoreLayout, MissingBlobsAreNamed) {
  const Manifest manifest = add_ollama_model("registry.ollama.ai/library/x/latest", "weights");
  fs::remove(store().blob_path(manifest.layers[0].digest));
  try {
    store().get("x");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
    EXPECT_NE(std::string(error.what()).find(manifest.layers[0].digest.file_name()),
              std::string::npos);
  }
}

TEST_F(StoreLayout, UsesBlobsWithOldNames) {
  const Manifest manifest = add_ollama_model("registry.ollama.ai/library/x/latest", "weights");
  const Digest& digest = manifest.layers[0].digest;
  fs::rename(root() / "blobs" / digest.file_name(), root() / "blobs" / digest.text());
  EXPECT_EQ(read_text(store().get("x").model_path), "weights");
}

TEST_F(StoreLayout, RemoveKeepsWhatOthersUse) {
  const Manifest first = add_ollama_model("registry.ollama.ai/library/a/latest", "weights a");
  const Manifest second = add_ollama_model("registry.ollama.ai/library/b/latest", "weights b");
  Store store = this->store();
  const RemoveResult result = store.remove(ModelName::parse("A"));
  EXPECT_EQ(result.num_blobs_removed, 1);
  EXPECT_EQ(result.freed_bytes, 9u);
  EXPECT_FALSE(fs::exists(root() / "manifests/registry.ollama.ai/library/a"));
  EXPECT_TRUE(store.find(ModelName::parse("b")));
  EXPECT_FALSE(fs::exists(store.blob_path(first.layers[0].digest)));
  EXPECT_EQ(code_of([&] { store.remove(ModelName::parse("a")); }), ErrorCode::kNotFound);
  EXPECT_GT(store.remove(ModelName::parse("b")).num_blobs_removed, 5);
  EXPECT_TRUE(files().empty());
  EXPECT_FALSE(fs::exists(root() / "manifests/registry.ollama.ai"));
}

TEST_F(StoreLayout, RemoveKeepsBlobsWhileAManifestIsUnreadable) {
  const Manifest manifest = add_ollama_model("registry.ollama.ai/library/a/latest", "weights");
  write_text(root() / "manifests/registry.ollama.ai/library/broken/latest", "");
  Store store = this->store();
  EXPECT_EQ(store.remove(ModelName::parse("a")).num_blobs_removed, 0);
  EXPECT_TRUE(fs::exists(store.blob_path(manifest.layers[0].digest)));
  store.remove(ModelName::parse("broken"));
  EXPECT_TRUE(store.list().problems.empty());
}

TEST_F(StoreLayout, RemovingALinkedBlobKeepsItsTarget) {
  write_text(folder_ / "precious.gguf", "weights");
  const Manifest manifest = add_ollama_model("registry.ollama.ai/library/a/latest", "weights");
  const std::string blob = store().blob_path(manifest.layers[0].digest);
  fs::remove(blob);
  fs::create_symlink(folder_ / "precious.gguf", blob);
  EXPECT_EQ(read_text(store().get("a").model_path), "weights");
  store().remove(ModelName::parse("a"));
  EXPECT_EQ(read_text(folder_ / "precious.gguf"), "weights");
}

TEST_F(StoreLayout, RemovesOnlyStaleTemporaryFiles) {
  write_text(root() / "blobs/sluice-tmp-old", "x");
  write_text(root() / "blobs/sluice-tmp-new", "x");
  write_text(root() / "blobs/sha256-other", "x");
  const auto now = fs::file_time_type::clock::now();
  fs::last_write_time(root() / "blobs/sluice-tmp-old", now - std::chrono::hours(2));
  fs::last_write_time(root() / "blobs/sha256-other", now - std::chrono::hours(2));
  EXPECT_EQ(store().remove_stale_files(), 1);
  EXPECT_EQ(files(), (std::set<std::string>{"blobs/sha256-other", "blobs/sluice-tmp-new"}));
}

TEST_F(StoreLayout, ACopyIsASecondNameOfTheSameBlobs) {
  const Manifest manifest = add_ollama_model("registry.ollama.ai/library/a/latest", "weights");
  const Manifest old = add_ollama_model("registry.ollama.ai/library/B/latest", "old weights");
  Store store = this->store();
  store.copy(ModelName::parse("A"), ModelName::parse("me/c:1"));
  EXPECT_EQ(store.get("me/c:1").digest, store.get("a").digest);
  store.copy(ModelName::parse("a"), ModelName::parse("b"));  // replaces what had that name
  EXPECT_EQ(store.get("b").name.model, "B");
  EXPECT_EQ(read_text(store.get("b").model_path), "weights");
  EXPECT_FALSE(fs::exists(store.blob_path(old.layers[0].digest)));
  store.copy(ModelName::parse("a"), ModelName::parse("A"));  // onto itself
  store.remove(ModelName::parse("a"));
  EXPECT_TRUE(fs::exists(store.blob_path(manifest.layers[0].digest)));
  EXPECT_EQ(code_of([&] { store.copy(ModelName::parse("a"), ModelName::parse("d")); }),
            ErrorCode::kNotFound);
  write_text(root() / "manifests/registry.ollama.ai/library/bad/latest", "{");
  EXPECT_EQ(code_of([&] { store.copy(ModelName::parse("bad"), ModelName::parse("d")); }),
            ErrorCode::kCorruptData);
  EXPECT_FALSE(store.find(ModelName::parse("d")));
}

TEST_F(StoreLayout, RemovesWhatIsBrokenOrMissing) {
  const std::string folder = (root() / "manifests/registry.ollama.ai/library").string();
  const Manifest no_config = add_ollama_model("registry.ollama.ai/library/a/latest", "weights a");
  fs::remove(store().blob_path(no_config.config.digest));
  const Manifest no_weights = add_ollama_model("registry.ollama.ai/library/b/latest", "weights b");
  fs::remove(store().blob_path(no_weights.layers[0].digest));
  write_text(folder + "/c/latest", "{not json");
  write_text(folder + "/d/latest", std::string(5 << 20, ' '));
  Store store = this->store();
  for (const char* name : {"c", "d", "a", "b"}) {
    store.remove(ModelName::parse(name));
    EXPECT_FALSE(store.find(ModelName::parse(name))) << name;
  }
  EXPECT_TRUE(files().empty());
}

TEST_F(StoreLayout, ADamagedLayerIsNamed) {
  for (const size_t layer : {size_t{0}, size_t{1}, size_t{3}, size_t{99}}) {
    const Manifest manifest = add_ollama_model("registry.ollama.ai/library/x/latest", "weights");
    const Digest& digest = layer == 99 ? manifest.config.digest : manifest.layers[layer].digest;
    const fs::path blob = store().blob_path(digest);
    fs::resize_file(blob, fs::file_size(blob) - 1);
    try {
      store().get("x");
      ADD_FAILURE() << layer;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruptData);
      EXPECT_NE(std::string(error.what()).find(digest.file_name()), std::string::npos)
          << error.what();
    }
  }
}

TEST_F(StoreLayout, TheTextsOfOneModelAreBoundedTogether) {
  Manifest manifest = add_ollama_model("registry.ollama.ai/library/x/latest", "weights");
  const Layer license = add_blob(kLicenseLayer, std::string(6 << 20, 'x'));
  for (int i = 0; i < 3; ++i) manifest.layers.push_back(license);
  write_text(root() / "manifests/registry.ollama.ai/library/x/latest", encode_manifest(manifest));
  EXPECT_EQ(code_of([&] { store().get("x"); }), ErrorCode::kCorruptData);
  EXPECT_EQ(store().list().models.size(), 1u) << "which does not need them";
}

// As it came: 4 MB of tiny layers, each read into a tree before they were counted.
TEST_F(StoreLayout, AManifestOfAMillionLayersHoldsNobodyUp) {
  add_ollama_model("registry.ollama.ai/library/good/latest", "weights");
  std::string text = "{\"config\":{},\"layers\":[{}";
  while (text.size() < (size_t{4} << 20) - 10) text += ",{}";
  write_text(root() / "manifests/registry.ollama.ai/library/bad/latest", text + "]}");
  const auto start = std::chrono::steady_clock::now();
  const ModelList list = store().list();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
  EXPECT_EQ(list.models.size(), 1u);
  ASSERT_EQ(list.problems.size(), 1u);
  EXPECT_EQ(list.problems[0].name.short_name(), "bad:latest");
  EXPECT_NE(list.problems[0].reason.find("too many"), std::string::npos);
}

TEST_F(StoreLayout, AManifestOfManyMembersIsReadInTime) {
  std::string text = "{";
  for (int i = 0; i < 300'000; ++i) text += "\"" + std::to_string(i) + "\":0,";
  text += "\"config\":0}";
  write_text(root() / "manifests/registry.ollama.ai/library/x/latest", text);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(store().list().problems.size(), 1u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

}  // namespace
}  // namespace sluice::store
