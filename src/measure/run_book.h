#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "database/database.h"

// The load tests that were run, in a file: to look at again and to compare.
namespace sluice::measure {

constexpr int kMostRuns = 1000;  // older ones make room
// Whole documents are large: of older runs the lines alone stay.
constexpr int64_t kMostDocumentBytes = int64_t{256} << 20;  // of all runs together
constexpr int64_t kLargestDocument = int64_t{64} << 20;

struct RunFacts {
  int64_t id = 0;
  std::chrono::system_clock::time_point started;
  std::string test;  // "mixed", "output", ...
  std::string model;
  std::string url;
  std::string text;           // what was printed
  std::string lines;          // the table's lines as JSON, as in --json without the requests
  std::string document = {};  // what --json writes; "": not kept (any longer)
};

// What a report is made of (run.h): the document, or one with the lines alone.
std::string document_of(const RunFacts& run);

// Used by one thread; several processes may have the file open. Throws what Database throws, and
// kCorruptData for a file of a later version.
class RunBook {
 public:
  RunBook(const std::string& path, database::Database::Mode mode);

  int64_t add(const RunFacts& run);  // returns its id
  std::vector<RunFacts> list();      // the newest first: without texts, lines and documents
  RunFacts get(int64_t id);          // Throws Error(kNotFound).
  RunFacts last();                   // the same, when there is none

 private:
  void keep_document(int64_t id, const std::string& document);

  database::Database database_;
};

// One figure of two runs on the same load.
struct Comparison {
  std::string load;    // "16 clients", "output, 100 words, 4 at a time"
  std::string figure;  // "TTFT, ms"
  double before = 0;
  double after = 0;
  double ratio = 0;  // after / before
  // Half of the ratio's 95% confidence interval, from the scatter of the requests; NaN where there
  // is none to be had (totals of a line, lines of one request).
  double noise = 0;

  bool is_beyond_noise() const;
};
// Of the loads that both have, in the order of the first. Throws Error(kCorruptData) for lines that
// are none.
std::vector<Comparison> compare_runs(const RunFacts& before, const RunFacts& after);
std::string comparison_text(const RunFacts& before, const RunFacts& after);

}  // namespace sluice::measure
