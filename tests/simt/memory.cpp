// Every load and store of a kernel comes by here: from the calls that -fsanitize=thread has put
// before it, and from what ptx.cuh's functions stand for.

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "simt/device.h"
#include "simt/machine.h"

namespace sluice::simt {
namespace {

std::string number(uint64_t value) { return std::to_string(value); }

// Where an address lies: an allocation, shared memory, or neither.
struct Place {
  Cell* cells = nullptr;  // of the memory's first word; null where nothing is kept
  uintptr_t begin = 0;
  bool is_shared = false;
  std::string_view name;
};

// The words that [address, address + size) touches, and which of their bytes, one bit each.
template <typename Body>
void for_words(uintptr_t address, size_t size, Body body) {
  const uintptr_t end = address + size;
  for (uintptr_t word = address & ~uintptr_t{3}; word < end; word += 4) {
    unsigned bytes = 15;
    if (word < address) bytes &= 15u << (address - word);
    if (end - word < 4) bytes &= 15u >> (4 - (end - word));
    body(word, static_cast<uint8_t>(bytes));
  }
}

Allocation* find_allocation(uintptr_t address) {
  Machine& m = machine();
  const auto holds = [&](const Allocation& a) { return address - a.begin < a.size; };
  if (m.last_allocation && holds(*m.last_allocation)) return m.last_allocation;
  auto next = m.allocations.upper_bound(address);
  if (next == m.allocations.begin()) return nullptr;
  Allocation& found = std::prev(next)->second;
  if (!holds(found)) return nullptr;
  return m.last_allocation = &found;
}

// The cells of an allocation, made when they are first wanted.
Cell* cells_of(Allocation& allocation) {
  if (allocation.cells.empty()) {
    allocation.cells.resize((allocation.size + 3) / 4);
    if (allocation.is_defined) {
      for (Cell& cell : allocation.cells) cell.defined = 15;
    }
  }
  return allocation.cells.data();
}

bool find_shared(uintptr_t address, size_t size, Place& place) {
  Machine& m = machine();
  Block& block = *m.block;
  const auto dynamic = reinterpret_cast<uintptr_t>(block.dynamic_shared);
  if (address - dynamic < m.dynamic_bytes && size <= m.dynamic_bytes - (address - dynamic)) {
    place = {block.dynamic_cells.data(), dynamic, true, "dynamic shared memory"};
    return true;
  }
  if (address - m.tls_begin < m.tls_size) {
    place = {block.static_cells.data(), m.tls_begin & ~uintptr_t{3}, true, "shared memory"};
    return true;
  }
  return false;
}

// False: nothing is to be checked there.
bool find_place(uintptr_t address, size_t size, bool is_write, const void* pc, Place& place) {
  Machine& m = machine();
  if (m.stacks->contains(address)) return false;
  if (find_shared(address, size, place)) return true;
  if (Allocation* const allocation = find_allocation(address)) {
    if (size > allocation->size - (address - allocation->begin)) {
      stop_launch(Fault::kBounds, pc, number(size) + " bytes at the end of " + allocation->name);
    }
    Cell* const cells = m.options.checks_races ? cells_of(*allocation) : nullptr;
    place = {cells, allocation->begin, false, allocation->name};
    return true;
  }
  // Constants, and the arguments.
  const auto args = reinterpret_cast<uintptr_t>(m.args.data());
  if (!is_write &&
      (address - m.image_begin < m.image_end - m.image_begin || address - args < m.args.size())) {
    return false;
  }
  std::string near = "nothing is there";
  auto next = m.allocations.upper_bound(address);
  if (next != m.allocations.begin()) {
    const Allocation& before = std::prev(next)->second;
    near = number(address - before.begin - before.size) + " bytes behind " + before.name + " (" +
           number(before.size) + " bytes)";
  }
  stop_launch(Fault::kBounds, pc,
              std::string(is_write ? "writes " : "reads ") + number(size) +
                  " bytes outside of all memory: " + near);
}

bool has_seen(const Thread& thread, const Tag& tag) {
  const Machine& m = machine();
  if (tag.block < m.first_serial) return true;  // an earlier launch, or nobody
  const int warp = tag.thread / kLanes;
  const auto lane = static_cast<size_t>(tag.thread % kLanes);
  if (tag.block == m.block->serial) {
    if (tag.thread == thread.number) return true;
    if (warp == thread.warp()) return thread.seen_epochs[lane] >= tag.epoch;
    return thread.seen_phases[static_cast<size_t>(warp)] >= tag.phase;
  }
  if (!thread.view) return false;
  const auto block = thread.view->find(tag.block);
  if (block == thread.view->end()) return false;
  if (block->second.phases[static_cast<size_t>(warp)] >= tag.phase) return true;
  const auto epochs = block->second.epochs.find(warp);
  return epochs != block->second.epochs.end() && epochs->second[lane] >= tag.epoch;
}

// Who uses a word with atomics knows what others did to it with atomics.
bool is_ordered(const Thread& thread, const Tag& tag, uintptr_t address, bool is_atomic) {
  if (has_seen(thread, tag)) return true;
  if (!tag.is_atomic) return false;
  if (is_atomic) return true;
  const Machine& m = machine();
  const auto place = m.sync_places.find(address);
  return place != m.sync_places.end() &&
         place->second.users.count({m.block->serial, thread.number}) > 0;
}

std::string thread_name(const Tag& tag) {
  const Machine& m = machine();
  std::string text = "thread " + number(tag.thread);
  if (tag.block != m.block->serial)
    text += " of another block (" + number(tag.block - m.first_serial) + ")";
  return text;
}

void check_word(Cell& cell, const Place& place, uintptr_t word, uint8_t bytes, bool is_write,
                bool is_atomic, const void* pc) {
  Machine& m = machine();
  Thread& thread = *m.thread;
  const auto where = [&] { return std::string(place.name) + " + " + number(word - place.begin); };
  const auto race = [&](const Tag& other, const char* what) {
    report_error(Fault::kRace, pc,
                 std::string(is_write ? "writes " : "reads ") + where() + ", which " +
                     thread_name(other) + what + " with nothing between");
  };
  if (cell.in_flight) {
    report_error(Fault::kInFlight, pc, where() + " is used while it is being copied to");
  }
  if (!is_write && (cell.defined & bytes) != bytes) {
    report_error(Fault::kUndefined, pc, "reads " + where() + ", which nobody has written");
    cell.defined |= bytes;
  }
  if ((cell.write.bytes & bytes) && !is_ordered(thread, cell.write, word, is_atomic)) {
    race(cell.write, " has written");
  }
  const Tag tag{m.block->serial, thread.epoch, thread.phase, static_cast<uint16_t>(thread.number),
                bytes,           is_atomic};
  if (!is_write) {
    // Of many readers those are kept that this one has not seen.
    size_t slot = 0;
    for (size_t i = 0; i < cell.reads.size(); ++i) {
      if (has_seen(thread, cell.reads[i])) slot = i;
    }
    cell.reads[slot] = tag;
    return;
  }
  for (const Tag& read : cell.reads) {
    if ((read.bytes & bytes) && !is_ordered(thread, read, word, is_atomic)) race(read, " has read");
  }
  cell.write = tag;
  cell.defined |= bytes;
}

}  // namespace

void join(View& a, const View& b) {
  for (const auto& [block, view] : b) {
    BlockView& mine = a[block];
    join(mine.phases, view.phases);
    for (const auto& [warp, epochs] : view.epochs) join(mine.epochs[warp], epochs);
  }
}

void check_memory(const void* pointer, size_t size, bool is_write, bool is_atomic, const void* pc) {
  Machine& m = machine();
  if (!m.options.checks_memory) return;
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  Place place;
  if (!find_place(address, size, is_write, pc, place)) return;
  if (size <= 16 && std::has_single_bit(size) && address % size != 0) {
    stop_launch(Fault::kAlignment, pc,
                number(size) + " bytes of " + std::string(place.name) + " + " +
                    number(address - place.begin) + " are not aligned");
  }
  if (!m.options.checks_races || !place.cells) return;
  for_words(address, size, [&](uintptr_t word, uint8_t bytes) {
    check_word(place.cells[(word - place.begin) / 4], place, word, bytes, is_write, is_atomic, pc);
  });
}

void access_memory(const void* pointer, size_t size, bool is_write, bool is_atomic,
                   const void* pc) {
  Machine& m = machine();
  if (!m.is_running || !(m.options.checks_memory || m.options.counts)) return;
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  if (m.stacks->contains(address)) return;
  check_memory(pointer, size, is_write, is_atomic, pc);
  if (!m.options.counts) return;
  Place place;
  const bool is_shared = find_shared(address, size, place);
  if (!is_shared && !find_allocation(address)) return;
  m.thread->log.push_back({pc, address, static_cast<uint8_t>(size), is_write, is_shared});
}

void mark_in_flight(const void* pointer, size_t size, bool begins) {
  Machine& m = machine();
  if (!m.options.checks_races) return;
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  Place place;
  if (!find_shared(address, size, place)) return;
  for (size_t i = 0; i < size; i += 4) {
    Cell& cell = place.cells[(address + i - place.begin) / 4];
    cell.in_flight = static_cast<uint8_t>(cell.in_flight + (begins ? 1 : -1));
  }
}

// ---- what ptx.cuh stands for
// ---------------------------------------------------------------------

void load(void* to, const void* from, int size, Cache) {
  access_memory(from, static_cast<size_t>(size), false, false, __builtin_return_address(0));
  std::memcpy(to, from, static_cast<size_t>(size));
}

void store(void* to, const void* from, int size) {
  access_memory(to, static_cast<size_t>(size), true, false, __builtin_return_address(0));
  std::memcpy(to, from, static_cast<size_t>(size));
}

namespace {

void finish(const Copy& copy) {
  const auto size = static_cast<size_t>(copy.size);
  mark_in_flight(copy.to, size, false);
  check_memory(copy.to, size, true, false, copy.pc);
  if (copy.is_valid) {
    check_memory(copy.from, size, false, false, copy.pc);
    std::memcpy(copy.to, copy.from, size);
  } else {
    std::memset(copy.to, 0, size);
  }
}

}  // namespace

void copy_async(void* shared, const void* global, int size, bool is_valid) {
  const void* const pc = __builtin_return_address(0);
  Thread& thread = *machine().thread;
  const auto bytes = static_cast<size_t>(size);
  Place place;
  if (!find_shared(reinterpret_cast<uintptr_t>(shared), bytes, place)) {
    stop_launch(Fault::kBounds, pc, "cp.async to what is no shared memory");
  }
  if (reinterpret_cast<uintptr_t>(global) % bytes != 0) {
    stop_launch(Fault::kAlignment, pc,
                "cp.async reads " + number(bytes) + " bytes that are not aligned");
  }
  if (is_valid) access_memory(global, bytes, false, false, pc);
  access_memory(shared, bytes, true, false, pc);
  mark_in_flight(shared, bytes, true);
  thread.copies.push_back(
      {static_cast<std::byte*>(shared), static_cast<const std::byte*>(global), size, is_valid, pc});
  ++thread.num_open_copies;
}

void copy_async_commit() {
  Thread& thread = *machine().thread;
  thread.copy_groups.push_back(std::exchange(thread.num_open_copies, 0));
}

void copy_async_wait(int pending) {
  Thread& thread = *machine().thread;
  size_t num_done = 0, num_groups = 0;
  while (thread.copy_groups.size() - num_groups > static_cast<size_t>(pending)) {
    const size_t end = num_done + thread.copy_groups[num_groups++];
    while (num_done < end) finish(thread.copies[num_done++]);
  }
  thread.copies.erase(thread.copies.begin(),
                      thread.copies.begin() + static_cast<ptrdiff_t>(num_done));
  thread.copy_groups.erase(thread.copy_groups.begin(),
                           thread.copy_groups.begin() + static_cast<ptrdiff_t>(num_groups));
}

void fence() {
  if (!machine().options.checks_races) return;
  Thread& thread = *machine().thread;
  auto view = thread.view ? std::make_unique<View>(*thread.view) : std::make_unique<View>();
  BlockView& mine = (*view)[machine().block->serial];
  join(mine.phases, thread.seen_phases);
  Clock& epochs = mine.epochs[thread.warp()];
  join(epochs, thread.seen_epochs);
  epochs[static_cast<size_t>(thread.lane())] = thread.epoch;
  ++thread.epoch;
  thread.released = std::move(view);
}

namespace {

// An atomic at `pointer` takes what others have released there, or releases what its thread has.
void meet_at_word(const void* pointer, bool takes, bool releases) {
  Machine& m = machine();
  Thread& thread = *m.thread;
  SyncPlace& place = m.sync_places[reinterpret_cast<uintptr_t>(pointer)];
  place.users.insert({m.block->serial, thread.number});
  if (takes) {
    if (!thread.view) thread.view = std::make_unique<View>();
    join(*thread.view, place.released);
  }
  if (releases && thread.released) join(place.released, *thread.released);
}

}  // namespace

uint64_t atomic(Atomic op, void* pointer, int size, uint64_t value, uint64_t expected,
                bool orders) {
  const void* const pc = __builtin_return_address(0);
  const Machine& m = machine();
  const bool is_load = op == Atomic::kLoad;
  const bool is_store = op == Atomic::kStore;
  if (orders && !is_load) fence();
  access_memory(pointer, static_cast<size_t>(size), !is_load, true, pc);
  if (m.options.checks_races) meet_at_word(pointer, !is_store, !is_load);

  uint64_t old = 0;
  std::memcpy(&old, pointer, static_cast<size_t>(size));
  uint64_t result = old;
  switch (op) {
    case Atomic::kAdd:
      result = old + value;
      break;
    case Atomic::kAddFloat:
      result = std::bit_cast<uint32_t>(std::bit_cast<float>(static_cast<uint32_t>(old)) +
                                       std::bit_cast<float>(static_cast<uint32_t>(value)));
      break;
    case Atomic::kMax:
      result = std::max(old, value);
      break;
    case Atomic::kOr:
      result = old | value;
      break;
    case Atomic::kExchange:
    case Atomic::kStore:
      result = value;
      break;
    case Atomic::kCompareAndSwap:
      result = old == expected ? value : old;
      break;
    case Atomic::kLoad:
      return old;
  }
  std::memcpy(pointer, &result, static_cast<size_t>(size));
  return old;
}

// ---- memory of the device
// ------------------------------------------------------------------------

void add_memory(std::byte* data, size_t size_bytes, std::string name, bool is_defined) {
  Machine& m = machine();
  const auto begin = reinterpret_cast<uintptr_t>(data);
  m.allocations[begin] = {begin, size_bytes, std::move(name), {}, is_defined};
  m.last_allocation = nullptr;
}

void remove_memory(std::byte* data) {
  Machine& m = machine();
  m.allocations.erase(reinterpret_cast<uintptr_t>(data));
  m.last_allocation = nullptr;
}

void mark_defined(const std::byte* data, size_t size_bytes) {
  const auto begin = reinterpret_cast<uintptr_t>(data);
  Allocation* const allocation = find_allocation(begin);
  if (!allocation) return;
  if (size_bytes == allocation->size && allocation->cells.empty()) {
    allocation->is_defined = true;
    return;
  }
  Cell* const cells = cells_of(*allocation);
  for_words(begin, size_bytes, [&](uintptr_t word, uint8_t bytes) {
    cells[(word - allocation->begin) / 4].defined |= bytes;
  });
}

bool is_device_memory(const void* data, size_t size_bytes) {
  const auto address = reinterpret_cast<uintptr_t>(data);
  const Allocation* const allocation = find_allocation(address);
  return allocation && size_bytes <= allocation->size - (address - allocation->begin);
}

DeviceBytes::DeviceBytes(size_t size_bytes, std::string name) : size_(size_bytes) {
  const size_t rounded = (std::max<size_t>(size_bytes, 1) + 255) / 256 * 256;
  data_ = static_cast<std::byte*>(std::aligned_alloc(256, rounded));
  if (!data_) throw std::bad_alloc();
  std::memset(data_, 0xff, rounded);
  add_memory(data_, size_bytes, std::move(name), false);
}

DeviceBytes::~DeviceBytes() {
  remove_memory(data_);
  std::free(data_);
}

void DeviceBytes::copy_in(const void* from, size_t size_bytes, size_t offset) {
  if (size_bytes == 0) return;
  std::memcpy(data_ + offset, from, size_bytes);
  mark_defined(data_ + offset, size_bytes);
}

}  // namespace sluice::simt

