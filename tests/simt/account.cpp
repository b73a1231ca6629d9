// What a kernel asked of memory, line by line, and what it did wrong: the report of a launch.

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <span>
#include <sstream>

#include "simt/device.h"
#include "simt/machine.h"

namespace sluice::simt {
namespace {

constexpr uintptr_t kSectorBytes = 32;
constexpr uintptr_t kBankBytes = 4;
constexpr uintptr_t kBanks = 32;

// Of one instruction, from a warp. No lane comes twice.
struct Request {
  const void* pc = nullptr;
  bool is_write = false, is_shared = false;
  size_t num_lanes = 0;
  std::array<Access, kLanes> lanes{};

  void add(const Access& access) { lanes[num_lanes++] = access; }
  std::span<const Access> all() const { return std::span(lanes).first(num_lanes); }
};

// A few values without an allocation: there is a request for each access of each warp.
template <typename T, size_t kMost>
class FewValues {
 public:
  void add(const T& value) {
    is_sorted_ = is_sorted_ && (count_ == 0 || !(value < values_[count_ - 1]));
    values_[count_++] = value;
  }
  std::span<const T> sorted() {
    if (!is_sorted_) std::sort(values_.begin(), values_.begin() + static_cast<ptrdiff_t>(count_));
    is_sorted_ = true;
    return std::span(values_).first(count_);
  }
  std::span<const T> different() {
    sorted();
    const auto end = values_.begin() + static_cast<ptrdiff_t>(count_);
    count_ = static_cast<size_t>(std::unique(values_.begin(), end) - values_.begin());
    return std::span(values_).first(count_);
  }

