#include "simt/machine.h"

#include <link.h>
#include <vector_types.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <stdexcept>

#include "simt/device.h"

namespace sluice::simt {
namespace {

std::map<std::string, Kernel>& kernels() {
  static std::map<std::string, Kernel> all;
  return all;
}

const Kernel& kernel_named(const std::string& name) {
  const auto found = kernels().find(name);
  if (found == kernels().end()) throw std::runtime_error("no kernel is called " + name);
  return found->second;
}

// A library's thread-local storage is made when a thread first touches it.
thread_local volatile char touched = 0;

// Where the module that holds a kernel lies, and its thread-local storage on this host thread.
void find_module(Machine& m, const void* code) {
  touched = 1;
  struct Search {
    Machine& machine;
    uintptr_t address;
  } search{m, reinterpret_cast<uintptr_t>(code)};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        auto& [machine, address] = *static_cast<Search*>(data);
        uintptr_t begin = UINTPTR_MAX, end = 0, tls_size = 0;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const ElfW(Phdr)& header = info->dlpi_phdr[i];
          if (header.p_type == PT_LOAD) {
            begin = std::min<uintptr_t>(begin, info->dlpi_addr + header.p_vaddr);
            end = std::max<uintptr_t>(end, info->dlpi_addr + header.p_vaddr + header.p_memsz);
          } else if (header.p_type == PT_TLS) {
            tls_size = header.p_memsz;
          }
        }
        if (address < begin || address >= end) return 0;
        machine.image_begin = begin;
        machine.image_end = end;
        machine.tls_begin = reinterpret_cast<uintptr_t>(info->dlpi_tls_data);
        machine.tls_size = machine.tls_begin ? tls_size : 0;
        return 1;
      },
      &search);
}

// What every fibre runs; it is left for good at its end.
void run_thread() {
  Machine& m = machine();
  m.kernel->call(m.args.data());
  Thread& thread = *m.thread;
  Block& block = *m.block;
  thread.state = Thread::State::kDone;
  Warp& warp = block.warps[static_cast<size_t>(thread.warp())];
  warp.living &= ~(1u << thread.lane());
  --block.num_living;
  if (warp.meeting != Meeting::kNone && (warp.lanes >> thread.lane() & 1)) {
    report_error(Fault::kMeeting, nullptr,
                 "thread " + std::to_string(thread.number) +
                     " ended while lanes of its warp wait in " + meeting_name(warp.meeting));
    m.is_stopped = true;
  }
  if (warp.living == 0) count_accesses(block, thread.warp());
  barrier_when_thread_ended(block);
  sluice_simt_switch(&thread.stack_pointer, m.scheduler);
}

template <typename T>
void shuffle_by_seed(std::vector<T>& items, uint32_t seed) {
  if (seed == 0) return;
  std::mt19937 random(seed);
  std::shuffle(items.begin(), items.end(), random);
}

std::unique_ptr<Block> start_block(Machine& m, uint3 index) {
  auto block = std::make_unique<Block>();
  block->index = index;
  block->serial = m.next_serial++;
  const unsigned count = m.block_size.x * m.block_size.y * m.block_size.z;
  block->threads.resize(count);
  block->warps.resize((count + kLanes - 1) / kLanes);
  block->num_living = static_cast<int>(count);
  block->dynamic_memory.resize(m.dynamic_bytes + 1024);
  const auto address = reinterpret_cast<uintptr_t>(block->dynamic_memory.data());
  block->dynamic_shared = block->dynamic_memory.data() + ((1024 - address % 1024) % 1024);
  std::memset(block->dynamic_shared, 0xff, m.dynamic_bytes);  // NaNs
  if (m.options.checks_races) {
    block->dynamic_cells.resize((m.dynamic_bytes + 3) / 4);
    block->static_cells.resize((m.tls_size + 7) / 4);
  }
  for (unsigned i = 0; i < count; ++i) {
    Thread& thread = block->threads[i];
    thread.number = static_cast<int>(i);
    thread.index = {i % m.block_size.x, i / m.block_size.x % m.block_size.y,
                    i / (m.block_size.x * m.block_size.y)};
    if (m.free_stacks.empty()) m.free_stacks.push_back(m.num_stacks++);
    thread.stack = m.free_stacks.back();
    m.free_stacks.pop_back();
    thread.stack_pointer = m.stacks->prepare(thread.stack, run_thread);
    block->warps[i / kLanes].living |= 1u << i % kLanes;
    block->ready.push_back(&thread);
  }
  shuffle_by_seed(block->ready, m.options.seed);
  return block;
}

