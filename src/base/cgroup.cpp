#include "base/cgroup.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {
namespace {

namespace fs = std::filesystem;

// A line of /proc/self/cgroup: "4:cpu,cpuacct:/path", or "0::/path" of version 2.
struct Membership {
  std::string controllers;
  std::string path;
};

// A mounted hierarchy: of /proc/self/mountinfo.
struct Mount {
  std::string root;   // of the hierarchy, the group that is seen at `point`
  std::string point;  // a path
  bool is_v2 = false;
  std::string options;  // of version 1: the controllers among them
};

bool has_word(const std::string& list, std::string_view word) {
  std::istringstream words(list);
  for (std::string each; std::getline(words, each, ',');) {
    if (each == word) return true;
  }
  return false;
}

std::vector<Membership> read_memberships(const fs::path& root) {
  std::vector<Membership> result;
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    result.push_back({line.substr(first + 1, second - first - 1), line.substr(second + 1)});
  }
  return result;
}

// "\040" is a blank: proc(5).
std::string unescape(const std::string& text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      result += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                  (text[i + 3] - '0'));
      i += 3;
    } else {
      result += text[i];
    }
  }
  return result;
}

std::vector<Mount> read_mounts(const fs::path& root) {
  std::vector<Mount> result;
  std::ifstream file(root / "proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string skipped, type;
    Mount mount;
    fields >> skipped >> skipped >> skipped >> mount.root >> mount.point;
    while (fields >> skipped && skipped != "-") {
    }
    fields >> type >> skipped >> mount.options;
    if (type != "cgroup" && type != "cgroup2") continue;
    mount.root = unescape(mount.root);
    mount.point = unescape(mount.point);
    mount.is_v2 = type == "cgroup2";
    result.push_back(mount);
  }
  return result;
}

// The folders of a group and of those above it, the lowest first.
std::vector<fs::path> levels(const fs::path& root, const Mount& mount, const std::string& group) {
  const fs::path top = root / fs::path(mount.point).relative_path();
  // Within a container the mount may show a part of the hierarchy only.
  fs::path below = fs::path(group).lexically_relative(mount.root);
  if (below.empty() || *below.begin() == "..") below = ".";
  std::vector<fs::path> result;
  for (fs::path at = below; !at.empty() && at != "."; at = at.parent_path()) {
    result.push_back(top / at);
  }
  result.push_back(top);
  return result;
}

std::optional<double> read_number(const fs::path& path) {
  std::ifstream file(path);
  double value = 0;
  if (file >> value) return value;  // "max" is no number
  return std::nullopt;
}

std::optional<double> read_field(const fs::path& path, std::string_view key) {
  std::ifstream file(path);
  std::string name;
  for (double value = 0; file >> name >> value;) {
    if (name == key) return value;
  }
  return std::nullopt;
}

template <class T>
void lower(std::optional<T>& limit, std::optional<T> other) {
  if (other && (!limit || *other < *limit)) limit = other;
}

std::optional<double> quota_of(const fs::path& group, bool is_v2) {
  double quota = 0, period = 0;
  if (is_v2) {
    std::ifstream file(group / "cpu.max");
    file >> quota >> period;
  } else {
    quota = read_number(group / "cpu.cfs_quota_us").value_or(0);
    period = read_number(group / "cpu.cfs_period_us").value_or(0);
  }
  if (quota <= 0 || period <= 0) return std::nullopt;  // version 1 says -1 for none
  return quota / period;
}

// What can still be taken in a group: file pages that it has not used of late can be dropped.
std::optional<uint64_t> free_memory_of(const fs::path& group, bool is_v2) {
  std::optional<double> limit =
      read_number(group / (is_v2 ? "memory.max" : "memory.limit_in_bytes"));
  if (is_v2) lower(limit, read_number(group / "memory.high"));
  const auto used = read_number(group / (is_v2 ? "memory.current" : "memory.usage_in_bytes"));
  if (!limit || !used) return std::nullopt;
  // Version 1 says a little less than 2^63 for none.
  if (*limit > static_cast<double>(std::numeric_limits<int64_t>::max() / 2)) return std::nullopt;
  const double cached =
      read_field(group / "memory.stat", is_v2 ? "inactive_file" : "total_inactive_file")
          .value_or(0);
  return static_cast<uint64_t>(std::max(0.0, *limit - std::max(0.0, *used - cached)));
}

}  // namespace

CgroupLimits read_cgroup_limits(const fs::path& root) {
  CgroupLimits limits;
  const std::vector<Mount> mounts = read_mounts(root);
  for (const Membership& group : read_memberships(root)) {
    for (const Mount& mount : mounts) {
      const bool is_v2 = group.controllers.empty();
      if (is_v2 != mount.is_v2) continue;
      const auto governs = [&](std::string_view controller) {
        return is_v2 ||
               (has_word(group.controllers, controller) && has_word(mount.options, controller));
      };
      for (const fs::path& level : levels(root, mount, group.path)) {
        if (governs("cpu")) lower(limits.cores, quota_of(level, is_v2));
        if (governs("memory")) lower(limits.memory_bytes, free_memory_of(level, is_v2));
      }
    }
  }
  return limits;
}

}  // namespace sluice
