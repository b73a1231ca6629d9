#include "server/catalog.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "base/error.h"
#include "store/store_fixture.h"

namespace sluice::server {
namespace {

using store::ModelName;
using store::testing::write_gguf;
namespace fs = std::filesystem;

class CatalogTest : public store::testing::StoreTest {
 protected:
  void import(const std::string& salt, const std::string& name) const {
    const std::string path = write_gguf(folder_ / (salt + ".gguf"), salt);
    store().import_gguf(path, ModelName::parse(name));
  }
  Catalog catalog(const std::vector<ExtraModel>& extra = {}) const {
    return Catalog(root().string(), extra);
  }
  // Gives a model of the store a params layer.
  void set_params(const std::string& name, const std::string& json) const {
    const store::ModelRecord record = store().get(name);
    store::Manifest manifest = record.manifest;
    std::erase_if(manifest.layers, [](const store::Layer& layer) {
      return layer.media_type == store::kParamsLayer;
    });
    manifest.layers.push_back(add_blob(store::kParamsLayer, json));
    store::testing::write_text(root() / "manifests" / record.name.relative_path(),
                               store::encode_manifest(manifest));
  }
  static ErrorCode error_of(const Catalog& catalog, const std::string& name) {
    try {
      catalog.get(name);
    } catch (const Error& error) {
      return error.code();
    }
    ADD_FAILURE() << name << " was found";
    return ErrorCode::kInternal;
  }
};

TEST_F(CatalogTest, AModelIsReadOnceAndShared) {
  import("one", "m");
  const Catalog models = catalog();
  const SharedRecord first = models.get("m");
  EXPECT_EQ(models.get("m"), first);
  EXPECT_EQ(models.get("m:latest"), first);
  EXPECT_EQ(models.get("M")->digest, first->digest);  // has no manifest of this spelling
}

TEST_F(CatalogTest, ANewVersionIsSeenAtOnce) {
  import("one", "m");
  const Catalog models = catalog();
  const SharedRecord first = models.get("m");
  import("two", "m");
  const SharedRecord second = models.get("m");
  EXPECT_NE(second->digest, first->digest);
  EXPECT_EQ(second->model_path, store().get("m").model_path);
  EXPECT_EQ(models.get("m"), second);
}

TEST_F(CatalogTest, OptionsAreReadWithTheModel) {
  import("one", "m");
  set_params("m", R"({"num_ctx":1234,"stop":["x"]})");
  const Catalog models = catalog();
  EXPECT_EQ(models.get("m")->options.num_ctx, 1234);
  EXPECT_EQ(models.get("m"), models.get("m"));
  set_params("m", R"({"num_ctx":"many"})");
  EXPECT_EQ(error_of(models, "m"), ErrorCode::kCorruptData);
  set_params("m", R"({"num_ctx":99})");
  EXPECT_EQ(models.get("m")->options.num_ctx, 99);
}

TEST_F(CatalogTest, WhatIsGoneIsNotFound) {
  import("one", "m");
  import("two", "n");
  Catalog models = catalog();
  models.get("m");
  models.get("n");
  models.remove("m");
  EXPECT_EQ(error_of(models, "m"), ErrorCode::kNotFound);
  fs::remove(store().get("n").model_path);
  EXPECT_EQ(error_of(models, "n"), ErrorCode::kNotFound);
  EXPECT_EQ(error_of(models, "../n"), ErrorCode::kInvalidArgument);
}

TEST_F(CatalogTest, WhatIsBrokenIsToldBesideTheRestAndCanBeRemoved) {
  import("one", "m");
  import("two", "n");
  const fs::path manifest = root() / "manifests/registry.ollama.ai/library/m/latest";
  std::ofstream(manifest) << "{not json";
  Catalog models = catalog();
  const store::ModelList list = models.list();
  ASSERT_EQ(list.models.size(), 1u);
  ASSERT_EQ(list.problems.size(), 1u);
  EXPECT_EQ(list.problems[0].name.short_name(), "m:latest");
  EXPECT_EQ(error_of(models, "m"), ErrorCode::kCorruptData);
  EXPECT_NO_THROW(models.get("n"));
  models.remove("m");
  EXPECT_EQ(error_of(models, "m"), ErrorCode::kNotFound);
  EXPECT_TRUE(models.list().problems.empty());
}

TEST_F(CatalogTest, AnExtraModelMustBeARegularFile) {
  const std::string pipe = (folder_ / "pipe").string();
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  for (const std::string& path : {pipe, folder_.string(), folder_.string() + "/missing"}) {
    EXPECT_THROW(catalog({{"m", path}}), Error) << path;
  }
}

TEST_F(CatalogTest, AnExtraModelHidesTheStoresOfThatName) {
  import("one", "m");
  const std::string path = write_gguf(folder_ / "extra.gguf", "extra");
  const Catalog models = catalog({{"m", path}});
  EXPECT_EQ(models.get("m")->model_path, path);
  EXPECT_EQ(models.get("M:latest"), models.get("m"));
}

}  // namespace
}  // namespace sluice::server