void end_block(Machine& m, Block& block) {
  for (Thread& thread : block.threads) m.free_stacks.push_back(thread.stack);
}

std::string waiting_threads(const Block& block) {
  std::map<std::string, std::vector<int>> by_place;
  for (const Thread& thread : block.threads) {
    if (thread.state != Thread::State::kWaiting) continue;
    by_place[std::string(thread.waits_for) + " at " + place_of(thread.waits_at)].push_back(
        thread.number);
  }
  std::string text;
  for (const auto& [place, threads] : by_place) {
    text += (text.empty() ? "" : "; ") + std::to_string(threads.size()) + " threads (" +
            std::to_string(threads.front()) + (threads.size() > 1 ? ", ..)" : ")") + " wait for " +
            place;
  }
  return text;
}

// Until all threads of the block are done (true) or none of them can go on but by waiting for other
// blocks (false).
bool run_block(Machine& m, Block& block) {
  m.block = &block;
  while (!m.is_stopped) {
    if (block.ready.empty()) {
      if (block.num_living == 0) return true;
      if (!block.spinning.empty()) return false;
      report_error(Fault::kMeeting, nullptr, "the block is stuck: " + waiting_threads(block));
      m.is_stopped = true;
      break;
    }
    m.turn.clear();
    m.turn.swap(block.ready);
    for (Thread* thread : m.turn) {
      thread->state = Thread::State::kReady;
      m.thread = thread;
      sluice_simt_switch(&m.scheduler, thread->stack_pointer);
      if (m.is_stopped) break;
    }
  }
  return true;
}

// The __shared__ arrays of blocks that run side by side change places.
void swap_static_memory(Machine& m, Block* from, Block* to) {
  if (from == to) return;
  auto* const memory = reinterpret_cast<std::byte*>(m.tls_begin);
  if (from) from->static_memory.assign(memory, memory + m.tls_size);
  if (to && !to->static_memory.empty()) {
    std::memcpy(memory, to->static_memory.data(), m.tls_size);
  }
}

void run_grid(Machine& m) {
  const uint64_t num_blocks = uint64_t{m.grid.x} * m.grid.y * m.grid.z;
  std::vector<std::unique_ptr<Block>> resident;
  uint64_t next = 0;
  size_t turn = 0;
  int idle_turns = 0;
  Block* last = nullptr;  // whose __shared__ arrays are in place
  const size_t most = static_cast<size_t>(std::max(1, m.options.resident_blocks));
  while ((next < num_blocks || !resident.empty()) && !m.is_stopped) {
    if (turn >= resident.size()) {
      if (resident.size() < most && next < num_blocks) {
        const auto x = static_cast<unsigned>(next % m.grid.x);
        const auto y = static_cast<unsigned>(next / m.grid.x % m.grid.y);
        const auto z = static_cast<unsigned>(next / (uint64_t{m.grid.x} * m.grid.y));
        resident.push_back(start_block(m, {x, y, z}));
        ++next;
        idle_turns = 0;
      } else {
        turn = 0;
        if (++idle_turns > 100) {
          report_error(Fault::kMeeting, nullptr, "blocks wait for each other, and none goes on");
          m.is_stopped = true;
          break;
        }
      }
    }
    Block& block = *resident[turn];
    swap_static_memory(m, last, &block);
    last = &block;
    for (Thread* thread : block.spinning) block.ready.push_back(thread);
    block.spinning.clear();
    if (run_block(m, block)) {
      end_block(m, block);
      last = nullptr;
      resident.erase(resident.begin() + static_cast<ptrdiff_t>(turn));
      idle_turns = 0;
    } else {
      ++turn;
    }
  }
  for (const auto& block : resident) end_block(m, *block);
}

}  // namespace

