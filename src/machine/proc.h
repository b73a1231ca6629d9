#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// What Linux tells about the machine and a process under /proc. The parsers take the text of a file
// and skip what they do not understand; the samplers read the files. Format: proc(5).
namespace sluice::machine {

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
  std::vector<double> load;             // averages over 1, 5 and 15 minutes; empty when unknown
  std::optional<double> energy_joules;  // of the processors since some moment, where it can be read
  std::optional<double> clock_mhz;      // the mean of the first cores
  std::optional<double> temperature_celsius;             // of the hottest processor
  uint64_t disk_read_bytes = 0, disk_written_bytes = 0;  // by all, since boot
};

// A process as a whole.
struct ProcessTicks {
  int pid = 0;
  std::string name;
  uint64_t ticks = 0;  // of CPU time since it began, user and system
};

struct ThreadSample {
  int id = 0;
  std::string name;
  uint64_t ticks = 0;  // of CPU time since it began, user and system
};

struct ProcessSample {
  int pid = 0;
  uint64_t resident_bytes = 0;
  uint64_t disk_read_bytes = 0;  // that had to come from a disk; 0 when it may not be seen
  std::vector<ThreadSample> threads;
};

// The process that asks.
struct OwnProcess {
  double cpu_seconds = 0;  // of all its threads, user and system
  uint64_t resident_bytes = 0;
  uint64_t virtual_bytes = 0;
  int num_threads = 0;
  int num_open_files = 0;
  uint64_t max_open_files = 0;
  double start_time_seconds = 0;  // since 1970
};

CpuSample parse_cpu_times(std::string_view stat_text);            // /proc/stat
MemorySample parse_memory(std::string_view meminfo_text);         // /proc/meminfo
std::vector<double> parse_load(std::string_view loadavg_text);    // /proc/loadavg
std::optional<ThreadSample> parse_thread(std::string_view text);  // /proc/PID/task/TID/stat
uint64_t parse_resident_pages(std::string_view statm_text);       // /proc/PID/statm
uint64_t parse_disk_read_bytes(std::string_view io_text);         // /proc/PID/io
// When a process began, in clock ticks since boot: /proc/PID/stat. When that was, in seconds since
// 1970: /proc/stat. 0 when it does not say.
uint64_t parse_start_ticks(std::string_view text);
uint64_t parse_boot_time(std::string_view stat_text);

// Inodes of the sockets that listen on `port`: /proc/net/tcp and /proc/net/tcp6.
std::vector<uint64_t> parse_listeners(std::string_view tcp_text, uint16_t port);

// Bytes from and to disks: /proc/vmstat.
struct DiskBytes {
  uint64_t read = 0, written = 0;
};
DiskBytes parse_disk_bytes(std::string_view vmstat_text);
std::optional<double> parse_clock_mhz(std::string_view cpuinfo_text);  // the first that is told

MachineSample sample_machine();

// All that this user may see, without their threads: some microseconds each.
std::vector<ProcessTicks> sample_all_processes();

// Of the sensors in the processors; nothing where there is none (virtual machines).
std::optional<double> read_temperature_celsius(const std::string& folder = "/sys/class/hwmon");

// What the processors' packages have taken, by Intel's and AMD's counters (RAPL) as the kernel
// shows them; they begin anew at some bound. Nothing where there are none, or only root may look.
std::optional<double> read_energy_joules(const std::string& folder = "/sys/class/powercap");

// What the packages may take in the long run, together; nothing where it is not told.
std::optional<double> read_power_limit_watts(const std::string& folder = "/sys/class/powercap");

// Nothing when there is no such process (any more).
std::optional<ProcessSample> sample_process(int pid);

OwnProcess sample_own_process();

// The process that listens on a TCP port of this machine, as far as this user may look.
std::optional<int> find_listening_process(uint16_t port);

// Ticks of CPU time a second.
double ticks_per_second();

}  // namespace sluice::machine
