#include "backend/cpu/weights.h"

#include <algorithm>
#include <atomic>
#include <set>
#include <variant>

#include "backend/cpu/first_failure.h"
#include "base/error.h"
#include "quant/codec.h"

namespace sluice::backend::cpu {
namespace {

template <class Function>
void for_each_linear_part(const Program& program, Function f) {
  for (const Op& op : program.ops) {
    if (const auto* linear = std::get_if<Linear>(&op)) {
      for (const LinearPart& part : linear->parts) f(part);
    }
  }
}

// Norms and biases, each once.
std::set<size_t> vector_ids(const Program& program) {
  std::set<size_t> ids;
  const auto add = [&ids](WeightId id) {
    if (id != kNoWeight) ids.insert(static_cast<size_t>(id));
  };
  for_each_linear_part(program, [&](const LinearPart& part) { add(part.bias); });
  for (const Op& op : program.ops) {
    if (const auto* norm = std::get_if<RmsNorm>(&op)) add(norm->weight);
    if (const auto* rope = std::get_if<RopeStore>(&op)) {
      add(rope->q_norm);
      add(rope->k_norm);
    }
  }
  return ids;
}

// What a member reads of a file at a time: it stays in its second-level cache until it is packed.
constexpr size_t kPieceBytes = size_t{256} << 10;

size_t round_up_64(size_t bytes) { return (bytes + 63) / 64 * 64; }

std::vector<float> decode_vector(const Weight& weight) {
  const std::vector<std::byte> bytes = weight.data.read();
  std::vector<float> values(static_cast<size_t>(weight.columns));
  quant::dequantize(weight.type, bytes.data(), values.data(), weight.columns);
  return values;
}

}  // namespace

Weights::Weights(const Program& program) {
  matrices_.resize(program.weights.size());
  tables_.resize(program.weights.size());
  for_each_linear_part(program, [&](const LinearPart& part) {
    const Weight& weight = program.weights[static_cast<size_t>(part.weight)];
    try {
      matrices_[static_cast<size_t>(part.weight)] =
          plan_packing(weight.type, weight.columns, weight.rows);
    } catch (const Error& error) {
      throw Error(error.code(), weight.name + ": " + error.what());
    }
  });
  for (const Op& op : program.ops) {
    const auto* embed = std::get_if<Embed>(&op);
    if (!embed || matrix(embed->table).rows > 0) continue;
    const auto id = static_cast<size_t>(embed->table);
    const Weight& weight = program.weights[id];
    tables_[id] = {weight.type, weight.columns, quant::size_bytes(weight.type, weight.columns),
                   nullptr};
  }
  matrix_bytes_ = place_matrices(program, nullptr);
  for (const size_t id : vector_ids(program)) {
    vector_bytes_ += static_cast<size_t>(program.weights[id].columns) * sizeof(float);
  }
}

void Weights::load(const Program& program, Team& team,
                   const std::function<void(double)>& on_progress) {
  memory_ = HugeBuffer(matrix_bytes_, "the model's weights");
  place_matrices(program, memory_.data());
  load_matrices(program, team, on_progress);
  vectors_.resize(program.weights.size());
  for (const size_t id : vector_ids(program)) vectors_[id] = decode_vector(program.weights[id]);
}

// Says where each one lies in `memory`, or would; returns how much that takes.
size_t Weights::place_matrices(const Program& program, std::byte* memory) {
  size_t total = 0;
  const auto place = [&](size_t bytes) {
    std::byte* at = memory ? memory + total : nullptr;
    total += round_up_64(bytes);
    return at;
  };
  for (size_t id = 0; id < matrices_.size(); ++id) {
    PackedMatrix& packed = matrices_[id];
    Table& table = tables_[id];
    if (packed.rows > 0) packed.data = place(packed.size_bytes());
    if (table.columns > 0) {
      table.data = place(table.row_bytes * static_cast<size_t>(program.weights[id].rows));
    }
  }
  return total;
}

std::vector<Weights::Piece> Weights::pieces(const Program& program) const {
  std::vector<Piece> result;
  for (size_t id = 0; id < matrices_.size(); ++id) {
    if (matrices_[id].rows == 0 && tables_[id].columns == 0) continue;
    const Weight& weight = program.weights[id];
    const size_t group_bytes = kGroupRows * quant::size_bytes(weight.type, weight.columns);
    const auto rows = static_cast<int>(weight.rows);
    const int step = kGroupRows * static_cast<int>(std::max<size_t>(1, kPieceBytes / group_bytes));
    for (int first = 0; first < rows; first += step) {
      result.push_back({id, first, std::min(step, rows - first)});
    }
  }
  return result;
}

void Weights::load_piece(const Weight& weight, const Piece& piece,
                         std::vector<std::byte>& buffer) const {
  const size_t row_bytes = quant::size_bytes(weight.type, weight.columns);
  const size_t offset = static_cast<size_t>(piece.first) * row_bytes;
  const size_t size = static_cast<size_t>(piece.count) * row_bytes;
  if (const Table& table = tables_[piece.id]; table.data) {
    weight.data.read(offset, {table.data + offset, size});
    return;
  }
  buffer.resize(size);
  weight.data.read(offset, buffer);
  const PackedMatrix& packed = matrices_[piece.id];
  for (int row = 0; row < piece.count; row += kGroupRows) {
    pack_group(packed, buffer.data() + static_cast<size_t>(row) * row_bytes,
               (piece.first + row) / kGroupRows);
  }
}

void Weights::load_matrices(const Program& program, Team& team,
                            const std::function<void(double)>& on_progress) {
  const std::vector<Piece> all = pieces(program);
  std::atomic<size_t> num_loaded = 0;
  FirstFailure failure;
  team.run(static_cast<int>(all.size()), [&](Pieces& pieces) {
    std::vector<std::byte> buffer;
    for (const int i : pieces) {
      if (failure.is_there()) continue;
      try {
        const Piece& piece = all[static_cast<size_t>(i)];
        load_piece(program.weights[piece.id], piece, buffer);
        const size_t done = ++num_loaded;
        if (pieces.member() == 0 && on_progress) {
          on_progress(static_cast<double>(done) / static_cast<double>(all.size()));
        }
      } catch (...) {
        failure.take_current();  // phases must not throw
      }
    }
  });
  failure.rethrow();
  if (on_progress) on_progress(1.0);
}

void Weights::embedding(WeightId id, int row, float* values) const {
  const Table& table = tables_[static_cast<size_t>(id)];
  if (table.data) {
    quant::dequantize(table.type, table.data + static_cast<size_t>(row) * table.row_bytes, values,
                      table.columns);
  } else {
    unpack_row(matrix(id), row, values);
  }
}

}  // namespace sluice::backend::cpu
