#include "backend/check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"

namespace sluice::backend {
namespace {

constexpr int kCheckedBlocks = 4;
const std::vector<int32_t> kTable = {2, 0};

Batch good_batch() {
  Batch batch;
  batch.tokens = {1, 2, 3, 4};
  batch.sequences = {{0, 3, 17, kTable}, {3, 1, 0, kTable}};
  batch.logit_rows = {2, 3};
  return batch;
}

std::string check(const Batch& batch) {
  Program program;
  program.vocab_size = 10;
  LoadOptions options;
  options.max_batch_tokens = 4;
  options.max_logit_rows = 2;
  try {
    check_batch(batch, program, options, kCheckedBlocks);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(CacheType, NamesOfThoseThatBackendsHave) {
  for (const char* name : {"f16", "q8_0"}) EXPECT_EQ(cache_type_name(parse_cache_type(name)), name);
  EXPECT_THROW(parse_cache_type("f32"), Error);
  EXPECT_THROW(parse_cache_type(""), Error);
}

TEST(CheckBatch, AcceptsARaggedBatch) { EXPECT_EQ(check(good_batch()), ""); }

TEST(CheckBatch, NamesWhatIsWrong) {
  static const std::vector<int32_t> far_block = {2, kCheckedBlocks}, negative_block = {-1, 0};
  const std::vector<std::pair<std::string, std::function<void(Batch&)>>> cases = {
      {"no tokens", [](Batch& b) { b.clear(); }},
      {"more tokens", [](Batch& b) { b.tokens.push_back(1); }},
      {"vocabulary", [](Batch& b) { b.tokens[1] = 10; }},
      {"vocabulary", [](Batch& b) { b.tokens[1] = -1; }},
      {"belong to no sequence", [](Batch& b) { b.sequences.pop_back(); }},
      {"one behind the other", [](Batch& b) { b.sequences[1].first_token = 2; }},
      {"without tokens", [](Batch& b) { b.sequences[0].num_tokens = 0; }},
      {"negative", [](Batch& b) { b.sequences[0].num_cached = -1; }},
      {"too short", [](Batch& b) { b.sequences[0].num_cached = 30; }},
      {"too short", [](Batch& b) { b.sequences[0].num_cached = 0x7FFFFFFF; }},
      {"out of range", [](Batch& b) { b.sequences[0].block_table = far_block; }},
      {"out of range", [](Batch& b) { b.sequences[1].block_table = negative_block; }},
      {"ascending",
       [](Batch& b) {
         b.logit_rows = {3, 2};
       }},
      {"out of range", [](Batch& b) { b.logit_rows = {4}; }},
      {"more logit rows",
       [](Batch& b) {
         b.logit_rows = {0, 1, 2};
       }},
  };
  for (const auto& [expected, spoil] : cases) {
    Batch batch = good_batch();
    spoil(batch);
    EXPECT_THAT(check(batch), testing::HasSubstr(expected));
  }
}

}  // namespace
}  // namespace sluice::backend
