#include "machine/proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <memory>
#include <span>

namespace sluice::machine {
namespace {

constexpr size_t kMaxCores = 4096;

// Cuts the next word (up to a space, tab or line end) off `text`; empty at the end.
std::string_view take_word(std::string_view& text) {
  const size_t begin = std::min(text.find_first_not_of(" \t\n"), text.size());
  const size_t end = std::min(text.find_first_of(" \t\n", begin), text.size());
  const std::string_view word = text.substr(begin, end - begin);
  text.remove_prefix(end);
  return word;
}

std::string_view take_line(std::string_view& text) {
  const size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

template <typename Number>
std::optional<Number> parse_number(std::string_view word, int base = 10) {
  Number number = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number, base);
  if (error != std::errc() || end != word.data() + word.size() || word.empty()) return {};
  return number;
}

// With system calls alone: streams cost more than the kernel's part. `folder`: of a relative path.
std::string read_text(const char* path, int folder = AT_FDCWD) {
  std::string text;
  const int file = ::openat(folder, path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return text;
  constexpr size_t kPiece = 4096;
  ssize_t count = 0;
  do {
    const size_t size = text.size();
    text.resize(size + kPiece);
    count = ::read(file, text.data() + size, kPiece);
    text.resize(size + static_cast<size_t>(std::max<ssize_t>(count, 0)));
  } while (count > 0);
  ::close(file);
  return text;
}

std::string read_text(const std::string& path) { return read_text(path.c_str()); }

// A file that is no longer than a line, into memory that is there.
std::string_view read_line(const char* path, int folder, std::span<char> room) {
  const int file = ::openat(folder, path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return {};
  const ssize_t count = ::read(file, room.data(), room.size());
  ::close(file);
  return {room.data(), static_cast<size_t>(std::max<ssize_t>(count, 0))};
}

// Names in a folder that are numbers: processes, threads, file descriptors.
std::vector<int> list_numbers(const std::string& path) {
  std::vector<int> numbers;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(path.c_str()), ::closedir);
  if (!folder) return numbers;
  while (const dirent* entry = ::readdir(folder.get())) {
    if (const auto number = parse_number<int>(entry->d_name)) numbers.push_back(*number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

// From the kernel's governor; where there is none (virtual machines) from the list of cores, of
// which the beginning is enough: all of it takes long on large machines.
std::optional<double> read_clock_mhz() {
  constexpr int kMostCores = 8;
  double sum = 0;
  int count = 0;
  for (int core = 0; core < kMostCores; ++core) {
    const std::string text = read_text("/sys/devices/system/cpu/cpu" + std::to_string(core) +
                                       "/cpufreq/scaling_cur_freq");
    std::string_view rest = text;
    const auto kilohertz = parse_number<uint64_t>(take_word(rest));
    if (!kilohertz) break;
    sum += static_cast<double>(*kilohertz) / 1e3;
    ++count;
  }
  if (count > 0) return sum / count;
  std::ifstream file("/proc/cpuinfo", std::ios::binary);
  std::string head(4096, '\0');
  file.read(head.data(), static_cast<std::streamsize>(head.size()));
  head.resize(static_cast<size_t>(file.gcount()));
  return parse_clock_mhz(head);
}

// user nice system idle iowait irq softirq steal; guest times are part of user already.
CpuTimes parse_times(std::string_view line) {
  constexpr int kIdle = 3;
  constexpr int kWaiting = 4;
  CpuTimes times;
  for (int i = 0; i < 8; ++i) {
    const uint64_t ticks = parse_number<uint64_t>(take_word(line)).value_or(0);
    times.total += ticks;
    if (i != kIdle && i != kWaiting) times.busy += ticks;
  }
  return times;
}

bool holds_socket(int pid, const std::vector<uint64_t>& inodes) {
  const std::string folder = "/proc/" + std::to_string(pid) + "/fd/";
  for (int descriptor : list_numbers(folder)) {
    char target[64];
    const ssize_t size =
        ::readlink((folder + std::to_string(descriptor)).c_str(), target, sizeof target);
    if (size <= 0) continue;
    std::string_view link(target, static_cast<size_t>(size));
    if (!link.starts_with("socket:[") || !link.ends_with(']')) continue;
    link = link.substr(8, link.size() - 9);
    const auto inode = parse_number<uint64_t>(link);
    if (inode && std::find(inodes.begin(), inodes.end(), *inode) != inodes.end()) return true;
  }
  return false;
}

}  // namespace

CpuSample parse_cpu_times(std::string_view stat_text) {
  CpuSample sample;
  while (!stat_text.empty()) {
    std::string_view line = take_line(stat_text);
    std::string_view name = take_word(line);
    if (!name.starts_with("cpu")) continue;
    name.remove_prefix(3);
    if (name.empty()) {
      sample.all = parse_times(line);
    } else if (const auto number = parse_number<size_t>(name); number && *number < kMaxCores) {
      // A core that is switched off has no line; it keeps its place.
      sample.cores.resize(std::max(sample.cores.size(), *number + 1));
      sample.cores[*number] = parse_times(line);
    }
  }
  return sample;
}

MemorySample parse_memory(std::string_view meminfo_text) {
  MemorySample sample;
  while (!meminfo_text.empty()) {
    std::string_view line = take_line(meminfo_text);
    const std::string_view name = take_word(line);
    const uint64_t bytes = parse_number<uint64_t>(take_word(line)).value_or(0) * 1024;
    if (name == "MemTotal:") sample.total_bytes = bytes;
    if (name == "MemAvailable:") sample.available_bytes = bytes;
  }
  return sample;
}

std::vector<double> parse_load(std::string_view loadavg_text) {
  std::vector<double> load;
  for (int i = 0; i < 3; ++i) {
    const std::string_view word = take_word(loadavg_text);
    double value = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc() || end != word.data() + word.size()) return {};
    load.push_back(value);
  }
  return load;
}

std::optional<ThreadSample> parse_thread(std::string_view text) {
  // The name stands in brackets and may itself hold brackets and spaces.
  const size_t open = text.find('(');
  const size_t close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) return {};
  std::string_view head = text.substr(0, open);
  const auto id = parse_number<int>(take_word(head));
  if (!id) return {};
  ThreadSample thread{.id = *id, .name = std::string(text.substr(open + 1, close - open - 1))};
  std::string_view rest = text.substr(close + 1);
  for (int field = 3; field <= 13; ++field) take_word(rest);
  const auto user = parse_number<uint64_t>(take_word(rest));
  const auto system = parse_number<uint64_t>(take_word(rest));
  if (!user || !system) return {};
  thread.ticks = *user + *system;
  return thread;
}

uint64_t parse_resident_pages(std::string_view statm_text) {
  take_word(statm_text);
  return parse_number<uint64_t>(take_word(statm_text)).value_or(0);
}

uint64_t parse_disk_read_bytes(std::string_view io_text) {
  while (!io_text.empty()) {
    std::string_view line = take_line(io_text);
    if (take_word(line) == "read_bytes:")
      return parse_number<uint64_t>(take_word(line)).value_or(0);
  }
  return 0;
}

uint64_t parse_start_ticks(std::string_view text) {
  text.remove_prefix(std::min(text.rfind(')'), text.size()));
  for (int field = 2; field <= 21; ++field) take_word(text);
  return parse_number<uint64_t>(take_word(text)).value_or(0);
}

uint64_t parse_boot_time(std::string_view stat_text) {
  while (!stat_text.empty()) {
    std::string_view line = take_line(stat_text);
    if (take_word(line) == "btime") return parse_number<uint64_t>(take_word(line)).value_or(0);
  }
  return 0;
}

std::vector<uint64_t> parse_listeners(std::string_view tcp_text, uint16_t port) {
  constexpr std::string_view kListening = "0A";
  std::vector<uint64_t> inodes;
  while (!tcp_text.empty()) {
    std::string_view line = take_line(tcp_text);
    take_word(line);  // number
    const std::string_view local = take_word(line);
    take_word(line);  // remote
    if (take_word(line) != kListening) continue;
    const size_t colon = local.rfind(':');
    if (colon == std::string_view::npos) continue;
    if (parse_number<uint16_t>(local.substr(colon + 1), 16) != port) continue;
    for (int i = 0; i < 5; ++i) take_word(line);  // queues, timer, retransmits, user, timeout
    if (const auto inode = parse_number<uint64_t>(take_word(line))) inodes.push_back(*inode);
  }
  return inodes;
}

DiskBytes parse_disk_bytes(std::string_view vmstat_text) {
  DiskBytes bytes;
  while (!vmstat_text.empty()) {
    std::string_view line = take_line(vmstat_text);
    const std::string_view name = take_word(line);
    if (name != "pgpgin" && name != "pgpgout") continue;  // which count kilobytes
    const uint64_t value = parse_number<uint64_t>(take_word(line)).value_or(0) * 1024;
    (name == "pgpgin" ? bytes.read : bytes.written) = value;
  }
  return bytes;
}

std::optional<double> parse_clock_mhz(std::string_view cpuinfo_text) {
  while (!cpuinfo_text.empty()) {
    std::string_view line = take_line(cpuinfo_text);
    if (!line.starts_with("cpu MHz")) continue;
    line.remove_prefix(std::min(line.find(':') + 1, line.size()));
    const std::string_view word = take_word(line);
    double megahertz = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), megahertz);
    if (error != std::errc() || word.empty()) return std::nullopt;
    return megahertz;
  }
  return std::nullopt;
}

MachineSample sample_machine() {
  const DiskBytes disk = parse_disk_bytes(read_text("/proc/vmstat"));
  return {.cpu = parse_cpu_times(read_text("/proc/stat")),
          .memory = parse_memory(read_text("/proc/meminfo")),
          .load = parse_load(read_text("/proc/loadavg")),
          .energy_joules = read_energy_joules(),
          .clock_mhz = read_clock_mhz(),
          .temperature_celsius = read_temperature_celsius(),
          .disk_read_bytes = disk.read,
          .disk_written_bytes = disk.written};
}

std::vector<ProcessTicks> sample_all_processes() {
  std::vector<ProcessTicks> processes;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir("/proc"), ::closedir);
  if (!folder) return processes;
  char path[32], room[1024];
  while (const dirent* entry = ::readdir(folder.get())) {
    const auto pid = parse_number<int>(entry->d_name);
    if (!pid) continue;
    std::snprintf(path, sizeof path, "%d/stat", *pid);
    const auto process = parse_thread(read_line(path, ::dirfd(folder.get()), room));
    if (process) processes.push_back({*pid, process->name, process->ticks});
  }
  return processes;
}