 private:
  std::array<T, kMost> values_;  // only the first count_ are anything
  size_t count_ = 0;
  bool is_sorted_ = true;
};

constexpr size_t kMostAccessBytes = 255;
constexpr size_t kMostSectors = kLanes * (kMostAccessBytes / kSectorBytes + 2);
constexpr size_t kMostWords = kLanes * (kMostAccessBytes / kBankBytes + 1);

// Different bytes of what the lanes ask for.
uint64_t count_bytes(const Request& request) {
  FewValues<std::pair<uintptr_t, uintptr_t>, kLanes> ranges;
  for (const Access& access : request.all()) {
    ranges.add({access.address, access.address + access.size});
  }
  uint64_t bytes = 0;
  uintptr_t end = 0;
  for (const auto& [first, last] : ranges.sorted()) {
    const uintptr_t begin = std::max(first, end);
    if (last > begin) bytes += last - begin;
    end = std::max(end, last);
  }
  return bytes;
}

uint64_t count_sectors(const Request& request) {
  FewValues<uintptr_t, kMostSectors> sectors;
  for (const Access& access : request.all()) {
    const uintptr_t last = (access.address + access.size - 1) / kSectorBytes;
    for (uintptr_t sector = access.address / kSectorBytes; sector <= last; ++sector) {
      sectors.add(sector);
    }
  }
  return sectors.different().size();
}

// How often shared memory must be asked: lanes with 8 bytes come in halves, with 16 in quarters of
// a warp, and of what comes together each bank gives one word at a time.
uint64_t count_passes(std::span<const Access> lanes) {
  const size_t together = lanes.front().size >= 16 ? 8 : lanes.front().size == 8 ? 16 : 32;
  uint64_t passes = 0;
  for (; !lanes.empty(); lanes = lanes.subspan(std::min(together, lanes.size()))) {
    FewValues<uintptr_t, kMostWords> words;
    for (const Access& access : lanes.first(std::min(together, lanes.size()))) {
      for (uintptr_t byte = 0; byte < access.size; byte += kBankBytes) {
        words.add((access.address + byte) / kBankBytes);
      }
    }
    std::array<uint64_t, kBanks> of_bank{};
    uint64_t most = 1;
    for (const uintptr_t word : words.different()) {
      most = std::max(most, ++of_bank[word % kBanks]);
    }
    passes += most;
  }
  return passes;
}

void count_request(const Request& request) {
  PcUse& use = machine().uses[request.pc];
  use.is_shared = request.is_shared;
  use.is_write = request.is_write;
  const uint64_t bytes = count_bytes(request);
  ++use.requests;
  use.bytes += bytes;
  if (request.is_shared) {
    use.units += count_passes(request.all());
    use.needed += (bytes + kBankBytes * kBanks - 1) / (kBankBytes * kBanks);
  } else {
    use.units += count_sectors(request);
    use.needed += (bytes + kSectorBytes - 1) / kSectorBytes;
  }
}

// Lanes that did the same, one behind the other.
bool count_alike(std::span<std::vector<Access>* const> logs) {
  for (const auto* log : logs) {
    if (log->size() != logs.front()->size()) return false;
    for (size_t i = 0; i < log->size(); ++i) {
      if ((*log)[i].pc != (*logs.front())[i].pc) return false;
    }
  }
  for (size_t i = 0; i < logs.front()->size(); ++i) {
    const Access& first = (*logs.front())[i];
    Request request{first.pc, first.is_write, first.is_shared};
    for (const auto* log : logs) request.add((*log)[i]);
    count_request(request);
  }
  return true;
}

// Lanes that went different ways: the n-th time that each was at an instruction belongs together.
void count_unlike(std::span<std::vector<Access>* const> logs) {
  std::map<std::pair<const void*, int>, Request> requests;
  for (const auto* log : logs) {
    std::unordered_map<const void*, int> times;
    for (const Access& access : *log) {
      Request& request = requests[{access.pc, times[access.pc]++}];
      request.pc = access.pc;
      request.is_write = access.is_write;
      request.is_shared = access.is_shared;
      request.add(access);
    }
  }
  for (const auto& [key, request] : requests) count_request(request);
}

// Lines of code by address, from addr2line; "" where it says nothing.
std::vector<std::string> ask_addr2line(const std::vector<const void*>& places) {
  std::vector<std::string> lines(places.size());
  Dl_info info{};
  link_map* map = nullptr;
  if (places.empty() ||
      !dladdr1(places.front(), &info, reinterpret_cast<void**>(&map), RTLD_DL_LINKMAP)) {
    return lines;
  }
  // A program's own name may be one that was relative to another folder.
  const std::string file = map->l_name[0] ? map->l_name : "/proc/self/exe";
  char resolved[4096] = {};
  if (!realpath(file.c_str(), resolved)) return lines;
  std::ostringstream command;
  command << "addr2line -a -i -e '" << resolved << "'" << std::hex;
  for (const void* place : places) {
    command << " 0x" << reinterpret_cast<uintptr_t>(place) - map->l_addr - 1;
  }
  command << " 2>/dev/null";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.str().c_str(), "r"), pclose);
  if (!pipe) return lines;
  std::array<char, 4096> buffer;
  size_t index = SIZE_MAX;
  while (fgets(buffer.data(), static_cast<int>(buffer.size()), pipe.get())) {
    std::string line = buffer.data();
    line = line.substr(0, line.find_first_of(" \n"));
    if (line.starts_with("0x")) {
      ++index;  // from SIZE_MAX to 0
    } else if (index < lines.size() && lines[index].empty() &&
               line.find("simt/device.h") == std::string::npos && !line.starts_with("??")) {
      const size_t slash = line.rfind('/');
      lines[index] = slash == std::string::npos ? line : line.substr(slash + 1);
    }
  }
  return lines;
}

std::map<const void*, std::string>& known_places() {
  static std::map<const void*, std::string> places;
  return places;
}

void learn_places(const std::vector<const void*>& wanted) {
  std::vector<const void*> unknown;
  for (const void* place : wanted) {
    if (place && !known_places().count(place)) unknown.push_back(place);
  }
  const std::vector<std::string> lines = ask_addr2line(unknown);
  for (size_t i = 0; i < unknown.size(); ++i) {
    known_places()[unknown[i]] = lines[i].empty() ? "unknown line" : lines[i];
  }
}

double waste(const LineUse& line) {
  return static_cast<double>(line.units) /
         static_cast<double>(std::max<uint64_t>(line.needed_units, 1));
}

}  // namespace