Machine the_machine;

Registration::Registration(const KernelInfo& info) {
  kernels()[info.name] = {info.name, info.call, static_cast<size_t>(info.args_bytes),
                          info.max_threads};
}

bool has_kernel(const std::string& name) { return kernels().count(name) > 0; }
size_t kernel_args_bytes(const std::string& name) { return kernel_named(name).args_bytes; }
int kernel_max_threads(const std::string& name) { return kernel_named(name).max_threads; }

Report launch(const std::string& name, Size3 grid, Size3 block, size_t dynamic_shared_bytes,
              const void* args, size_t args_bytes, const Options& options) {
  Machine& m = machine();
  if (m.is_running) throw std::runtime_error("the emulator runs one launch at a time");
  const Kernel& kernel = kernel_named(name);
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > static_cast<uint64_t>(kernel.max_threads)) {
    throw std::runtime_error(name + ": a block of " + std::to_string(threads) +
                             " threads; its bounds say " + std::to_string(kernel.max_threads));
  }
  if (args_bytes != kernel.args_bytes) {
    throw std::runtime_error(name + ": arguments of " + std::to_string(args_bytes) +
                             " bytes, it takes " + std::to_string(kernel.args_bytes));
  }
  if (!m.stacks) m.stacks = std::make_unique<Stacks>(size_t{16} * kMostThreads);
  m.options = options;
  m.options.resident_blocks = std::clamp(options.resident_blocks, 1, 16);
  m.kernel = &kernel;
  const auto* const first = static_cast<const std::byte*>(args);
  m.args.assign(first, first + args_bytes);
  m.grid = grid;
  m.block_size = block;
  m.dynamic_bytes = dynamic_shared_bytes;
  m.first_serial = m.next_serial;
  m.sync_places.clear();
  m.is_stopped = false;
  m.report = {};
  m.known_errors.clear();
  m.uses.clear();
  find_module(m, reinterpret_cast<const void*>(kernel.call));
  const auto* const tls = reinterpret_cast<const std::byte*>(m.tls_begin);
  const std::vector<std::byte> before(tls, tls + m.tls_size);
  m.is_running = true;
  run_grid(m);
  m.is_running = false;
  m.block = nullptr;
  m.thread = nullptr;
  if (!before.empty()) {
    std::memcpy(reinterpret_cast<void*>(m.tls_begin), before.data(), before.size());
  }
  finish_counts(m.report);
  return std::move(m.report);
}

void wait_here(const char* what, const void* pc) {
  Machine& m = machine();
  Thread& thread = *m.thread;
  thread.state = Thread::State::kWaiting;
  thread.waits_for = what;
  thread.waits_at = pc;
  sluice_simt_switch(&thread.stack_pointer, m.scheduler);
}

void make_ready(Thread& thread) { machine().block->ready.push_back(&thread); }

// ---- where and how large
// -------------------------------------------------------------------------

uint3 thread_index() { return machine().thread->index; }
int thread_number() { return machine().thread->number; }
uint3 block_index() { return machine().block->index; }
uint3 block_size() {
  const Size3& size = machine().block_size;
  return {size.x, size.y, size.z};
}
uint3 grid_size() {
  const Size3& size = machine().grid;
  return {size.x, size.y, size.z};
}
std::byte* dynamic_shared() { return machine().block->dynamic_shared; }

// ---- barriers
// ------------------------------------------------------------------------------------