std::optional<double> read_temperature_celsius(const std::string& folder) {
  constexpr int kMostSensors = 32;
  std::optional<double> hottest;
  for (int i = 0; i < kMostSensors; ++i) {
    const std::string sensor = folder + "/hwmon" + std::to_string(i);
    const std::string name = read_text(sensor + "/name");
    if (name != "coretemp\n" && name != "k10temp\n" && name != "zenpower\n") continue;
    const std::string text = read_text(sensor + "/temp1_input");
    std::string_view rest = text;
    const auto thousandths = parse_number<int>(take_word(rest));
    if (thousandths) hottest = std::max(hottest.value_or(-300), *thousandths / 1e3);
  }
  return hottest;
}

namespace {

// Of all packages together, from a file in millionths each; nothing when there is none.
std::optional<double> sum_of_packages(const std::string& folder, const char* file) {
  constexpr int kMostPackages = 64;
  std::optional<double> sum;
  for (int package = 0; package < kMostPackages; ++package) {
    const std::string text = read_text(folder + "/intel-rapl:" + std::to_string(package) + file);
    std::string_view rest = text;
    const auto millionths = parse_number<uint64_t>(take_word(rest));
    if (!millionths) break;
    sum = sum.value_or(0) + static_cast<double>(*millionths) / 1e6;
  }
  return sum;
}

}  // namespace

