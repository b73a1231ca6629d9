// The fragments of the emulator's mma and ldmatrix against an independent word on them.

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <sstream>

#include "simt/machine.h"
#include "simt/probe_kernels.h"
#include "simt/simt.h"
#include "test_data.h"

namespace sluice::simt {
namespace {

struct Line {
  std::string name;
  int lane, element, row, column;
};

// What cute/layouts.cpp prints; nothing when it cannot be had.
std::vector<Line> cute_layouts() {
  const char* const headers = std::getenv("SLUICE_TEST_CUTLASS");
  if (!headers) return {};
  const std::string source = test_data("simt/cute/layouts.cpp");
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("sluice-layouts-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  const std::string program = (folder / "layouts").string(), text = (folder / "text").string();
  const std::string cuda = SLUICE_CUDA_INCLUDE;
  const std::string command = "g++ -std=c++17 -O0 -w -I'" + std::string(headers) + "' -I'" + cuda +
                              "/cccl' -I'" + cuda + "' '" + source + "' -o '" + program + "' && '" +
                              program + "' > '" + text + "'";
  EXPECT_EQ(std::system(command.c_str()), 0);
  std::vector<Line> lines;
  std::ifstream file(text);
  for (Line line; file >> line.name >> line.lane >> line.element >> line.row >> line.column;) {
    lines.push_back(line);
  }
  std::filesystem::remove_all(folder);
  return lines;
}

// What ldmatrix gives: element i of a lane is `row * 8 + column` of the rows given, by `name`.
std::map<std::string, std::vector<uint16_t>> emulated_copies() {
  std::vector<uint16_t> values(256);
  std::iota(values.begin(), values.end(), uint16_t{0});
  const DeviceArray<uint16_t> in(values);
  std::map<std::string, std::vector<uint16_t>> results;
  for (const bool is_transposed : {false, true}) {
    for (const int count : {2, 4}) {
      const DeviceArray<uint32_t> out(static_cast<size_t>(32 * count));
      const LoadMatrixArgs args{out.data(), in.data(), count, is_transposed};
      EXPECT_EQ(launch("simt_load_matrix", {1}, {32}, 0, args).problems(), "");
      std::vector<uint16_t> halves;
      for (uint32_t word : out.values()) {
        halves.push_back(static_cast<uint16_t>(word));
        halves.push_back(static_cast<uint16_t>(word >> 16));
      }
      results["x" + std::to_string(count) + (is_transposed ? "t" : "")] = halves;
    }
  }
  return results;
}

TEST(Layouts, AreThoseOfCute) {
  const std::vector<Line> lines = cute_layouts();
  if (lines.empty() && !testing::Test::HasFailure()) {
    GTEST_SKIP() << "SLUICE_TEST_CUTLASS does not name CUTLASS's headers";
  }
  const auto copies = emulated_copies();
  size_t num_products = 0, num_copies = 0;
  for (const Line& line : lines) {
    SCOPED_TRACE(line.name + " lane " + std::to_string(line.lane) + " element " +
                 std::to_string(line.element));
    const auto copy = copies.find(line.name);
    if (copy != copies.end()) {
      const size_t per_lane = copy->second.size() / 32;
      const auto at = static_cast<size_t>(line.lane) * per_lane + static_cast<size_t>(line.element);
      ASSERT_EQ(copy->second.at(at), line.row * 8 + line.column);
      ++num_copies;
      continue;
    }
    const int pack = line.name.ends_with("16") ? 2 : 4;
    MatrixPlace place = c_place(line.lane, line.element);
    if (line.name[0] == 'a') place = a_place(line.lane, line.element, pack);
    if (line.name[0] == 'b') {
      place = b_place(line.lane, line.element, pack);
      std::swap(place.row, place.column);
    }
    ASSERT_EQ(place.row, line.row);
    ASSERT_EQ(place.column, line.column);
    ++num_products;
  }
  EXPECT_EQ(num_products, 32u * (2 * (8 + 4 + 4) + 16 + 8 + 4));
  EXPECT_EQ(num_copies, 32u * (4 + 8 + 4 + 8));
}

}  // namespace
}  // namespace sluice::simt
