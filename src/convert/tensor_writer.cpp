#include "convert/tensor_writer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <mutex>

#include "base/error.h"
#include "base/parallel.h"
#include "base/print.h"
#include "base/target_clones.h"
#include "base/threads.h"
#include "quant/codec.h"

namespace sluice::convert {
namespace {

constexpr int64_t kPieceElements = int64_t{1} << 20;  // of whole blocks of any type

// The largest magnitude; an infinity or NaN is larger than all numbers.
SLUICE_TARGET_CLONES float largest_magnitude(const float* values, size_t count) {
  // As bits, which are ordered as what they mean, NaN above all: integers need no care for it.
  int32_t largest = 0;
  for (size_t i = 0; i < count; ++i) {
    largest = std::max(largest, std::bit_cast<int32_t>(values[i]) & 0x7fffffff);
  }
  return std::bit_cast<float>(largest);
}

// All types but these two count in halves somewhere.
bool is_bound_by_half(quant::Type type) {
  return type != quant::Type::kF32 && type != quant::Type::kBF16;
}

[[noreturn]] void refuse_value(const PlannedTensor& tensor, std::span<const float> values,
                               int64_t first, float limit) {
  const auto bad = std::find_if(values.begin(), values.end(),
                                [limit](float value) { return !(std::fabs(value) <= limit); });
  const std::string place = "tensor " + printable(tensor.name) + " holds ";
  const std::string index = " (value " + std::to_string(first + (bad - values.begin())) + ")";
  if (!std::isfinite(*bad)) {
    throw Error(ErrorCode::kInvalidArgument, place + (std::isnan(*bad) ? "a NaN" : "an infinity") +
                                                 index +
                                                 ": the model is damaged and cannot be converted");
  }
  throw Error(ErrorCode::kInvalidArgument,
              place + "a number too large for " + std::string(quant::type_info(tensor.type).name) +
                  ", " + std::to_string(*bad) + index + "; use bf16 or f32");
}

void check_values(const PlannedTensor& tensor, std::span<const float> values, int64_t first) {
  constexpr float kLargestHalf = 65504.0f;
  constexpr float kLargestBfloat = 0x1.fep127f;
  const float limit = is_bound_by_half(tensor.type)       ? kLargestHalf
                      : tensor.type == quant::Type::kBF16 ? kLargestBfloat
                                                          : std::numeric_limits<float>::max();
  if (!(largest_magnitude(values.data(), values.size()) <= limit)) {
    refuse_value(tensor, values, first, limit);
  }
}

// A part of a tensor that one thread writes.
struct Piece {
  const PlannedTensor* tensor;
  int64_t first, count;  // elements
  uint64_t offset;       // in the file
};

std::vector<Piece> cut(const std::vector<PlannedTensor>& tensors,
                       const std::vector<gguf::Writer::Place>& places) {
  std::vector<Piece> pieces;
  for (size_t i = 0; i < tensors.size(); ++i) {
    int64_t num_elements = 1;
    for (const int64_t size : tensors[i].shape) num_elements *= size;
    for (int64_t first = 0; first < num_elements; first += kPieceElements) {
      const int64_t count = std::min(kPieceElements, num_elements - first);
      const uint64_t offset = quant::size_bytes(tensors[i].type, first);
      pieces.push_back({&tensors[i], first, count, places[i].offset + offset});
    }
  }
  return pieces;
}

// What a thread needs for a piece, kept for the next: the pages of fresh memory took more time than
// to write 16 bits.
struct Scratch {
  std::vector<float> values;
  std::vector<std::byte> bytes;
};

template <typename T>
std::span<T> first_of(std::vector<T>& buffer, size_t count) {
  if (buffer.size() < count) buffer.resize(count);
  return std::span(buffer).first(count);
}

std::span<const std::byte> encode(const Piece& piece, Scratch& scratch) {
  const PlannedTensor& tensor = *piece.tensor;
  const auto bytes = first_of(scratch.bytes, quant::size_bytes(tensor.type, piece.count));
  if (tensor.bytes) {
    tensor.bytes->read(quant::size_bytes(tensor.type, piece.first), bytes);
    return bytes;
  }
  const auto values = first_of(scratch.values, static_cast<size_t>(piece.count));
  tensor.read(piece.first, values);
  check_values(tensor, values, piece.first);
  quant::quantize(tensor.type, values.data(), bytes.data(), piece.count);
  return bytes;
}

}  // namespace

void write_tensors(gguf::Writer head, const std::vector<PlannedTensor>& tensors,
                   store::TemporaryFile& out, const WriteOptions& options) {
  for (const PlannedTensor& tensor : tensors) {
    head.declare_tensor(tensor.name, tensor.type, tensor.shape);
  }
  WriteProgress progress = {0, head.size_bytes()};
  std::mutex mutex;
  const auto report = [&](uint64_t num_bytes) {
    const std::lock_guard lock(mutex);
    progress.completed_bytes += num_bytes;
    if (options.on_progress) options.on_progress(progress);
  };
  out.reserve(progress.total_bytes);
  const std::vector<std::byte> head_bytes = head.head();
  out.write_within(0, head_bytes);
  report(head_bytes.size());
  const std::vector<Piece> pieces = cut(tensors, head.places());
  const int num_threads = options.num_threads > 0 ? options.num_threads : usable_cores();
  parallel_for("convert", num_threads, static_cast<int64_t>(pieces.size()), [&](int64_t i) {
    thread_local Scratch scratch;
    const Piece& piece = pieces[static_cast<size_t>(i)];
    const std::span<const std::byte> bytes = encode(piece, scratch);
    out.write_within(piece.offset, bytes);
    report(bytes.size());
  });
}

}  // namespace sluice::convert