std::optional<double> read_energy_joules(const std::string& folder) {
  return sum_of_packages(folder, "/energy_uj");
}

std::optional<double> read_power_limit_watts(const std::string& folder) {
  return sum_of_packages(folder, "/constraint_0_power_limit_uw");
}

std::optional<ProcessSample> sample_process(int pid) {
  const std::string folder = "/proc/" + std::to_string(pid);
  ProcessSample sample;
  sample.pid = pid;
  for (int id : list_numbers(folder + "/task")) {
    // A thread may end between the listing and the reading.
    const auto thread = parse_thread(read_text(folder + "/task/" + std::to_string(id) + "/stat"));
    if (thread) sample.threads.push_back(*thread);
  }
  if (sample.threads.empty()) return {};
  sample.resident_bytes = parse_resident_pages(read_text(folder + "/statm")) *
                          static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  sample.disk_read_bytes = parse_disk_read_bytes(read_text(folder + "/io"));
  return sample;
}

OwnProcess sample_own_process() {
  OwnProcess process;
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  process.cpu_seconds = seconds(usage.ru_utime) + seconds(usage.ru_stime);
  const std::string statm = read_text("/proc/self/statm");
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  process.resident_bytes = parse_resident_pages(statm) * page;
  std::string_view pages = statm;
  process.virtual_bytes = parse_number<uint64_t>(take_word(pages)).value_or(0) * page;
  process.num_threads = static_cast<int>(list_numbers("/proc/self/task").size());
  // Without the one that lists them.
  const auto num_files = static_cast<int>(list_numbers("/proc/self/fd").size());
  process.num_open_files = std::max(0, num_files - 1);
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) process.max_open_files = limit.rlim_cur;
  process.start_time_seconds =
      static_cast<double>(parse_boot_time(read_text("/proc/stat"))) +
      static_cast<double>(parse_start_ticks(read_text("/proc/self/stat"))) / ticks_per_second();
  return process;
}

std::optional<int> find_listening_process(uint16_t port) {
  std::vector<uint64_t> inodes = parse_listeners(read_text("/proc/net/tcp"), port);
  const std::vector<uint64_t> more = parse_listeners(read_text("/proc/net/tcp6"), port);
  inodes.insert(inodes.end(), more.begin(), more.end());
  if (inodes.empty()) return {};
  for (int pid : list_numbers("/proc")) {
    if (holds_socket(pid, inodes)) return pid;
  }
  return {};
}

double ticks_per_second() { return static_cast<double>(::sysconf(_SC_CLK_TCK)); }

}  // namespace sluice::machine
