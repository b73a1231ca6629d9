#include "machine/proc.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/threads.h"
#include "http/scripted_server.h"

namespace sluice::machine {
namespace {

TEST(Proc, ParsesCpuTimesOfAllCores) {
  const CpuSample sample = parse_cpu_times(
      "cpu  100 20 30 400 50 6 7 8 90 10\n"
      "cpu0 60 10 20 200 25 3 4 5 45 5\n"
      "cpu1 40 10 10 200 25 3 3 3 45 5\n"
      "intr 12345 0 0\nctxt 99\nbtime 1\n");
  EXPECT_EQ(sample.all.busy, 100u + 20 + 30 + 6 + 7 + 8);  // guest times are in user already
  EXPECT_EQ(sample.all.total, 171u + 400 + 50);
  ASSERT_EQ(sample.cores.size(), 2u);
  EXPECT_EQ(sample.cores[0].busy, 102u);
  EXPECT_EQ(sample.cores[1].total, 294u);
}

TEST(Proc, KeepsThePlaceOfACoreThatIsOff) {
  const CpuSample sample = parse_cpu_times("cpu  1 0 0 1\ncpu0 1 0 0 0\ncpu2 0 0 0 1\n");
  ASSERT_EQ(sample.cores.size(), 3u);
  EXPECT_EQ(sample.cores[1].total, 0u);
  EXPECT_EQ(sample.cores[2].total, 1u);
}

TEST(Proc, ParsesWhatCameFromTheDisk) {
  EXPECT_EQ(parse_disk_read_bytes("rchar: 5\nwchar: 6\nread_bytes: 4096\nwrite_bytes: 0\n"), 4096u);
  EXPECT_EQ(parse_disk_read_bytes(""), 0u);
  EXPECT_EQ(parse_disk_read_bytes("read_bytes: x"), 0u);
}

TEST(Proc, ParsesWhatDisksDid) {
  const DiskBytes bytes = parse_disk_bytes("nr_free_pages 5\npgpgin 10\npgpgout 3\nswap_ra 1\n");
  EXPECT_EQ(bytes.read, 10240u);
  EXPECT_EQ(bytes.written, 3072u);
  EXPECT_EQ(parse_disk_bytes("pgpgin x").read, 0u);
}

TEST(Proc, ParsesTheClock) {
  EXPECT_EQ(parse_clock_mhz("processor\t: 0\ncpu MHz\t\t: 2100.500\n\ncpu MHz : 1\n"), 2100.5);
  EXPECT_EQ(parse_clock_mhz("cpu MHz"), std::nullopt);
  EXPECT_EQ(parse_clock_mhz(""), std::nullopt);
}

TEST(Proc, ReadsTheHottestProcessor) {
  const std::string folder = ::testing::TempDir() + "hwmon-" + std::to_string(::getpid());
  EXPECT_FALSE(read_temperature_celsius(folder).has_value());
  const auto sensor = [&](int number, const char* name, const char* temperature) {
    const std::string own = folder + "/hwmon" + std::to_string(number);
    std::filesystem::create_directories(own);
    std::ofstream(own + "/name") << name << "\n";
    std::ofstream(own + "/temp1_input") << temperature << "\n";
  };
  sensor(0, "nvme", "90000");
  sensor(2, "coretemp", "51000");
  sensor(3, "coretemp", "54500");
  EXPECT_DOUBLE_EQ(read_temperature_celsius(folder).value_or(0), 54.5);
  sensor(2, "coretemp", "broken");
  sensor(3, "coretemp", "");
  EXPECT_FALSE(read_temperature_celsius(folder).has_value());
  std::filesystem::remove_all(folder);
}

TEST(Proc, ListsAllProcesses) {
  const auto all = sample_all_processes();
  const auto own = std::find_if(all.begin(), all.end(),
                                [](const auto& process) { return process.pid == ::getpid(); });
  ASSERT_NE(own, all.end());
  EXPECT_EQ(own->name, "machine_test");
}

TEST(Proc, AddsUpTheEnergyOfThePackages) {
  const std::string folder = ::testing::TempDir() + "powercap-" + std::to_string(::getpid());
  EXPECT_FALSE(read_energy_joules(folder).has_value());
  for (const char* name : {"intel-rapl:0", "intel-rapl:1"}) {
    std::filesystem::create_directories(folder + "/" + name);
    std::ofstream(folder + "/" + name + "/energy_uj") << "1500000\n";
  }
  EXPECT_DOUBLE_EQ(read_energy_joules(folder).value_or(0), 3.0);
  EXPECT_FALSE(read_power_limit_watts(folder).has_value());
  std::ofstream(folder + "/intel-rapl:0/constraint_0_power_limit_uw") << "125000000\n";
  std::ofstream(folder + "/intel-rapl:1/constraint_0_power_limit_uw") << "125000000\n";
  EXPECT_DOUBLE_EQ(read_power_limit_watts(folder).value_or(0), 250.0);
  std::filesystem::remove_all(folder);
}

TEST(Proc, ParsesMemoryInBytes) {
  const MemorySample sample = parse_memory(
      "MemTotal:       24683656 kB\nMemFree:        23215788 kB\nMemAvailable:   24169004 kB\n"
      "HugePages_Total:       0\n");
  EXPECT_EQ(sample.total_bytes, 24683656ull * 1024);
  EXPECT_EQ(sample.available_bytes, 24169004ull * 1024);
}

TEST(Proc, ParsesLoad) {
  EXPECT_EQ(parse_load("2.64 3.09 12.29 1/91 31095\n"), (std::vector<double>{2.64, 3.09, 12.29}));
  EXPECT_TRUE(parse_load("2.64 x").empty());
}

TEST(Proc, ParsesAThreadWhoseNameHoldsBracketsAndSpaces) {
  const auto thread = parse_thread(
      "4711 (cpu) R 1 (2) S 4710 4711 8108 0 -1 4194304 101 0 0 0 250 31 0 0 20 0 1 0 283013 "
      "3133440 413\n");
  ASSERT_TRUE(thread.has_value());
  EXPECT_EQ(thread->id, 4711);
  EXPECT_EQ(thread->name, "cpu) R 1 (2");
  EXPECT_EQ(thread->ticks, 281u);
}

TEST(Proc, SkipsBrokenText) {
  for (const char* text : {"", "x", "12", "12 (a", "12 a) R", ") (", "12 (a) R 1 2 3",
                           "12 (a) R 1 2 3 4 5 6 7 8 9 10 x y"}) {
    EXPECT_FALSE(parse_thread(text).has_value()) << text;
  }
  EXPECT_TRUE(parse_cpu_times("cpux 1 2 3\ncpu99999999 1\ncpu-1 1\n").cores.empty());
  EXPECT_EQ(parse_cpu_times("cpu").all.total, 0u);
  EXPECT_EQ(parse_memory("MemTotal:").total_bytes, 0u);
  EXPECT_TRUE(parse_load("").empty());
  EXPECT_EQ(parse_resident_pages("765"), 0u);
  EXPECT_EQ(parse_resident_pages("765 434 406 5 0 123 0\n"), 434u);
}

TEST(Proc, FindsTheSocketsThatListen) {
  const char* text =
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout "
      "inode\n"
      "   0: 0100007F:2CAA 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 "
      "640 1 00000000b975f82c 100 0 0 10 0\n"
      "   1: 0100007F:2CAA 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 "
      "641 1 00000000b975f82c 100 0 0 10 0\n"
      "   2: 00000000000000000000000000000000:2CAA 00000000000000000000000000000000:0000 0A "
      "00000000:00000000 00:00000000 00000000     0        0 642 1\n"
      "   3: 0100007F:2CAB 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 643 1\n"
      "   4: broken\n";
  EXPECT_EQ(parse_listeners(text, 11434), (std::vector<uint64_t>{640, 642}));
  EXPECT_TRUE(parse_listeners(text, 80).empty());
}

TEST(Proc, SamplesThisMachine) {
  const MachineSample sample = sample_machine();
  EXPECT_FALSE(sample.cpu.cores.empty());
  EXPECT_GT(sample.cpu.all.total, 0u);
  EXPECT_GT(sample.memory.total_bytes, 0u);
  EXPECT_GT(sample.memory.available_bytes, 0u);
}

TEST(Proc, SamplesTheThreadsOfThisProcessByName) {
  std::atomic<bool> is_named{false};
  std::atomic<bool> stop{false};
  std::thread thread([&] {
    set_thread_name("test-busy");
    is_named = true;
    while (!stop) {
    }
  });
  while (!is_named) std::this_thread::yield();
  // Until the kernel has counted a few ticks of it.
  uint64_t ticks = 0;
  for (int i = 0; i < 500 && ticks < 2; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    const auto sample = sample_process(::getpid());
    ASSERT_TRUE(sample.has_value());
    EXPECT_GT(sample->resident_bytes, 0u);
    for (const ThreadSample& found : sample->threads) {
      if (found.name == "test-busy") ticks = found.ticks;
    }
  }
  stop = true;
  thread.join();
  EXPECT_GE(ticks, 2u);
}

TEST(Proc, KnowsWhenAProcessIsGone) { EXPECT_FALSE(sample_process(0x7FFFFFFF).has_value()); }

TEST(Proc, FindsTheProcessThatListens) {
  test::ScriptedServer server([](test::ScriptedConnection&) {});
  EXPECT_EQ(find_listening_process(server.port()), ::getpid());
}

TEST(Proc, ParsesWhenAProcessBegan) {
  EXPECT_EQ(parse_start_ticks("7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 99 1"),
            4242u);
  EXPECT_EQ(parse_start_ticks(""), 0u);
  EXPECT_EQ(parse_start_ticks("7 (short) S 1"), 0u);
  EXPECT_EQ(parse_boot_time("cpu  1 2\nbtime 1700000000\nprocesses 5\n"), 1700000000u);
  EXPECT_EQ(parse_boot_time("cpu  1 2\n"), 0u);
}

TEST(Proc, SamplesTheOwnProcess) {
  const OwnProcess before = sample_own_process();
  const auto now = static_cast<double>(::time(nullptr));
  EXPECT_GT(before.start_time_seconds, now - 86400);
  EXPECT_LE(before.start_time_seconds, now + 1);
  EXPECT_GT(before.resident_bytes, 100'000u);
  EXPECT_GE(before.virtual_bytes, before.resident_bytes);
  EXPECT_GE(before.num_threads, 1);
  EXPECT_GE(before.max_open_files, 3u);
  std::ifstream file("/proc/self/stat");
  EXPECT_EQ(sample_own_process().num_open_files, before.num_open_files + 1);
  EXPECT_GE(sample_own_process().cpu_seconds, before.cpu_seconds);
}

}  // namespace
}  // namespace sluice::machine
