// Where the lanes of a warp meet: shuffles, votes, ldmatrix, mma. Each lane brings an operand; the
// last to come does the work for all.

#include <bit>
#include <cstring>

#include "quant/half.h"
#include "simt/device.h"
#include "simt/machine.h"

namespace sluice::simt {
namespace {

Thread& lane_of(Block& block, int warp, int lane) {
  return block.threads[static_cast<size_t>(warp * kLanes + lane)];
}

// Lanes that a warp of this block has from the start.
uint32_t all_lanes(const Block& block, int warp) {
  const int left = static_cast<int>(block.threads.size()) - warp * kLanes;
  return left >= kLanes ? ~uint32_t{0} : (uint32_t{1} << left) - 1;
}

Operand& meet(Meeting meeting, uint32_t lanes, const Operand& operand) {
  Machine& m = machine();
  Block& block = *m.block;
  Thread& thread = *m.thread;
  Warp& warp = block.warps[static_cast<size_t>(thread.warp())];
  lanes &= all_lanes(block, thread.warp());
  thread.operand = operand;
  if (!(lanes >> thread.lane() & 1)) {
    stop_launch(Fault::kMeeting, operand.pc, "a lane meets others that do not name it");
  }
  if (warp.meeting == Meeting::kNone) {
    warp.meeting = meeting;
    warp.lanes = lanes;
  } else if (warp.meeting != meeting || warp.lanes != lanes) {
    stop_launch(Fault::kMeeting, operand.pc,
                std::string("lanes of one warp meet in ") + meeting_name(meeting) + " and in " +
                    meeting_name(warp.meeting) + (warp.lanes != lanes ? ", of other lanes" : ""));
  }
  if (lanes & ~warp.living) {
    stop_launch(Fault::kMeeting, operand.pc,
                std::string(meeting_name(meeting)) + " waits for lanes that have ended");
  }
  warp.arrived |= uint32_t{1} << thread.lane();
  if (warp.arrived != warp.lanes) {
    wait_here(meeting_name(meeting), operand.pc);
    return thread.operand;
  }
  run_meeting(block, thread.warp());
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!(warp.lanes >> lane & 1)) continue;
    Thread& other = lane_of(block, thread.warp(), lane);
    if (&other != &thread) make_ready(other);
  }
  warp.meeting = Meeting::kNone;
  warp.arrived = 0;
  return thread.operand;
}

int source_lane(const Operand& operand, int lane) {
  const int first = lane / operand.width * operand.width;
  const int within = lane - first;
  switch (static_cast<Shuffle>(operand.kind)) {
    case Shuffle::kIndex:
      return first + (operand.number & (operand.width - 1));
    case Shuffle::kXor:
      return (within ^ operand.number) < operand.width ? first + (within ^ operand.number) : lane;
    case Shuffle::kUp:
      return within >= operand.number ? lane - operand.number : lane;
    case Shuffle::kDown:
      return within + operand.number < operand.width ? lane + operand.number : lane;
  }
  return lane;
}

void run_shuffle(Block& block, int warp, uint32_t lanes) {
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!(lanes >> lane & 1)) continue;
    Operand& operand = lane_of(block, warp, lane).operand;
    const int source = source_lane(operand, lane);
    if (!(lanes >> source & 1)) {
      stop_launch(Fault::kMeeting, operand.pc,
                  "a shuffle from lane " + std::to_string(source) + ", which is not there");
    }
    operand.result = lane_of(block, warp, source).operand.value;
  }
}

void run_ballot(Block& block, int warp, uint32_t lanes) {
  uint32_t votes = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    if ((lanes >> lane & 1) && lane_of(block, warp, lane).operand.value) votes |= 1u << lane;
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    if (lanes >> lane & 1) lane_of(block, warp, lane).operand.result = votes;
  }
}

void run_load_matrix(Block& block, int warp) {
  Machine& m = machine();
  const int count = lane_of(block, warp, 0).operand.number;
  const bool is_transposed = lane_of(block, warp, 0).operand.kind != 0;
  const void* const pc = lane_of(block, warp, 0).operand.pc;
  std::array<const void*, kLanes> rows{};
  uint16_t matrices[4][8][8] = {};
  Thread* const caller = m.thread;
  for (int lane = 0; lane < 8 * count; ++lane) {
    Thread& thread = lane_of(block, warp, lane);
    const void* const row = thread.operand.a;
    rows[static_cast<size_t>(lane)] = row;
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0) {
      stop_launch(Fault::kAlignment, pc, "ldmatrix reads a row that is not aligned to 16 bytes");
    }
    m.thread = &thread;  // whose word it is that the row may be read
    check_memory(row, 16, false, false, pc);
    std::memcpy(matrices[lane / 8][lane % 8], row, 16);
  }
  m.thread = caller;
  count_matrix_rows(rows, 8 * count, pc);
  for (int lane = 0; lane < kLanes; ++lane) {
    auto* const d = static_cast<uint32_t*>(lane_of(block, warp, lane).operand.d);
    const int line = lane / 4, first = lane % 4 * 2;
    for (int i = 0; i < count; ++i) {
      const auto& matrix = matrices[i];
      const uint16_t low = is_transposed ? matrix[first][line] : matrix[line][first];
      const uint16_t high = is_transposed ? matrix[first + 1][line] : matrix[line][first + 1];
      d[i] = low | static_cast<uint32_t>(high) << 16;
    }
  }
}

