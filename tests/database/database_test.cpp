#include "database/database.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "thrown.h"

namespace sluice::database {
namespace {

using test::code_of;

class DatabaseTest : public testing::Test {
 protected:
  DatabaseTest() { std::filesystem::remove_all(folder_); }
  ~DatabaseTest() override { std::filesystem::remove_all(folder_); }

  const std::string folder_ = testing::TempDir() + "/sluice_database_test";
  const std::string path_ = folder_ + "/deep/x.db";
};

TEST_F(DatabaseTest, KeepsWhatWasWritten) {
  const std::vector<std::byte> bytes = {std::byte{0}, std::byte{255}};
  {
    Database database(path_, Database::Mode::kCreate);
    database.execute("CREATE TABLE t (number INTEGER, words TEXT, bytes BLOB)");
    Statement insert = database.prepare("INSERT INTO t VALUES (?1, ?2, ?3)");
    for (int64_t i = 0; i < 3; ++i) {
      insert.bind(1, i << 40).bind(2, "it's \xC3\xA9" + std::to_string(i));
      insert.bind(3, std::span<const std::byte>(bytes)).run();
    }
    EXPECT_EQ(database.num_changed_rows(), 1);
  }
  Database database(path_, Database::Mode::kExisting);
  Statement rows = database.prepare("SELECT number, words, bytes, NULL FROM t ORDER BY number");
  for (int64_t i = 0; i < 3; ++i) {
    ASSERT_TRUE(rows.next());
    EXPECT_EQ(rows.integer(0), i << 40);
    EXPECT_EQ(rows.text(1), "it's \xC3\xA9" + std::to_string(i));
    EXPECT_EQ(rows.bytes(2), bytes);
    EXPECT_TRUE(rows.is_null(3));
    EXPECT_FALSE(rows.is_null(2));
  }
  EXPECT_FALSE(rows.next());
}

TEST_F(DatabaseTest, IsForItsOwnersEyes) {
  Database database(path_, Database::Mode::kCreate);
  database.execute("CREATE TABLE t (x)");
  for (const char* suffix : {"", "-wal", "-shm"}) {
    struct stat info {};
    ASSERT_EQ(::stat((path_ + suffix).c_str(), &info), 0) << suffix;
    EXPECT_EQ(info.st_mode & 0777, 0600u) << suffix;
  }
}

TEST_F(DatabaseTest, ATransactionIsAllOrNothing) {
  Database database(path_, Database::Mode::kCreate);
  database.execute("CREATE TABLE t (x UNIQUE)");
  const auto count = [&] {
    Statement rows = database.prepare("SELECT count(*) FROM t");
    rows.next();
    return rows.integer(0);
  };
  {
    Transaction transaction(database);
    database.execute("INSERT INTO t VALUES (1)");
  }
  EXPECT_EQ(count(), 0);
  {
    Transaction transaction(database);
    database.execute("INSERT INTO t VALUES (1)");
    transaction.commit();
  }
  EXPECT_EQ(count(), 1);
  EXPECT_EQ(code_of([&] { database.execute("INSERT INTO t VALUES (1)"); }),
            ErrorCode::kAlreadyExists);
}

TEST_F(DatabaseTest, TellsWhatOthersChanged) {
  Database database(path_, Database::Mode::kCreate);
  database.execute("CREATE TABLE t (x)");
  const int64_t before = database.data_version();
  database.execute("INSERT INTO t VALUES (1)");
  EXPECT_EQ(database.data_version(), before);
  Database other(path_, Database::Mode::kExisting);
  other.execute("INSERT INTO t VALUES (2)");
  EXPECT_NE(database.data_version(), before);
}

TEST_F(DatabaseTest, NamesWhatIsWrong) {
  EXPECT_EQ(code_of([&] { Database(path_, Database::Mode::kExisting); }), ErrorCode::kNotFound);
  Database(path_, Database::Mode::kCreate);
  const std::string noise = folder_ + "/noise.db";
  std::ofstream(noise) << std::string(10'000, 'x');
  EXPECT_EQ(code_of([&] { Database(noise, Database::Mode::kCreate); }), ErrorCode::kCorruptData);
  Database database(path_, Database::Mode::kExisting);
  EXPECT_EQ(code_of([&] { database.prepare("SELECT * FROM nowhere"); }), ErrorCode::kInternal);
}

}  // namespace
}  // namespace sluice::database
