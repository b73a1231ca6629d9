#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// What Linux tells about the machine and a process under /proc. The parsers take the text of a file
// and skip what they do not understand; the samplers read the files. Format: proc(5).
namespace sluice::monitor {

// Time that a core (or all together) has spent since boot, in clock ticks.
struct CpuTimes {
  uint64_t busy = 0;
  uint64_t total = 0;  // busy, idle and waiting for I/O
};

struct CpuSample {
  CpuTimes all;
  std::vector<CpuTimes> cores;  // by number
};

struct MemorySample {
  uint64_t total_bytes = 0;
  uint64_t available_bytes = 0;
};

struct MachineSample {
  CpuSample cpu;
  MemorySample memory;
  std::vector<double> load;  // averages over 1, 5 and 15 minutes; empty when unknown
};

struct ThreadSample {
  int id = 0;
  std::string name;
  uint64_t ticks = 0;  // of CPU time since it began, user and system
};

struct ProcessSample {
  int pid = 0;
  uint64_t resident_bytes = 0;
  std::vector<ThreadSample> threads;
};

CpuSample parse_cpu_times(std::string_view stat_text);            // /proc/stat
MemorySample parse_memory(std::string_view meminfo_text);         // /proc/meminfo
std::vector<double> parse_load(std::string_view loadavg_text);    // /proc/loadavg
std::optional<ThreadSample> parse_thread(std::string_view text);  // /proc/PID/task/TID/stat
uint64_t parse_resident_pages(std::string_view statm_text);       // /proc/PID/statm

// Inodes of the sockets that listen on `port`: /proc/net/tcp and /proc/net/tcp6.
std::vector<uint64_t> parse_listeners(std::string_view tcp_text, uint16_t port);

MachineSample sample_machine();

// Nothing when there is no such process (any more).
std::optional<ProcessSample> sample_process(int pid);

// The process that listens on a TCP port of this machine, as far as this user may look.
std::optional<int> find_listening_process(uint16_t port);

// Ticks of CPU time a second.
double ticks_per_second();

}  // namespace sluice::monitor
