#include "backend/cuda/weights.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "backend/cuda/forms.h"
#include "backend/cuda/linear.h"
#include "base/error.h"
#include "base/threads.h"
#include "quant/codec.h"

namespace sluice::backend::cuda {
namespace {

constexpr size_t kAlignment = 256;
size_t round_up(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Rows of a matrix that travel together.
struct PackPiece {
  WeightId weight;
  int64_t first_row, num_rows;
  size_t bytes;
};

constexpr size_t kPieceBytes = size_t{32} << 20;
constexpr int kSlots = 4;
constexpr int kReaders = 4;

// Files are read by a few threads, each a piece at a time into its slot of pinned memory; the
// caller takes the pieces in their order. A slot is given back when the device has copied it.
class PieceReader {
 public:
  PieceReader(const Program& program, const std::vector<PackPiece>& pieces, std::byte* slots,
              size_t slot_bytes)
      : program_(program), pieces_(pieces), slots_(slots), slot_bytes_(slot_bytes) {
    is_filled_.assign(pieces.size(), false);
    const int count = std::min<int>({kReaders, usable_cores(), static_cast<int>(pieces.size())});
    try {
      for (int i = 0; i < count; ++i) threads_.emplace_back([this] { read_pieces(); });
    } catch (const std::system_error&) {  // fewer will do; none has nothing to wait for
      if (threads_.empty()) throw;
    }
  }
  ~PieceReader() {
    {
      const std::lock_guard lock(mutex_);
      is_ending_ = true;
    }
    changed_.notify_all();
  }

  std::byte* slot(size_t piece) const { return slots_ + piece % kSlots * slot_bytes_; }

  // Until piece `index` has been read. Throws what reading it threw.
  void wait_for(size_t index) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return is_filled_[index] || failure_; });
    if (failure_) std::rethrow_exception(failure_);
  }
  // Pieces before `index` lie on the device.
  void give_back(size_t index) {
    {
      const std::lock_guard lock(mutex_);
      num_free_ = index;
    }
    changed_.notify_all();
  }

 private:
  void read_pieces() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] {
        return is_ending_ || failure_ || next_ >= pieces_.size() || next_ < num_free_ + kSlots;
      });
      if (is_ending_ || failure_ || next_ >= pieces_.size()) return;
      const size_t index = next_++;
      lock.unlock();
      std::exception_ptr failure;
      try {
        const PackPiece& piece = pieces_[index];
        const Weight& weight = program_.weights[static_cast<size_t>(piece.weight)];
        const uint64_t offset =
            static_cast<uint64_t>(piece.first_row) * quant::size_bytes(weight.type, weight.columns);
        weight.data.read(offset, {slot(index), piece.bytes});
      } catch (...) {
        failure = std::current_exception();
      }
      lock.lock();
      if (failure && !failure_) failure_ = failure;
      is_filled_[index] = true;
      changed_.notify_all();
    }
  }

  const Program& program_;
  const std::vector<PackPiece>& pieces_;
  std::byte* slots_;
  size_t slot_bytes_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<bool> is_filled_;
  size_t next_ = 0, num_free_ = 0;
  bool is_ending_ = false;
  std::exception_ptr failure_;
  std::vector<std::jthread> threads_;
};

}  // namespace

DeviceWeights::DeviceWeights(const Program& program) {
  entries_.resize(program.weights.size());
  const auto matrix = [&](WeightId id) {
    Entry& entry = entries_[static_cast<size_t>(id)];
    const Weight& weight = program.weights[static_cast<size_t>(id)];
    entry.is_matrix = true;
    try {
      entry.layout = matrix_layout(weight.type, weight.rows, weight.columns);
    } catch (const Error& error) {
      throw Error(error.code(), weight.name + ": " + error.what());
    }
  };
  const auto vector = [&](WeightId id) {
    if (id != kNoWeight) entries_[static_cast<size_t>(id)].is_vector = true;
  };
  for (const Op& op : program.ops) {
    if (const auto* embed = std::get_if<Embed>(&op)) matrix(embed->table);
    if (const auto* norm = std::get_if<RmsNorm>(&op)) vector(norm->weight);
    if (const auto* rope = std::get_if<RopeStore>(&op)) {
      vector(rope->q_norm);
      vector(rope->k_norm);
    }
    if (const auto* linear = std::get_if<Linear>(&op)) {
      for (const LinearPart& part : linear->parts) {
        matrix(part.weight);
        vector(part.bias);
      }
    }
  }
  const auto place = [&](size_t bytes) {
    return std::exchange(total_bytes_, total_bytes_ + round_up(bytes));
  };
  place_pairs(program, place);
  for (size_t id = 0; id < entries_.size(); ++id) {
    Entry& entry = entries_[id];
    if (entry.is_matrix && entry.tile_stride == 0) {
      entry.matrix_place = place(entry.layout.bytes);
      entry.tile_stride = entry.layout.tile_bytes;
    }
    if (entry.is_vector) {
      entry.vector_place = place(static_cast<size_t>(program.weights[id].columns) * sizeof(float));
    }
  }
  for (const Rope& rope : program.ropes) {
    frequency_places_.push_back(place(rope.inverse_frequency.size() * sizeof(float)));
  }
}