std::string place_of(const void* pc) {
  if (!pc) return "its end";
  learn_places({pc});
  return known_places()[pc];
}

void count_accesses(Block& block, int warp) {
  std::array<std::vector<Access>*, kLanes> all;
  size_t count = 0;
  const size_t first = static_cast<size_t>(warp) * kLanes;
  const size_t last = std::min(first + kLanes, block.threads.size());
  for (size_t i = first; i < last; ++i) {
    if (!block.threads[i].log.empty()) all[count++] = &block.threads[i].log;
  }
  if (count == 0) return;
  const auto logs = std::span(all).first(count);
  if (!count_alike(logs)) count_unlike(logs);
  for (auto* log : logs) log->clear();
}

void count_matrix_rows(const std::array<const void*, kLanes>& rows, int num_rows, const void* pc) {
  if (!machine().options.counts) return;
  for (int first = 0; first < num_rows; first += 8) {
    Request request{pc, false, true};
    for (int i = first; i < first + 8; ++i) {
      const auto address = reinterpret_cast<uintptr_t>(rows[static_cast<size_t>(i)]);
      request.add({pc, address, 16, false, true});
    }
    count_request(request);
  }
}

void finish_counts(Report& report) {
  Machine& m = machine();
  std::vector<std::pair<const void*, PcUse>> uses(m.uses.begin(), m.uses.end());
  std::vector<const void*> wasteful;
  for (const auto& [pc, use] : uses) {
    if (use.units > use.needed) wasteful.push_back(pc);
  }
  learn_places(wasteful);
  for (const auto& [pc, use] : uses) {
    const auto known = known_places().find(pc);
    report.lines.push_back({known == known_places().end() ? "" : known->second, use.is_shared,
                            use.is_write, use.requests, use.bytes, use.units, use.needed});
    if (use.is_shared) {
      report.shared_passes += use.units;
      report.needed_shared_passes += use.needed;
    } else {
      report.sectors += use.units;
      report.needed_sectors += use.needed;
      (use.is_write ? report.global_bytes_written : report.global_bytes_read) += use.bytes;
    }
  }
  std::sort(report.lines.begin(), report.lines.end(), [](const LineUse& a, const LineUse& b) {
    return waste(a) != waste(b) ? waste(a) > waste(b) : a.where < b.where;
  });
}

void report_error(Fault fault, const void* pc, const std::string& what) {
  Machine& m = machine();
  constexpr size_t kMostErrors = 20;
  if (!m.known_errors.insert({pc, static_cast<int>(fault)}).second) return;
  if (m.report.errors.size() >= kMostErrors) return;
  std::string text = m.kernel->name + ", " + place_of(pc) + ": ";
  if (m.thread && m.block) {
    const uint3& block = m.block->index;
    text += "thread " + std::to_string(m.thread->number) + " of block (" + std::to_string(block.x) +
            ", " + std::to_string(block.y) + ", " + std::to_string(block.z) + ") ";
  }
  m.report.errors.push_back(text + what);
}

void stop_launch(Fault fault, const void* pc, const std::string& what) {
  Machine& m = machine();
  report_error(fault, pc, what);
  m.is_stopped = true;
  void* here = nullptr;
  sluice_simt_switch(&here, m.scheduler);  // for good
  __builtin_unreachable();
}

std::string Report::problems() const {
  std::string text;
  for (const std::string& error : errors) text += error + "\n";
  return text;
}

std::string Report::wasteful_lines(double most_sectors, double most_passes) const {
  std::string text;
  for (const LineUse& line : lines) {
    if (waste(line) <= (line.is_shared ? most_passes : most_sectors)) continue;
    text += line.where + (line.is_write ? " writes " : " reads ") +
            (line.is_shared ? "shared memory in " : "global memory in ") +
            std::to_string(line.units) + (line.is_shared ? " passes where " : " sectors where ") +
            std::to_string(line.needed_units) + " would do (" + std::to_string(line.requests) +
            " requests, " + std::to_string(line.bytes) + " bytes)\n";
  }
  return text;
}

}  // namespace sluice::simt
