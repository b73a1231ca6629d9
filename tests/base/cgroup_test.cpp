#include "base/cgroup.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "base/threads.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

// A folder with the system's files as a test writes them.
class Cgroup : public testing::Test {
 protected:
  void SetUp() override {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    root_ = fs::path(testing::TempDir()) / (std::string("cgroup_") + test->name());
    fs::remove_all(root_);
  }
  void TearDown() override { fs::remove_all(root_); }

  void write(const std::string& path, const std::string& text) {
    const fs::path file = root_ / path;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void write_v2(const std::string& membership, const std::string& mount_root = "/") {
    write("proc/self/cgroup", "0::" + membership + "\n");
    write("proc/self/mountinfo",
          "22 1 0:20 / /proc rw,relatime - proc proc rw\n"
          "30 23 0:26 " +
              mount_root + " /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
  }
  CgroupLimits limits() const { return read_cgroup_limits(root_); }

  fs::path root_;
};

TEST_F(Cgroup, NothingToReadIsNoLimit) {
  EXPECT_FALSE(limits().cores);
  EXPECT_FALSE(limits().memory_bytes);
  write("proc/self/cgroup", "nonsense\n:\n0:\n");
  write("proc/self/mountinfo", "\n1 2\n1 2 3 4 5 - cgroup2\n");
  EXPECT_FALSE(limits().cores);
}

TEST_F(Cgroup, Version2TakesTheLeastOfAllLevels) {
  write_v2("/user.slice/job/step");
  const std::string top = "sys/fs/cgroup/";
  write(top + "user.slice/cpu.max", "150000 100000\n");
  write(top + "user.slice/job/cpu.max", "max 100000\n");
  write(top + "user.slice/job/step/cpu.max", "400000 100000\n");
  EXPECT_DOUBLE_EQ(limits().cores.value(), 1.5);

  // The group above has 1,000,000 of its own left, the lowest 5,000,000.
  write(top + "user.slice/memory.max", "10000000\n");
  write(top + "user.slice/memory.current", "9500000\n");
  write(top + "user.slice/memory.stat", "anon 9000000\nfile 500000\ninactive_file 500000\n");
  write(top + "user.slice/job/step/memory.max", "6000000\n");
  write(top + "user.slice/job/step/memory.current", "1000000\n");
  EXPECT_EQ(limits().memory_bytes.value(), 1'000'000u);
}

TEST_F(Cgroup, Version2MemoryHighIsALimitToo) {
  write_v2("/");
  write("sys/fs/cgroup/memory.max", "max\n");
  write("sys/fs/cgroup/memory.current", "300\n");
  EXPECT_FALSE(limits().memory_bytes);
  write("sys/fs/cgroup/memory.high", "1000\n");
  EXPECT_EQ(limits().memory_bytes.value(), 700u);
  write("sys/fs/cgroup/memory.current", "3000\n");
  EXPECT_EQ(limits().memory_bytes.value(), 0u);
}

// Docker without a cgroup namespace: the mount shows the container's own part of the hierarchy.
TEST_F(Cgroup, MountThatShowsAPartOfTheHierarchy) {
  write_v2("/docker/abc/inner", "/docker/abc");
  write("sys/fs/cgroup/cpu.max", "300000 100000\n");
  write("sys/fs/cgroup/inner/cpu.max", "250000 100000\n");
  EXPECT_DOUBLE_EQ(limits().cores.value(), 2.5);
}

// A namespace entered from outside: "/../..". What is mounted counts.
TEST_F(Cgroup, GroupOutsideOfWhatIsMounted) {
  write_v2("/../other", "/");
  write("sys/fs/cgroup/cpu.max", "200000 100000\n");
  EXPECT_DOUBLE_EQ(limits().cores.value(), 2.0);
  write_v2("/elsewhere", "/docker/abc");
  EXPECT_DOUBLE_EQ(limits().cores.value(), 2.0);
}

TEST_F(Cgroup, Version1) {
  write("proc/self/cgroup", "4:memory:/a/b\n2:cpu,cpuacct:/a\n1:name=systemd:/x\n0::/x\n");
  write("proc/self/mountinfo",
        "31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "32 23 0:28 / /sys/fs/cgroup/my\\040memory rw - cgroup cgroup rw,memory\n"
        "33 23 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  const std::string cpu = "sys/fs/cgroup/cpu,cpuacct/", memory = "sys/fs/cgroup/my memory/";
  write(cpu + "cpu.cfs_quota_us", "-1\n");
  write(cpu + "cpu.cfs_period_us", "100000\n");
  write(memory + "memory.limit_in_bytes", "9223372036854771712\n");
  write(memory + "memory.usage_in_bytes", "123456\n");
  EXPECT_FALSE(limits().cores);
  EXPECT_FALSE(limits().memory_bytes);

  write(cpu + "a/cpu.cfs_quota_us", "50000\n");
  write(cpu + "a/cpu.cfs_period_us", "100000\n");
  write(memory + "a/b/memory.limit_in_bytes", "5000\n");
  write(memory + "a/b/memory.usage_in_bytes", "4000\n");
  write(memory + "a/b/memory.stat", "inactive_file 1\ntotal_inactive_file 1500\n");
  EXPECT_DOUBLE_EQ(limits().cores.value(), 0.5);
  EXPECT_EQ(limits().memory_bytes.value(), 2500u);
}

TEST(UsableCores, QuotasAreRoundedAndNeverBelowOne) {
  EXPECT_EQ(usable_cores(4, std::nullopt), 4);
  EXPECT_EQ(usable_cores(4, 1.5), 2);
  EXPECT_EQ(usable_cores(4, 1.4), 1);
  EXPECT_EQ(usable_cores(4, 2.2), 2);
  EXPECT_EQ(usable_cores(4, 0.1), 1);
  EXPECT_EQ(usable_cores(2, 64.0), 2);
  EXPECT_GE(usable_cores(), 1);
}

}  // namespace
}  // namespace sluice
