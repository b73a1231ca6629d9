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

void check_rows(const std::vector<int32_t>& rows, int num_tokens, const std::string& kind) {
  int previous = -1;
  for (const int32_t row : rows) {
    if (row <= previous || row >= num_tokens) fail(kind + " rows not ascending or out of range");
    previous = row;
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
  if (static_cast<int>(batch.embedding_rows.size()) > options.max_embedding_rows) {
    fail("more embedding rows than max_embedding_rows");
  }
  for (const int32_t token : batch.tokens) {
    if (token < 0 || token >= program.vocab_size) {
      fail("token id " + std::to_string(token) + " is not in the vocabulary");
    }
  }
  const auto* receive = program.ops.empty() ? nullptr : std::get_if<Receive>(&program.ops.front());
  if (receive) {
    const auto width =
        static_cast<size_t>(program.buffers[static_cast<size_t>(receive->out)].width);
    if (batch.received.size() != batch.tokens.size() * width) fail("not all rows were received");
  }
  int expected_first = 0;
  for (const BatchSequence& sequence : batch.sequences) {
    check_sequence(sequence, expected_first, num_blocks);
    expected_first += sequence.num_tokens;
  }
  if (expected_first != num_tokens) fail("tokens that belong to no sequence");
  if (!batch.samplings.empty() && batch.samplings.size() != batch.logit_rows.size()) {
    fail("samplings of some rows only");
  }
  check_rows(batch.logit_rows, num_tokens, "logit");
  check_rows(batch.embedding_rows, num_tokens, "embedding");
}

size_t count_rows(RowKind kind, const Batch& batch) {
  switch (kind) {
    case RowKind::kTokens:
      return batch.tokens.size();
    case RowKind::kOutputs:
      return batch.num_output_rows();
    case RowKind::kLogits:
      return batch.logit_rows.size();
  }
  return 0;
}

int max_rows(RowKind kind, const LoadOptions& options) {
  switch (kind) {
    case RowKind::kTokens:
      return options.max_batch_tokens;
    case RowKind::kOutputs:
      return options.max_logit_rows + options.max_embedding_rows;
    case RowKind::kLogits:
      return options.max_logit_rows;
  }
  return 0;
}

std::string_view cache_type_name(CacheType type) {
  switch (type) {
    case CacheType::kF16:
      return "f16";
    case CacheType::kQ8_0:
      return "q8_0";
  }
  return "";
}

CacheType parse_cache_type(std::string_view name) {
  for (const CacheType type : {CacheType::kF16, CacheType::kQ8_0}) {
    if (name == cache_type_name(type)) return type;
  }
  throw Error(ErrorCode::kInvalidArgument,
              "the cache type \"" + std::string(name) + "\" is not known: use f16 or q8_0");
}

}  // namespace sluice::backend
