#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "base/error.h"
#include "store_fixture.h"

namespace sluice::store {
namespace {

using testing::read_text;
using testing::write_gguf;
using testing::write_text;
namespace fs = std::filesystem;

class Import : public testing::StoreTest {
 protected:
  std::string gguf(const std::string& salt, size_t num_values = 64) const {
    return write_gguf(folder_ / (salt + ".gguf"), salt, num_values);
  }
  bool has_temporary_files() const {
    for (const std::string& name : files()) {
      if (name.find("sluice-tmp") != std::string::npos) return true;
    }
    return false;
  }
};

TEST_F(Import, MakesAModelOfAFile) {
  const std::string path = gguf("one");
  std::set<std::string> phases;
  ImportOptions options;
  options.on_progress = [&](const ImportProgress& progress) {
    EXPECT_LE(progress.completed_bytes, progress.total_bytes);
    phases.emplace(progress.phase);
  };
  const ModelRecord record = store().import_gguf(path, ModelName::parse("smollm2:135m"), options);
  EXPECT_EQ(read_text(record.model_path), read_text(path));
  EXPECT_EQ(record.model_path, (root() / "blobs" / sha256(read_text(path)).file_name()).string());
  EXPECT_EQ(record.config.family, "llama");
  EXPECT_EQ(record.config.quantization, "F32");
  EXPECT_EQ(record.config.parameter_size, "64");
  EXPECT_EQ(record.config.context_length, 2048u);
  EXPECT_EQ(store().get("SMOLLM2:135m").digest, record.digest);
  EXPECT_EQ(files().size(), 3u);  // weights, config, manifest
  EXPECT_TRUE(phases.contains("reading GGUF"));
  EXPECT_TRUE(phases.contains("writing manifest"));
  struct stat status {};
  ASSERT_EQ(::stat(record.model_path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0644u);
}

TEST_F(Import, GivesStopStringsToATemplateWhoseMarksAreKnown) {
  const auto params_of = [&](const std::string& chat_template) {
    gguf::Writer writer;
    writer.set_string("general.architecture", "llama");
    writer.set_string("tokenizer.chat_template", chat_template);
    const std::vector<float> values(32, 1.5f);
    writer.add_tensor("token_embd.weight", quant::Type::kF32, {32},
                      std::as_bytes(std::span(values)));
    const std::string path = (folder_ / "templated.gguf").string();
    writer.save(path);
    store().import_gguf(path, ModelName::parse("templated"));
    return store().get("templated").texts.params_json;
  };
  EXPECT_EQ(params_of("{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"),
            R"({"stop":["<|im_start|>","<|im_end|>"]})");
  EXPECT_EQ(params_of("<|start_header_id|>{{ x }}<|end_header_id|>"),
            R"({"stop":["<|start_header_id|>","<|end_header_id|>","<|eot_id|>"]})");
  EXPECT_EQ(params_of("{{ messages[0].content }}"), "");
  EXPECT_EQ(files().size(), 3u);  // the params of before are gone
}

TEST_F(Import, TheSameFileTwiceIsKeptOnce) {
  const std::string path = gguf("one");
  store().import_gguf(path, ModelName::parse("a"));
  const ModelRecord second = store().import_gguf(path, ModelName::parse("b"));
  EXPECT_EQ(files().size(), 4u);
  store().import_gguf(second.model_path, ModelName::parse("c"));  // from the store itself
  EXPECT_EQ(files().size(), 5u);
  EXPECT_EQ(store().list().models.size(), 3u);
}

TEST_F(Import, ReplacesAModelAndItsBlobs) {
  store().import_gguf(gguf("one"), ModelName::parse("Model"));
  const ModelRecord record = store().import_gguf(gguf("two"), ModelName::parse("model"));
  EXPECT_EQ(record.name.model, "Model");
  EXPECT_EQ(store().list().models.size(), 1u);
  EXPECT_EQ(files().size(), 3u);
  EXPECT_EQ(read_text(record.model_path), read_text(folder_ / "two.gguf"));
}

TEST_F(Import, AHardLinkSharesTheBytes) {
  const std::string path = gguf("one");
  ImportOptions options;
  options.hard_link = true;
  const ModelRecord record = store().import_gguf(path, ModelName::parse("a"), options);
  EXPECT_EQ(read_text(record.model_path), read_text(path));
  EXPECT_FALSE(has_temporary_files());
  fs::remove(path);
  EXPECT_FALSE(read_text(record.model_path).empty());
}

TEST_F(Import, ASymbolicLinkIsFollowedNotLinked) {
  const std::string path = gguf("one");
  const std::string link = (folder_ / "link.gguf").string();
  fs::create_symlink(path, link);
  ImportOptions options;
  options.hard_link = true;
  const ModelRecord record = store().import_gguf(link, ModelName::parse("a"), options);
  EXPECT_FALSE(fs::is_symlink(record.model_path));
}

TEST_F(Import, RepairsADamagedBlobOfTheSameSize) {
  const std::string path = gguf("one");
  const ModelRecord first = store().import_gguf(path, ModelName::parse("a"));
  std::string damaged = read_text(path);
  damaged.back() = static_cast<char>(damaged.back() + 1);
  const std::string config = store().blob_path(first.manifest.config.digest);
  write_text(first.model_path, damaged);
  write_text(config, std::string(fs::file_size(config), '{'));
  store().import_gguf(path, ModelName::parse("a"));
  EXPECT_EQ(read_text(first.model_path), read_text(path));
  EXPECT_EQ(store().get("a").config.family, "llama");
  EXPECT_FALSE(has_temporary_files());
}

TEST_F(Import, AHardLinkOfTheBlobItselfLeavesNoSecondName) {
  const ModelRecord first = store().import_gguf(gguf("one"), ModelName::parse("a"));
  const std::string outside = (folder_ / "outside.gguf").string();
  fs::create_hard_link(first.model_path, outside);
  fs::resize_file(first.model_path, fs::file_size(outside));
  ImportOptions options;
  options.hard_link = true;
  store().import_gguf(outside, ModelName::parse("b"), options);
  EXPECT_FALSE(has_temporary_files());
}

TEST_F(Import, RefusesBadFilesAndWritesNothing) {
  write_text(folder_ / "empty", "");
  write_text(folder_ / "magic", "GGUF");
  write_text(folder_ / "text", std::string(5000, 'x'));
  const std::string whole = read_text(gguf("one"));
  write_text(folder_ / "cut", whole.substr(0, whole.size() - 40));
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  for (const char* name : {"empty", "magic", "text", "cut", "missing", ".", "pipe"}) {
    EXPECT_THROW(store().import_gguf((folder_ / name).string(), ModelName::parse("x")), Error)
        << name;
  }
  EXPECT_TRUE(files().empty());
}

TEST_F(Import, AnEndedImportLeavesNothing) {
  const std::string path = gguf("one", 3'000'000);
  for (const std::string_view phase : {"copying", "hashing", "writing manifest"}) {
    ImportOptions options;
    options.hard_link = phase == "hashing";
    options.on_progress = [phase](const ImportProgress& progress) {
      if (progress.phase == phase) throw Error(ErrorCode::kCancelled, "stopped");
    };
    EXPECT_THROW(store().import_gguf(path, ModelName::parse("x"), options), Error) << phase;
    EXPECT_TRUE(files().empty()) << phase;
  }
}

TEST_F(Import, ManyAtOnceOfOneFileAgree) {
  const std::string path = gguf("one", 1'000'000);
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      Store own = store();
      own.import_gguf(path, ModelName::parse("m:" + std::to_string(i)));
      if (i % 4 == 3) own.remove(ModelName::parse("m:" + std::to_string(i)));
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  const ModelList list = store().list();
  EXPECT_TRUE(list.problems.empty());
  EXPECT_EQ(list.models.size(), 6u);
  for (const ModelRecord& record : list.models) {
    EXPECT_EQ(sha256_file(record.model_path), sha256_file(path));
  }
  EXPECT_FALSE(has_temporary_files());
}

// Runs `body` in a child process that is killed after `delay`; returns whether it ended by itself.
template <typename Body>
bool run_and_kill(std::chrono::microseconds delay, Body body) {
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      body();
    } catch (...) {
      ::_exit(1);
    }
    ::_exit(0);
  }
  std::this_thread::sleep_for(delay);
  ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status);
}