namespace {

const char* barrier_name(int id) {
  static const auto names = [] {
    std::array<std::string, 16> all;
    for (size_t i = 0; i < all.size(); ++i) all[i] = "barrier " + std::to_string(i);
    return all;
  }();
  return names[static_cast<size_t>(id)].c_str();
}

// What a thread has seen, which it brings to a barrier.
void bring(Barrier& barrier, Thread& thread, size_t num_warps) {
  barrier.epochs.resize(num_warps);
  join(barrier.phases, thread.seen_phases);
  uint32_t& phase = barrier.phases[static_cast<size_t>(thread.warp())];
  phase = std::max(phase, thread.phase);
  Clock& epochs = barrier.epochs[static_cast<size_t>(thread.warp())];
  join(epochs, thread.seen_epochs);
  epochs[static_cast<size_t>(thread.lane())] = thread.epoch;
  if (thread.view) {
    if (!barrier.view) barrier.view = std::make_unique<View>();
    join(*barrier.view, *thread.view);
  }
  ++thread.epoch;
  ++thread.phase;
}

void take(const Barrier& barrier, Thread& thread) {
  join(thread.seen_phases, barrier.phases);
  join(thread.seen_epochs, barrier.epochs[static_cast<size_t>(thread.warp())]);
  if (!barrier.view) return;
  if (!thread.view) thread.view = std::make_unique<View>();
  join(*thread.view, *barrier.view);
}

// All have come: they take what all have brought, and go on.
void complete_barrier(Block& block, int id) {
  Barrier barrier = std::exchange(block.barriers[static_cast<size_t>(id)], {});
  for (Thread* thread : barrier.waiting) {
    if (machine().options.checks_races) take(barrier, *thread);
    thread->operand.result = static_cast<uint64_t>(barrier.votes);
    if (thread->state == Thread::State::kWaiting) make_ready(*thread);
  }
  if (id > 0) return;
  ++machine().report.block_barriers;
  for (size_t warp = 0; warp < block.warps.size(); ++warp) {
    count_accesses(block, static_cast<int>(warp));
  }
}

// Barrier 0 is that of all threads that have not ended.
int meet_at_barrier(int id, int num_threads, bool waits, bool vote, const void* pc) {
  Block& block = *machine().block;
  Thread& thread = *machine().thread;
  Barrier& barrier = block.barriers[static_cast<size_t>(id)];
  if (barrier.arrived == 0) barrier.wanted = num_threads;
  if (id > 0 && barrier.wanted != num_threads) {
    stop_launch(Fault::kMeeting, pc,
                "barrier " + std::to_string(id) + " is one of " + std::to_string(barrier.wanted) +
                    " threads to some and of " + std::to_string(num_threads) + " to others");
  }
  barrier.votes += vote;
  ++barrier.arrived;
  if (machine().options.checks_races) bring(barrier, thread, block.warps.size());
  if (waits) barrier.waiting.push_back(&thread);
  if (barrier.arrived >= (id == 0 ? block.num_living : barrier.wanted)) {
    complete_barrier(block, id);
  } else if (waits) {
    wait_here(barrier_name(id), pc);
  }
  return static_cast<int>(thread.operand.result);
}

}  // namespace

void barrier_when_thread_ended(Block& block) {
  const Barrier& barrier = block.barriers[0];
  if (barrier.arrived > 0 && barrier.arrived >= block.num_living) complete_barrier(block, 0);
}

void sync_block() { meet_at_barrier(0, 0, true, false, __builtin_return_address(0)); }
int sync_block_count(bool predicate) {
  return meet_at_barrier(0, 0, true, predicate, __builtin_return_address(0));
}
void named_barrier(int id, int num_threads, bool waits) {
  const void* const pc = __builtin_return_address(0);
  const auto most = static_cast<int>(machine().block->threads.size());
  if (id < 1 || id > 15 || num_threads < 1 || num_threads > most || num_threads % kLanes != 0) {
    stop_launch(
        Fault::kMeeting, pc,
        "barrier " + std::to_string(id) + " of " + std::to_string(num_threads) + " threads");
  }
  meet_at_barrier(id, num_threads, waits, false, pc);
}

void spin_pause() {
  Machine& m = machine();
  m.block->spinning.push_back(m.thread);
  wait_here("another block", __builtin_return_address(0));
}

}  // namespace sluice::simt
