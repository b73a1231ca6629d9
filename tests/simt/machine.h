#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <vector_types.h>

#include "simt/device.h"
#include "simt/fibre.h"
#include "simt/simt.h"

// The inside of the emulator; simt.h is its outside.
namespace sluice::simt {

inline constexpr int kLanes = 32;
inline constexpr int kMostWarps = 32;
inline constexpr int kMostThreads = kLanes * kMostWarps;

// ---- who came before whom
// ------------------------------------------------------------------------
//
// A thread counts two things: `epoch`, one more at each point where it meets lanes of its warp, and
// `phase`, one more at each barrier of the block. What it has seen of others is, of lanes of its
// own warp, up to which epoch, and of other warps up to which phase. An access is known by the
// thread and its two counts; a later one of another thread comes behind it if that has seen so far.

using Clock = std::array<uint32_t, kLanes>;
inline void join(Clock& a, const Clock& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] = a[i] > b[i] ? a[i] : b[i];
}

// What is known of another block, by way of fences and atomics.
struct BlockView {
  Clock phases{};               // by warp
  std::map<int, Clock> epochs;  // of warps by lane, where more is known
};
using View = std::map<uint32_t, BlockView>;  // by the block's serial number
void join(View& a, const View& b);

struct Tag {
  uint32_t block = 0;  // serial number; 0: nobody
  uint32_t epoch = 0, phase = 0;
  uint16_t thread = 0;
  uint8_t bytes = 0;  // of the word, one bit each
  bool is_atomic = false;
};

// What happened to four bytes of memory.
struct Cell {
  Tag write;
  std::array<Tag, 2> reads;
  uint8_t defined = 0;    // bytes that were ever written
  uint8_t in_flight = 0;  // being copied asynchronously
};

struct Allocation {
  uintptr_t begin = 0;
  size_t size = 0;
  std::string name;
  std::vector<Cell> cells;  // by word; empty: none was wanted yet
  bool is_defined = false;  // all of it, before the cells were made
};

// Atomics on one address.
struct SyncPlace {
  View released;
  std::set<std::pair<uint32_t, int>> users;  // block, thread
};

// ---- threads, warps, blocks
// ----------------------------------------------------------------------

struct Access {
  const void* pc;
  uintptr_t address;
  uint8_t size;
  bool is_write;
  bool is_shared;
};

struct Copy {
  std::byte* to;
  const std::byte* from;
  int size;
  bool is_valid;
  const void* pc;
};

enum class Meeting {
  kNone,
  kSync,
  kShuffle,
  kBallot,
  kLoadMatrix,
  kMmaF16,
  kMmaBf16,
  kMmaS8,
};
const char* meeting_name(Meeting meeting);

// What a lane brings to where a warp meets, and takes from there.
struct Operand {
  uint64_t value = 0, result = 0;
  int number = 0, width = 0, kind = 0;
  void* d = nullptr;
  const void* a = nullptr;
  const void* b = nullptr;
  const void* pc = nullptr;
};

struct Thread {
  void* stack_pointer = nullptr;
  size_t stack = 0;  // index
  int number = 0;
  uint3 index{};
  enum class State { kReady, kWaiting, kDone } state = State::kReady;
  const char* waits_for = "";  // for messages, as what follows
  const void* waits_at = nullptr;

  uint32_t epoch = 1, phase = 1;
  Clock seen_epochs{}, seen_phases{};
  std::unique_ptr<View> view;      // of other blocks
  std::unique_ptr<View> released;  // what its next atomic gives away

  Operand operand;
  std::vector<Copy> copies;         // not waited for, oldest first
  std::vector<size_t> copy_groups;  // how many of them each group has
  size_t num_open_copies = 0;       // behind those, in no group yet
  std::vector<Access> log;          // since its warp last met
  std::vector<PutOff> products;     // of a warpgroup; those before next_product are done
  size_t next_product = 0;
  size_t num_committed = 0;  // of them

  int warp() const { return number / kLanes; }
  int lane() const { return number % kLanes; }
};

struct Warp {
  Meeting meeting = Meeting::kNone;
  uint32_t lanes = 0;    // that are to come
  uint32_t arrived = 0;  // that have
  uint32_t living = 0;
};

struct Barrier {
  int arrived = 0, wanted = 0;
  std::vector<Thread*> waiting;
  Clock phases{};
  std::vector<Clock> epochs;  // by warp
  std::unique_ptr<View> view;
  int votes = 0;
};