TEST_F(Import, AKillAtAnyMomentLeavesTheStoreWhole) {
  const std::string first = gguf("first", 500'000);
  const std::string second = gguf("second", 500'000);
  store().import_gguf(first, ModelName::parse("m"));
  const Digest before = sha256_file(first);
  const Digest after = sha256_file(second);
  for (int step = 0; step < 30; ++step) {
    run_and_kill(std::chrono::microseconds(step * 400),
                 [&] { store().import_gguf(second, ModelName::parse("m")); });
    const ModelList list = store().list();
    ASSERT_TRUE(list.problems.empty());
    ASSERT_EQ(list.models.size(), 1u);
    const Digest digest = sha256_file(store().get("m").model_path);
    EXPECT_TRUE(digest == before || digest == after);
    store().import_gguf(first, ModelName::parse("m"));  // the lock is free again
    store().remove_stale_files(std::chrono::seconds(-1));
    // A kill between two renames may leave a whole blob that nothing names yet.
    EXPECT_LE(files().size(), 5u);
  }
}

// Runs in a child, so that the limit does not stay; the exit status tells.
TEST_F(Import, AFileSizeLimitIsToldAndLeavesNothing) {
  const std::string path = gguf("one", 100'000);
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {100'000, 100'000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      store().import_gguf(path, ModelName::parse("x"));
    } catch (const Error& error) {
      ::_exit(error.code() == ErrorCode::kNoSpace ? 7 : 2);
    }
    ::_exit(1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 7);
  EXPECT_TRUE(files().empty());
}

TEST_F(Import, AFullDiskIsToldAndLeavesNothing) {
  fs::create_directories(root());
  if (::mount("tmpfs", root().c_str(), "tmpfs", 0, "size=1m") != 0) {
    GTEST_SKIP() << "needs the right to mount a small file system";
  }
  const std::string path = gguf("one", 1'000'000);
  std::string message;
  ErrorCode code = ErrorCode::kInternal;
  try {
    store().import_gguf(path, ModelName::parse("x"));
  } catch (const Error& error) {
    code = error.code();
    message = error.what();
  }
  const auto left = files();
  // And one that fits but for the config and the manifest.
  ErrorCode second_code = ErrorCode::kInternal;
  try {
    write_text(root() / "filler", std::string((1 << 20) - 12'288, 'x'));
    store().import_gguf(gguf("two", 2'000), ModelName::parse("y"));
  } catch (const Error& error) {
    second_code = error.code();
  }
  const auto left_second = files();
  ::umount(root().c_str());
  EXPECT_EQ(code, ErrorCode::kNoSpace);
  EXPECT_NE(message.find("4.0 MB needed"), std::string::npos) << message;
  EXPECT_TRUE(left.empty());
  EXPECT_EQ(second_code, ErrorCode::kNoSpace);
  EXPECT_EQ(left_second, std::set<std::string>{"filler"});
}

TEST_F(Import, DescribesARealModel) {
  const char* models = std::getenv("SLUICE_TEST_MODELS");
  if (models == nullptr) GTEST_SKIP() << "SLUICE_TEST_MODELS names no folder of models";
  const std::string path = std::string(models) + "/smollm2-135m-q4_1.gguf";
  if (!fs::exists(path)) GTEST_SKIP() << "there is no smollm2-135m-q4_1.gguf";
  const ModelRecord record = store().import_gguf(path, ModelName::parse("smollm2:135m"));
  EXPECT_EQ(record.config.family, "llama");
  EXPECT_EQ(record.config.parameter_size, "134.52M");
  EXPECT_EQ(record.config.quantization, "Q4_1");
  EXPECT_EQ(record.config.context_length, 8192u);
  EXPECT_EQ(record.config.embedding_length, 576u);
  EXPECT_EQ(sha256_file(record.model_path), sha256_file(path));
}

}  // namespace
}  // namespace sluice::store
