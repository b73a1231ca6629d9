#include "backend/cpu/weights.h"

#include <algorithm>
#include <variant>

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

std::vector<float> decode_vector(const Weight& weight) {
  std::vector<float> values(static_cast<size_t>(weight.columns));
  quant::dequantize(weight.type, weight.data.data(), values.data(), weight.columns);
  return values;
}

}  // namespace

Weights::Weights(const Program& program, Team& team,
                 const std::function<void(double)>& on_progress) {
  plan(program);
  pack(program, team, on_progress);
  vectors_.resize(program.weights.size());
  const auto decode = [&](WeightId id) {
    if (id == kNoWeight) return;
    std::vector<float>& values = vectors_[static_cast<size_t>(id)];
    if (!values.empty()) return;
    values = decode_vector(program.weights[static_cast<size_t>(id)]);
    size_bytes_ += values.size() * sizeof(float);
  };
  for_each_linear_part(program, [&](const LinearPart& part) { decode(part.bias); });
  for (const Op& op : program.ops) {
    if (const auto* norm = std::get_if<RmsNorm>(&op)) decode(norm->weight);
    if (const auto* rope = std::get_if<RopeStore>(&op)) {
      decode(rope->q_norm);
      decode(rope->k_norm);
    }
  }
}

void Weights::plan(const Program& program) {
  matrices_.resize(program.weights.size());
  for_each_linear_part(program, [&](const LinearPart& part) {
    const Weight& weight = program.weights[static_cast<size_t>(part.weight)];
    try {
      matrices_[static_cast<size_t>(part.weight)] =
          plan_packing(weight.type, weight.columns, weight.rows);
    } catch (const Error& error) {
      throw Error(error.code(), weight.name + ": " + error.what());
    }
  });
  for (const PackedMatrix& matrix : matrices_) size_bytes_ += matrix.size_bytes();
  memory_ = HugeBuffer(size_bytes_, "the model's weights");
  std::byte* next = memory_.data();
  for (PackedMatrix& matrix : matrices_) {
    if (matrix.rows == 0) continue;
    matrix.data = next;
    next += matrix.size_bytes();
  }
}

void Weights::pack(const Program& program, Team& team,
                   const std::function<void(double)>& on_progress) {
  constexpr int kGroupsPerPiece = 8;
  size_t packed_bytes = 0;  // of matrices done
  for (size_t id = 0; id < matrices_.size(); ++id) {
    const PackedMatrix& matrix = matrices_[id];
    if (matrix.rows == 0) continue;
    const std::span<const std::byte> source = program.weights[id].data;
    const int groups = matrix.num_groups();
    team.run((groups + kGroupsPerPiece - 1) / kGroupsPerPiece, [&](Pieces& pieces) {
      for (const int piece : pieces) {
        const int first = piece * kGroupsPerPiece;
        for (int g = first; g < std::min(first + kGroupsPerPiece, groups); ++g) {
          pack_group(matrix, source.data(), g);
        }
      }
    });
    // The bytes are in memory twice now; the file's can go.
    drop_file_pages(source);
    packed_bytes += matrix.size_bytes();
    if (on_progress) {
      on_progress(static_cast<double>(packed_bytes) / static_cast<double>(size_bytes_));
    }
  }
}

}  // namespace sluice::backend::cpu