float half_value(uint16_t bits, bool is_bf16) {
  return is_bf16 ? std::bit_cast<float>(static_cast<uint32_t>(bits) << 16)
                 : quant::f16_to_f32(bits);
}

// One row of a product, the columns side by side.
template <typename Sum, typename T, size_t kDepth>
void add_products(Sum (&sums)[8], const T (&a)[kDepth], const T (&b)[kDepth][8]) {
  for (size_t k = 0; k < kDepth; ++k) {
    for (size_t column = 0; column < 8; ++column) sums[column] += Sum{a[k]} * b[k][column];
  }
}

// The fragments' layout is that of ptx.cuh; layout_test.cpp holds it against CuTe's.
void run_mma_halves(Block& block, int warp, bool is_bf16) {
  double a[16][16], b[16][8];
  for (int lane = 0; lane < kLanes; ++lane) {
    const Operand& operand = lane_of(block, warp, lane).operand;
    const auto* const a_bits = static_cast<const uint32_t*>(operand.a);
    const auto* const b_bits = static_cast<const uint32_t*>(operand.b);
    for (int i = 0; i < 8; ++i) {
      const MatrixPlace place = a_place(lane, i, 2);
      a[place.row][place.column] =
          half_value(static_cast<uint16_t>(a_bits[i / 2] >> 16 * (i % 2)), is_bf16);
    }
    for (int i = 0; i < 4; ++i) {
      const MatrixPlace place = b_place(lane, i, 2);
      b[place.row][place.column] =
          half_value(static_cast<uint16_t>(b_bits[i / 2] >> 16 * (i % 2)), is_bf16);
    }
  }
  double sums[16][8];
  for (int lane = 0; lane < kLanes; ++lane) {
    const auto* const c = static_cast<const float*>(lane_of(block, warp, lane).operand.d);
    for (int i = 0; i < 4; ++i) sums[c_place(lane, i).row][c_place(lane, i).column] = c[i];
  }
  for (int row = 0; row < 16; ++row) add_products(sums[row], a[row], b);
  for (int lane = 0; lane < kLanes; ++lane) {
    auto* const c = static_cast<float*>(lane_of(block, warp, lane).operand.d);
    for (int i = 0; i < 4; ++i) {
      const MatrixPlace place = c_place(lane, i);
      c[i] = static_cast<float>(sums[place.row][place.column]);
    }
  }
}

void run_mma_bytes(Block& block, int warp) {
  int8_t a[16][32], b[32][8];
  for (int lane = 0; lane < kLanes; ++lane) {
    const Operand& operand = lane_of(block, warp, lane).operand;
    const auto* const a_bits = static_cast<const uint32_t*>(operand.a);
    const auto* const b_bits = static_cast<const uint32_t*>(operand.b);
    for (int i = 0; i < 16; ++i) {
      const MatrixPlace place = a_place(lane, i, 4);
      a[place.row][place.column] = static_cast<int8_t>(a_bits[i / 4] >> 8 * (i % 4));
    }
    for (int i = 0; i < 8; ++i) {
      const MatrixPlace place = b_place(lane, i, 4);
      b[place.row][place.column] = static_cast<int8_t>(b_bits[i / 4] >> 8 * (i % 4));
    }
  }
  int64_t sums[16][8];
  for (int lane = 0; lane < kLanes; ++lane) {
    const auto* const c = static_cast<const int32_t*>(lane_of(block, warp, lane).operand.d);
    for (int i = 0; i < 4; ++i) sums[c_place(lane, i).row][c_place(lane, i).column] = c[i];
  }
  for (int row = 0; row < 16; ++row) add_products(sums[row], a[row], b);
  for (int lane = 0; lane < kLanes; ++lane) {
    auto* const c = static_cast<int32_t*>(lane_of(block, warp, lane).operand.d);
    for (int i = 0; i < 4; ++i) {
      const MatrixPlace place = c_place(lane, i);
      c[i] = static_cast<int32_t>(sums[place.row][place.column]);
    }
  }
}

}  // namespace