struct Block {
  uint3 index{};
  uint32_t serial = 0;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::array<Barrier, 16> barriers;
  int num_living = 0;
  std::vector<Thread*> ready, spinning;
  std::vector<std::byte> dynamic_memory;  // one more kilobyte than asked for, to align it
  std::byte* dynamic_shared = nullptr;
  std::vector<Cell> dynamic_cells, static_cells;
  std::vector<std::byte> static_memory;  // while another block runs
};

// ---- the machine
// ---------------------------------------------------------------------------------

struct PcUse {
  bool is_shared = false, is_write = false;
  uint64_t requests = 0, bytes = 0, units = 0, needed = 0;
};

struct Kernel {
  std::string name;
  void (*call)(const void*) = nullptr;
  size_t args_bytes = 0;
  int max_threads = 0;
};

struct Machine {
  // Memory of the device, by address.
  std::map<uintptr_t, Allocation> allocations;
  Allocation* last_allocation = nullptr;

  // The launch.
  bool is_running = false;
  Options options;
  const Kernel* kernel = nullptr;
  std::vector<std::byte> args;
  Size3 grid, block_size;
  size_t dynamic_bytes = 0;
  uint32_t next_serial = 1, first_serial = 1;
  std::unordered_map<uintptr_t, SyncPlace> sync_places;
  bool is_stopped = false;  // after an error behind which nothing can go on
  Report report;
  std::set<std::pair<const void*, int>> known_errors;  // by place and kind
  std::unordered_map<const void*, PcUse> uses;

  // What runs.
  Block* block = nullptr;
  Thread* thread = nullptr;
  std::vector<Thread*> turn;  // of the block's threads, one after the other
  void* scheduler = nullptr;  // its stack pointer
  std::unique_ptr<Stacks> stacks;
  std::vector<size_t> free_stacks;
  size_t num_stacks = 0;

  // Thread-local storage of the kernels' module: their __shared__ arrays. And the module itself.
  uintptr_t tls_begin = 0, tls_size = 0;
  uintptr_t image_begin = 0, image_end = 0;
};
// Every access of a kernel asks for it, several times.
[[gnu::visibility("hidden")]] extern Machine the_machine;
inline Machine& machine() { return the_machine; }

// Leaves the fibre that runs until somebody makes it ready; `what` is text that stays where it is.
void wait_here(const char* what, const void* pc);
void make_ready(Thread& thread);

// Barriers of the whole block do not wait for who has ended.
void barrier_when_thread_ended(Block& block);

// An error of the thread that runs, at `pc`; each kind once a place.
enum class Fault { kBounds, kRace, kUndefined, kAlignment, kInFlight, kMeeting, kMemory };
void report_error(Fault fault, const void* pc, const std::string& what);
// The same, and the launch ends here.
[[noreturn]] void stop_launch(Fault fault, const void* pc, const std::string& what);

// Checks and counts an access of the thread that runs.
void access_memory(const void* address, size_t size, bool is_write, bool is_atomic, const void* pc);
// Without counting.
void check_memory(const void* address, size_t size, bool is_write, bool is_atomic, const void* pc);
// Marks shared memory as being copied to (by one more, or one less), or throws an error that it is.
void mark_in_flight(const void* address, size_t size, bool begins);

// Counts what the lanes of a warp have asked for since they last met.
void count_accesses(Block& block, int warp);
void count_matrix_rows(const std::array<const void*, kLanes>& rows, int num_rows, const void* pc);
void finish_counts(Report& report);

// Where warps meet: joins what its lanes have seen.
void join_lanes(Block& block, int warp, uint32_t lanes);
// Runs what `warp` has met for.
void run_meeting(Block& block, int warp);

// Which element of a matrix is element i of a lane's fragment, `pack` elements in each register.
struct MatrixPlace {
  int row, column;
};
inline MatrixPlace a_place(int lane, int i, int pack) {
  const int part = i / pack;  // register
  return {lane / 4 + (part % 2 ? 8 : 0), lane % 4 * pack + i % pack + (part / 2 ? 4 * pack : 0)};
}
inline MatrixPlace b_place(int lane, int i, int pack) {
  return {lane % 4 * pack + i % pack + (i / pack ? 4 * pack : 0), lane / 4};
}
inline MatrixPlace c_place(int lane, int i) {
  return {lane / 4 + (i / 2 ? 8 : 0), lane % 4 * 2 + i % 2};
}

// "file:line" of code.
std::string place_of(const void* pc);

}  // namespace sluice::simt
