#include "backend/check.h"

#include <string>

#include "base/error.h"

namespace sluice::backend {
namespace {

[[noreturn]] void fail(const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, "batch: " + what);
}

void check_sequence(const BatchSequence& sequence, int expected_first, int num_blocks) {
  if (sequence.first_token != expected_first) fail("sequences are not one behind the other");
  if (sequence.num_tokens < 1) fail("a sequence without tokens");
  if (sequence.num_cached < 0) fail("a negative number of cached tokens");
  const int64_t length = int64_t{sequence.num_cached} + sequence.num_tokens;
  const size_t blocks_needed = static_cast<size_t>(blocks_for_tokens(length));
  if (sequence.block_table.size() < blocks_needed) fail("a block table that is too short");
  for (size_t i = 0; i < blocks_needed; ++i) {
    const int32_t block = sequence.block_table[i];
    if (block < 0 || block >= num_blocks) fail("block " + std::to_string(block) + " out of range");
  }
}

}  // namespace

void check_batch(const Batch& batch, const Program& program, const LoadOptions& options,
                 int num_blocks) {
  const int num_tokens = static_cast<int>(batch.tokens.size());
  if (num_tokens == 0) fail("no tokens");
  if (num_tokens > options.max_batch_tokens) fail("more tokens than max_batch_tokens");
  if (static_cast<int>(batch.logit_rows.size()) > options.max_logit_rows) {
    fail("more logit rows than max_logit_rows");
  }
  for (const int32_t token : batch.tokens) {
    if (token < 0 || token >= program.vocab_size) {
      fail("token id " + std::to_string(token) + " is not in the vocabulary");
    }
  }
  int expected_first = 0;
  for (const BatchSequence& sequence : batch.sequences) {
    check_sequence(sequence, expected_first, num_blocks);
    expected_first += sequence.num_tokens;
  }
  if (expected_first != num_tokens) fail("tokens that belong to no sequence");
  int previous = -1;
  for (const int32_t row : batch.logit_rows) {
    if (row <= previous || row >= num_tokens) fail("logit rows not ascending or out of range");
    previous = row;
  }
}

}  // namespace sluice::backend