const char* meeting_name(Meeting meeting) {
  switch (meeting) {
    case Meeting::kNone:
      return "nothing";
    case Meeting::kSync:
      return "sync_warp";
    case Meeting::kShuffle:
      return "a shuffle";
    case Meeting::kBallot:
      return "a vote";
    case Meeting::kLoadMatrix:
      return "ldmatrix";
    case Meeting::kMmaF16:
      return "mma of halves";
    case Meeting::kMmaBf16:
      return "mma of bf16";
    case Meeting::kMmaS8:
      return "mma of bytes";
  }
  return "";
}

void run_meeting(Block& block, int warp) {
  Machine& m = machine();
  const Warp& state = block.warps[static_cast<size_t>(warp)];
  if (state.lanes == state.living) count_accesses(block, warp);
  switch (state.meeting) {
    case Meeting::kNone:
      break;
    case Meeting::kSync:
      join_lanes(block, warp, state.lanes);
      break;
    case Meeting::kShuffle:
      run_shuffle(block, warp, state.lanes);
      break;
    case Meeting::kBallot:
      run_ballot(block, warp, state.lanes);
      break;
    case Meeting::kLoadMatrix:
      run_load_matrix(block, warp);
      break;
    case Meeting::kMmaF16:
    case Meeting::kMmaBf16:
      ++m.report.matrix_products;
      run_mma_halves(block, warp, state.meeting == Meeting::kMmaBf16);
      break;
    case Meeting::kMmaS8:
      ++m.report.matrix_products;
      run_mma_bytes(block, warp);
      break;
  }
}

void join_lanes(Block& block, int warp, uint32_t lanes) {
  if (!machine().options.checks_races) return;
  Clock epochs{};
  std::unique_ptr<View> view;
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!(lanes >> lane & 1)) continue;
    const Thread& thread = lane_of(block, warp, lane);
    join(epochs, thread.seen_epochs);
    epochs[static_cast<size_t>(lane)] = thread.epoch;
    if (!thread.view) continue;
    if (!view) view = std::make_unique<View>();
    join(*view, *thread.view);
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!(lanes >> lane & 1)) continue;
    Thread& thread = lane_of(block, warp, lane);
    join(thread.seen_epochs, epochs);
    ++thread.epoch;
    if (view) thread.view = std::make_unique<View>(*view);
  }
}

void sync_warp(uint32_t lanes) {
  Operand operand;
  operand.pc = __builtin_return_address(0);
  meet(Meeting::kSync, lanes, operand);
}

uint64_t shuffle(Shuffle kind, uint64_t value, int number, int width) {
  Operand operand;
  operand.value = value;
  operand.number = number;
  operand.width = width;
  operand.kind = static_cast<int>(kind);
  operand.pc = __builtin_return_address(0);
  return meet(Meeting::kShuffle, ~uint32_t{0}, operand).result;
}

uint32_t ballot(bool predicate) {
  Operand operand;
  operand.value = predicate;
  operand.pc = __builtin_return_address(0);
  return static_cast<uint32_t>(meet(Meeting::kBallot, ~uint32_t{0}, operand).result);
}

void load_matrix(uint32_t* d, int count, const void* row, bool is_transposed) {
  Operand operand;
  operand.d = d;
  operand.a = row;
  operand.number = count;
  operand.kind = is_transposed;
  operand.pc = __builtin_return_address(0);
  meet(Meeting::kLoadMatrix, ~uint32_t{0}, operand);
}

namespace {

Operand product(void* c, const uint32_t* a, const uint32_t* b, const void* pc) {
  Operand operand;
  operand.d = c;
  operand.a = a;
  operand.b = b;
  operand.pc = pc;
  return operand;
}

}  // namespace

void mma_f16(float* c, const uint32_t* a, const uint32_t* b) {
  meet(Meeting::kMmaF16, ~uint32_t{0}, product(c, a, b, __builtin_return_address(0)));
}
void mma_bf16(float* c, const uint32_t* a, const uint32_t* b) {
  meet(Meeting::kMmaBf16, ~uint32_t{0}, product(c, a, b, __builtin_return_address(0)));
}
void mma_s8(int32_t* c, const uint32_t* a, const uint32_t* b) {
  meet(Meeting::kMmaS8, ~uint32_t{0}, product(c, a, b, __builtin_return_address(0)));
}

void put_product_off(const PutOff& product) { machine().thread->products.push_back(product); }
void commit_products() {
  Thread& thread = *machine().thread;
  thread.num_committed = thread.products.size() - thread.next_product;
}
bool take_product(PutOff& product) {
  Thread& thread = *machine().thread;
  if (thread.num_committed == 0) return false;
  product = thread.products[thread.next_product++];
  if (--thread.num_committed == 0) {
    thread.products.erase(thread.products.begin(),
                          thread.products.begin() + static_cast<ptrdiff_t>(thread.next_product));
    thread.next_product = 0;
  }
  return true;
}

}  // namespace sluice::simt