// ---- what the compiler calls
// ---------------------------------------------------------------------

#define SLUICE_HOOK(name, size, is_write)                                                     \
  extern "C" void name(const void* address);                                                  \
  extern "C" void name(const void* address) {                                                 \
    sluice::simt::access_memory(address, size, is_write, false, __builtin_return_address(0)); \
  }
#define SLUICE_HOOKS(size)                             \
  SLUICE_HOOK(__tsan_read##size, size, false)          \
  SLUICE_HOOK(__tsan_write##size, size, true)          \
  SLUICE_HOOK(__tsan_volatile_read##size, size, false) \
  SLUICE_HOOK(__tsan_volatile_write##size, size, true)
SLUICE_HOOKS(1)
SLUICE_HOOKS(2)
SLUICE_HOOKS(4)
SLUICE_HOOKS(8)
SLUICE_HOOKS(16)
SLUICE_HOOK(__tsan_unaligned_read2, 2, false)
SLUICE_HOOK(__tsan_unaligned_read4, 4, false)
SLUICE_HOOK(__tsan_unaligned_read8, 8, false)
SLUICE_HOOK(__tsan_unaligned_read16, 16, false)
SLUICE_HOOK(__tsan_unaligned_write2, 2, true)
SLUICE_HOOK(__tsan_unaligned_write4, 4, true)
SLUICE_HOOK(__tsan_unaligned_write8, 8, true)
SLUICE_HOOK(__tsan_unaligned_write16, 16, true)

extern "C" void __tsan_init();
extern "C" void __tsan_init() {}
extern "C" void __tsan_read_range(const void* address, size_t size);
extern "C" void __tsan_read_range(const void* address, size_t size) {
  sluice::simt::access_memory(address, size, false, false, __builtin_return_address(0));
}
extern "C" void __tsan_write_range(const void* address, size_t size);
extern "C" void __tsan_write_range(const void* address, size_t size) {
  sluice::simt::access_memory(address, size, true, false, __builtin_return_address(0));
}
