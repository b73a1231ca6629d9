#include "measure/run_book.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "measure/run.h"

namespace sluice::measure {
namespace {

using database::Database;

class RunBookTest : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::remove_all(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  RunBook open() { return RunBook(folder_ + "/runs.db", Database::Mode::kCreate); }

  const std::string folder_ = ::testing::TempDir() + "/sluice_run_book";
};

RunFacts run_of(const std::string& lines) {
  return {.started = std::chrono::system_clock::from_time_t(1'800'000'000),
          .test = "mixed",
          .model = "m",
          .url = "http://127.0.0.1:1",
          .text = "the table",
          .lines = lines};
}

TEST_F(RunBookTest, KeepsRunsForLater) {
  EXPECT_EQ(open().add(run_of("[]")), 1);
  EXPECT_EQ(open().add(run_of("[1]")), 2);
  const auto runs = open().list();
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0].id, 2);
  const RunFacts run = open().get(1);
  EXPECT_EQ(run.text, "the table");
  EXPECT_EQ(run.lines, "[]");
  EXPECT_EQ(run.started, std::chrono::system_clock::from_time_t(1'800'000'000));
  EXPECT_THROW(open().get(3), Error);
}

TEST_F(RunBookTest, KeepsDocumentsWhileThereIsRoom) {
  RunBook book = open();
  EXPECT_THROW(book.last(), Error);
  RunFacts run = run_of("[]");
  run.document.assign(static_cast<size_t>(kLargestDocument), 'x');
  for (int i = 0; i < 5; ++i) book.add(run);
  EXPECT_EQ(book.get(1).document, "");
  EXPECT_EQ(book.get(2).document.size(), run.document.size());
  EXPECT_EQ(book.last().id, 5);
  run.document += 'x';
  book.add(run);
  EXPECT_EQ(book.last().document, "");
  EXPECT_EQ(book.get(2).document.size(), run.document.size() - 1);
}

TEST_F(RunBookTest, AFileOfTheFirstLayoutGetsDocuments) {
  {
    Database database(folder_ + "/runs.db", Database::Mode::kCreate);
    database.execute(
        "CREATE TABLE runs (id INTEGER PRIMARY KEY AUTOINCREMENT, started INTEGER NOT NULL, test "
        "TEXT NOT NULL, model TEXT NOT NULL, url TEXT NOT NULL, text TEXT NOT NULL, lines TEXT NOT "
        "NULL); INSERT INTO runs VALUES (7, 1800000000, 'mixed', 'm', 'u', 't', '[]')");
    database.set_layout_version(1);
  }
  EXPECT_EQ(open().get(7).document, "");
  RunFacts run = run_of("[]");
  run.document = "{}";
  EXPECT_EQ(open().add(run), 8);
  EXPECT_EQ(open().last().document, "{}");
}

TEST(RunDocument, OfLinesAlone) {
  RunFacts run = run_of(R"([{"clients":4,"tokens_per_second":100,"num_completed":3}])");
  const LoadRun lasting = parse_run(document_of(run), "run 1");
  ASSERT_EQ(lasting.rows.size(), 1u);
  EXPECT_EQ(lasting.rows[0].users, 4);
  EXPECT_EQ(lasting.model, "m");
  EXPECT_EQ(lasting.started_at, "2027-01-15T08:00:00Z");
  run = run_of(R"([{"test":"output","words":5,"requests_at_a_time":2,"num_requests":6}])");
  const LoadRun waves = parse_run(document_of(run), "run 1");
  ASSERT_EQ(waves.rows.size(), 1u);
  EXPECT_EQ(waves.rows[0].words, 5);
  run.document = "{}";
  EXPECT_EQ(document_of(run), "{}");
}

TEST_F(RunBookTest, OldOnesMakeRoom) {
  RunBook book = open();
  for (int i = 0; i < kMostRuns + 3; ++i) book.add(run_of("[]"));
  EXPECT_EQ(book.list().size(), static_cast<size_t>(kMostRuns));
  EXPECT_THROW(book.get(3), Error);
  EXPECT_EQ(book.get(4).id, 4);
}

constexpr const char* kBefore =
    R"([{"clients":4,"tokens_per_second":100,"ttft_seconds":{"count":100,"mean":0.5,"deviation":0.1}},
        {"clients":8,"tokens_per_second":150}])";
constexpr const char* kAfter =
    R"([{"clients":4,"tokens_per_second":120,"ttft_seconds":{"count":100,"mean":0.51,"deviation":0.1}}])";

TEST_F(RunBookTest, ComparesTheLoadsThatBothHave) {
  const auto comparisons = compare_runs(run_of(kBefore), run_of(kAfter));
  ASSERT_EQ(comparisons.size(), 2u);
  EXPECT_EQ(comparisons[0].load, "4 clients");
  EXPECT_DOUBLE_EQ(comparisons[0].ratio, 1.2);
  EXPECT_TRUE(std::isnan(comparisons[0].noise));
  // Two means of 100 values that scatter by a fifth: each known to 2%.
  EXPECT_DOUBLE_EQ(comparisons[1].before, 500);
  EXPECT_NEAR(comparisons[1].ratio, 1.02, 1e-9);
  EXPECT_NEAR(comparisons[1].noise, 1.96 * 1.02 * std::hypot(0.02, 0.02 / 1.02), 1e-9);
  EXPECT_FALSE(comparisons[1].is_beyond_noise());
  const std::string text = comparison_text(run_of(kBefore), run_of(kAfter));
  EXPECT_NE(text.find("1.200"), std::string::npos);
  EXPECT_NE(text.find("(within the noise)"), std::string::npos);
  EXPECT_EQ(comparison_text(run_of(kBefore), run_of("[]")),
            "The two runs have no load in common.\n");
}

TEST_F(RunBookTest, BrokenFiguresAreAnError) {
  for (const char* lines : {"", "{", "{}", "[1]", "null"}) {
    EXPECT_THROW(compare_runs(run_of(lines), run_of(kAfter)), Error) << lines;
  }
  EXPECT_EQ(
      compare_runs(run_of(R"([{"clients":"x","ttft_seconds":3,"test":5}])"), run_of("[]")).size(),
      0u);
}

}  // namespace
}  // namespace sluice::measure