// Tiles of a gate and its up take turns where one product has both.
void DeviceWeights::place_pairs(const Program& program,
                                const std::function<size_t(size_t)>& place) {
  const std::vector<bool> is_gated = find_gated_products(program);
  for (size_t i = 0; i < program.ops.size(); ++i) {
    if (!is_gated[i]) continue;
    const auto& parts = std::get<Linear>(program.ops[i]).parts;
    Entry& gate = entries_[static_cast<size_t>(parts[0].weight)];
    Entry& up = entries_[static_cast<size_t>(parts[1].weight)];
    const auto tile_bytes = static_cast<size_t>(gate.layout.tile_bytes);
    gate.tile_stride = up.tile_stride = 2 * gate.layout.tile_bytes;
    gate.matrix_place = place(2 * gate.layout.bytes);
    up.matrix_place = gate.matrix_place + tile_bytes;
  }
}

std::vector<MatrixLayout> DeviceWeights::layouts() const {
  std::vector<MatrixLayout> all;
  for (const Entry& entry : entries_) {
    if (entry.is_matrix) all.push_back(entry.layout);
  }
  return all;
}

void DeviceWeights::load(const Program& program, const Device& device,
                         const std::function<void(double)>& on_progress) {
  memory_ = DeviceBuffer(device, total_bytes_, "the model's weights");
  load_vectors(program, device);
  load_matrices(program, device, on_progress);
  if (on_progress) on_progress(1.0);
}

void DeviceWeights::load_vectors(const Program& program, const Device& device) const {
  std::vector<std::vector<float>> copied;  // stays until the device has it
  const auto copy = [&](size_t place, std::vector<float> values) {
    if (values.empty()) return;
    copied.push_back(std::move(values));
    device.check(
        device.driver().cuMemcpyHtoDAsync_v2(memory_.address() + place, copied.back().data(),
                                             copied.back().size() * sizeof(float), device.stream()),
        "copying a vector");
  };
  for (size_t id = 0; id < entries_.size(); ++id) {
    if (!entries_[id].is_vector) continue;
    const Weight& weight = program.weights[id];
    const std::vector<std::byte> bytes = weight.data.read();
    std::vector<float> values(static_cast<size_t>(weight.columns));
    quant::dequantize(weight.type, bytes.data(), values.data(), weight.columns);
    copy(entries_[id].vector_place, std::move(values));
  }
  for (size_t i = 0; i < program.ropes.size(); ++i) {
    copy(frequency_places_[i], program.ropes[i].inverse_frequency);
  }
  device.wait();
}

void DeviceWeights::load_matrices(const Program& program, const Device& device,
                                  const std::function<void(double)>& on_progress) const {
  std::vector<PackPiece> pieces;
  size_t slot_bytes = 0;
  for (size_t id = 0; id < entries_.size(); ++id) {
    if (!entries_[id].is_matrix) continue;
    const Weight& weight = program.weights[id];
    const size_t row_bytes = quant::size_bytes(weight.type, weight.columns);
    const int64_t step =
        kPackRows * std::max<int64_t>(1, static_cast<int64_t>(kPieceBytes / row_bytes) / kPackRows);
    for (int64_t first = 0; first < weight.rows; first += step) {
      const int64_t rows = std::min(step, weight.rows - first);
      pieces.push_back(
          {static_cast<WeightId>(id), first, rows, static_cast<size_t>(rows) * row_bytes});
      slot_bytes = std::max(slot_bytes, round_up(pieces.back().bytes));
    }
  }
  if (pieces.empty()) return;
  const PinnedBuffer pinned(device, slot_bytes * kSlots);
  const DeviceBuffer raw(device, slot_bytes * kSlots, "loading weights");
  const Settled settled(device);  // before they are freed
  PieceReader reader(program, pieces, pinned.data(), slot_bytes);
  for (size_t i = 0; i < pieces.size(); ++i) {
    reader.wait_for(i);
    const size_t at = i % kSlots * slot_bytes;
    device.check(device.driver().cuMemcpyHtoDAsync_v2(raw.address() + at, pinned.data() + at,
                                                      pieces[i].bytes, device.stream()),
                 "copying weights");
    LaunchList list;
    const Entry& entry = this->at(pieces[i].weight);
    add_pack(list, entry.layout, raw.data() + at, pieces[i].first_row, pieces[i].num_rows,
             memory_.data() + entry.matrix_place, entry.tile_stride);
    device.run(list);
    // While one piece is copied the next is waited for, so that slots are given back one late.
    if (i % 2 == 1 || i + 1 == pieces.size()) {
      device.wait();
      reader.give_back(i + 1);
    }
    if (on_progress) on_progress(static_cast<double>(i + 1) / static_cast<double>(pieces.size()));
  }
}

}  // namespace sluice::backend::cuda
