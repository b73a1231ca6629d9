#include "backend/cpu/program_check.h"

#include <string>

#include "base/error.h"

namespace sluice::backend::cpu {
namespace {

[[noreturn]] void fail(const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, "program: " + what);
}

class Checker {
 public:
  Checker(const Program& program) : program_(program) {}

  void operator()(const Embed& op) const {
    const Weight& table = weight(op.table);
    width(op.out, table.columns);
    if (table.rows < program_.vocab_size) fail(table.name + " has fewer rows than the vocabulary");
  }
  void operator()(const Receive& op) const {
    if (buffer(op.out).rows != RowKind::kTokens) fail("rows are received for all tokens only");
  }
  void operator()(const RmsNorm& op) const {
    width(op.in, weight(op.weight).columns);
    width(op.out, weight(op.weight).columns);
    same_rows(op.in, op.out);
  }
  void operator()(const Linear& op) const {
    for (const LinearPart& part : op.parts) {
      const Weight& matrix = weight(part.weight);
      width(op.in, matrix.columns);
      width(part.out, matrix.rows);
      const bool is_head =
          buffer(op.in).rows == RowKind::kOutputs && buffer(part.out).rows == RowKind::kLogits;
      if (!is_head) same_rows(op.in, part.out);
      same_rows(op.parts.front().out, part.out);
      if (part.out == op.in) fail(matrix.name + " writes the buffer it reads");
      if (part.bias != kNoWeight && weight(part.bias).columns != matrix.rows) {
        fail(weight(part.bias).name + " does not fit " + matrix.name);
      }
    }
  }
  void operator()(const RopeStore& op) const {
    layer(op.layer);
    if (op.rope < 0 || op.rope >= static_cast<int>(program_.ropes.size())) fail("no such rope");
    const Rope& rope = program_.ropes[static_cast<size_t>(op.rope)];
    if (rope.inverse_frequency.size() * 2 > static_cast<size_t>(program_.head_dim)) {
      fail("more rotated dimensions than a head has");
    }
    width(op.q, int64_t{program_.num_heads} * program_.head_dim);
    width(op.k, int64_t{program_.num_kv_heads} * program_.head_dim);
    width(op.v, int64_t{program_.num_kv_heads} * program_.head_dim);
    for (WeightId norm : {op.q_norm, op.k_norm}) {
      if (norm != kNoWeight && weight(norm).columns != program_.head_dim) {
        fail(weight(norm).name + " is not as long as a head");
      }
    }
  }
  void operator()(const Attention& op) const {
    layer(op.layer);
    width(op.q, int64_t{program_.num_heads} * program_.head_dim);
    width(op.out, int64_t{program_.num_heads} * program_.head_dim);
    if (op.window < 0) fail("a negative attention window");
  }
  void operator()(const GatedActivation& op) const {
    width(op.up, buffer(op.gate).width);
    width(op.out, buffer(op.gate).width);
    same_rows(op.gate, op.up);
    same_rows(op.gate, op.out);
  }
  void operator()(const GatherRows& op) const {
    width(op.out, buffer(op.in).width);
    if (buffer(op.in).rows != RowKind::kTokens || buffer(op.out).rows != RowKind::kOutputs) {
      fail("rows are gathered from tokens to output rows only");
    }
  }
  void operator()(const SoftCap& op) const {
    buffer(op.buffer);
    if (!(op.cap > 0)) fail("a soft cap that is not positive");
  }

  const Weight& weight(WeightId id) const {
    if (id < 0 || id >= static_cast<int>(program_.weights.size())) fail("no such weight");
    return program_.weights[static_cast<size_t>(id)];
  }
  const Buffer& buffer(BufferId id) const {
    if (id < 0 || id >= static_cast<int>(program_.buffers.size())) fail("no such buffer");
    return program_.buffers[static_cast<size_t>(id)];
  }

 private:
  void width(BufferId id, int64_t expected) const {
    if (buffer(id).width != expected) {
      fail("buffer " + std::to_string(id) + " is " + std::to_string(buffer(id).width) +
           " wide, expected " + std::to_string(expected));
    }
  }
  void same_rows(BufferId a, BufferId b) const {
    if (buffer(a).rows != buffer(b).rows) fail("rows of different kinds mixed");
  }
  void layer(int index) const {
    if (index < 0 || index >= program_.num_layers) fail("no such layer");
  }

  const Program& program_;
};

void check_heads(const Program& program) {
  const bool has_heads = program.num_heads > 0 && program.num_kv_heads > 0 && program.head_dim > 0;
  if (!has_heads || program.num_heads % program.num_kv_heads != 0) {
    fail("attention heads (" + std::to_string(program.num_heads) +
         ") must be a multiple of kv heads (" + std::to_string(program.num_kv_heads) + ")");
  }
  constexpr int kMostDimensions = 1024;
  if (program.head_dim > kMostDimensions) {
    throw Error(ErrorCode::kUnsupported, "heads of " + std::to_string(program.head_dim) +
                                             " dimensions: the CPU backend takes up to " +
                                             std::to_string(kMostDimensions));
  }
}

}  // namespace

void check_program(const Program& program, const LoadOptions& options) {
  if (options.max_batch_tokens < 1 || options.max_logit_rows < 0 ||
      options.max_embedding_rows < 0 || options.max_logit_rows + options.max_embedding_rows < 1) {
    throw Error(ErrorCode::kInvalidArgument,
                "max_batch_tokens and the rows that a step gives must be positive");
  }
  check_heads(program);
  for (const Weight& weight : program.weights) {
    const int64_t block = quant::type_info(weight.type).block_elements;
    if (weight.columns <= 0 || weight.rows <= 0 || weight.columns % block != 0 ||
        weight.data.size() < quant::size_bytes(weight.type, weight.columns * weight.rows)) {
      fail(weight.name + " has less data than its shape needs");
    }
  }
  for (const Buffer& buffer : program.buffers) {
    if (buffer.width <= 0) fail("a buffer without columns");
  }
  const Checker checker(program);
  for (const Op& op : program.ops) std::visit(checker, op);
  const Buffer& logits = checker.buffer(program.logits);
  if (checker.buffer(program.hidden).rows != RowKind::kOutputs) {
    fail("the hidden states are not in a buffer of output rows");
  }
  if (logits.rows != RowKind::kLogits || logits.width != program.vocab_size) {
    fail("the logits' buffer does not have the vocabulary's width");
  }
}

}  // namespace sluice::backend::cpu
