#include "simt/simt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "quant/codec.h"
#include "simt/machine.h"
#include "simt/probe_kernels.h"

namespace sluice::simt {
namespace {

using testing::HasSubstr;

std::vector<float> numbers(size_t count) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), 1.0f);
  return values;
}

struct Outcome {
  Report report;
  std::vector<float> out;
};

// `kernel` on `num_in` numbers, 1, 2, ..; `num_out` come out.
Outcome run(const std::string& kernel, int flag, Size3 grid, Size3 block, size_t num_in,
            size_t num_out, int count = 32, uint32_t seed = 0) {
  const DeviceArray<float> in(numbers(num_in), "in"), out(num_out, "out");
  const DeviceArray<uint32_t> counter(std::vector<uint32_t>{0}, "counter");
  ProbeArgs args{out.data(), in.data(), count, flag, counter.data()};
  Options options;
  options.seed = seed;
  Outcome result{launch(kernel, grid, block, 0, args, options), {}};
  result.out = out.values();
  return result;
}

TEST(Simt, RunsAGrid) {
  for (uint32_t seed : {0u, 1u, 2u}) {
    const Outcome got = run("simt_copy", 0, {4}, {64}, 256, 256, 256, seed);
    EXPECT_EQ(got.report.problems(), "");
    for (size_t i = 0; i < 256; ++i) ASSERT_EQ(got.out[i], static_cast<float>(2 * i + 1));
    EXPECT_EQ(got.report.sectors, 64u);
    EXPECT_EQ(got.report.global_bytes_read, 1024u);
    EXPECT_EQ(got.report.wasteful_lines(1, 1), "");
  }
}

TEST(Simt, CountsSectorsOfScatteredLoads) {
  const Outcome got = run("simt_copy", 1, {1}, {64}, 512, 64, 512);
  EXPECT_EQ(got.report.problems(), "");
  EXPECT_EQ(got.report.sectors, 64u + 8u);
  EXPECT_THAT(
      got.report.wasteful_lines(1, 1),
      HasSubstr("reads global memory in 64 sectors where 8 would do (2 requests, 256 bytes)"));
  EXPECT_THAT(got.report.wasteful_lines(1, 1), HasSubstr("probe_kernels.cu:"));
}

TEST(Simt, SeesAccessesOutsideOfMemory) {
  const Outcome got = run("simt_copy", 2, {1}, {64}, 40, 64, 40);
  EXPECT_THAT(got.report.problems(),
              HasSubstr("reads 4 bytes outside of all memory: 0 bytes behind in"));
}

TEST(Simt, SeesAMissingBlockBarrier) {
  for (uint32_t seed : {0u, 3u}) {
    EXPECT_EQ(run("simt_reverse", 0, {1}, {64}, 64, 64, 0, seed).report.problems(), "");
    for (int flag : {1, 2}) {
      const Outcome got = run("simt_reverse", flag, {1}, {64}, 64, 64, 0, seed);
      EXPECT_THAT(got.report.problems(), HasSubstr("with nothing between"));
    }
  }
  const Outcome got = run("simt_reverse", 0, {1}, {64}, 64, 64);
  EXPECT_EQ(got.out[3], 61.0f);
  EXPECT_EQ(got.report.block_barriers, 1u);
}

TEST(Simt, SeesAMissingWarpBarrier) {
  EXPECT_EQ(run("simt_reverse_warp", 0, {1}, {32}, 32, 32).report.problems(), "");
  EXPECT_THAT(run("simt_reverse_warp", 1, {1}, {32}, 32, 32).report.problems(),
              HasSubstr("with nothing between"));
}

TEST(Simt, CountsBankConflicts) {
  const Outcome good = run("simt_transpose", 0, {1}, {32}, 1024, 1024);
  EXPECT_EQ(good.report.problems(), "");
  EXPECT_EQ(good.report.shared_passes, 64u);
  EXPECT_EQ(good.out[1], 33.0f);
  const Outcome bad = run("simt_transpose", 1, {1}, {32}, 1024, 1024);
  EXPECT_EQ(bad.report.shared_passes, 32u + 32u * 32u);
  EXPECT_EQ(bad.out, good.out);
}

TEST(Simt, KnowsFencesAndAtomicsBetweenBlocks) {
  const Outcome good = run("simt_last_block", 0, {5}, {64}, 320, 321);
  EXPECT_EQ(good.report.problems(), "");
  EXPECT_EQ(good.out[320], 320.0f * 321.0f / 2.0f);
  EXPECT_THAT(run("simt_last_block", 1, {5}, {64}, 320, 321).report.problems(),
              HasSubstr("of another block"));
}

TEST(Simt, BlocksMayWaitForLaterOnes) {
  const Outcome got = run("simt_wait_for_block", 0, {4}, {32}, 1, 64);
  EXPECT_EQ(got.report.problems(), "");
  EXPECT_EQ(got.out[40], 3.0f);
  const Outcome stuck = run("simt_wait_for_block", 0, {40}, {32}, 1, 64);
  EXPECT_EQ(stuck.report.problems(), "");  // only the first waits: the others come and go
}

TEST(Simt, CopiesArriveWhenWaitedFor) {
  const Outcome good = run("simt_copy_async", 0, {1}, {32}, 256, 256, 20);
  EXPECT_EQ(good.report.problems(), "");
  EXPECT_EQ(good.out[79], 160.0f);
  EXPECT_EQ(good.out[80], 0.0f);  // not valid: zeros
  EXPECT_EQ(good.out[207], 416.0f);
  for (int flag : {1, 2}) {
    EXPECT_THAT(run("simt_copy_async", flag, {1}, {32}, 256, 256).report.problems(),
                HasSubstr("is used while it is being copied to"));
  }
}

TEST(Simt, LanesMustMeet) {
  EXPECT_EQ(run("simt_diverge", 0, {1}, {64}, 64, 64).report.problems(), "");
  EXPECT_THAT(run("simt_diverge", 1, {1}, {64}, 64, 64).report.problems(),
              HasSubstr("a shuffle waits for lanes that have ended"));
  EXPECT_THAT(run("simt_diverge", 2, {1}, {64}, 64, 64).report.problems(),
              HasSubstr("lanes of one warp meet in a shuffle and in a vote"));
  const std::string stuck = run("simt_diverge", 3, {1}, {64}, 64, 64).report.problems();
  EXPECT_THAT(stuck, HasSubstr("the block is stuck: 32 threads (0, ..) wait for barrier 0"));
  EXPECT_THAT(stuck, HasSubstr("32 threads (32, ..) wait for barrier 1"));
}

TEST(Simt, SeesReadsOfWhatNobodyWrote) {
  EXPECT_THAT(run("simt_undefined", 1, {1}, {32}, 32, 64).report.problems(),
              HasSubstr("which nobody has written"));
  EXPECT_THAT(run("simt_undefined", 0, {1}, {32}, 32, 64).report.problems(),
              HasSubstr("reads out + "));
}

TEST(Simt, NamedBarriersOrderThoseWhoCome) {
  const Outcome good = run("simt_named_barriers", 0, {1}, {128}, 64, 64);
  EXPECT_EQ(good.report.problems(), "");
  EXPECT_EQ(good.out[33], 34.0f);
  EXPECT_THAT(run("simt_named_barriers", 1, {1}, {128}, 64, 64).report.problems(),
              HasSubstr("with nothing between"));
}

TEST(Simt, LanesExchange) {
  const DeviceArray<uint32_t> out(256);
  EXPECT_EQ(launch("simt_lanes", {1}, {32}, 0, LanesArgs{out.data()}).problems(), "");
  const std::vector<uint32_t> got = out.values();
  for (uint32_t i = 0; i < 32; ++i) {
    const uint32_t* const mine = &got[8 * i];
    EXPECT_EQ(mine[0], 1005u);
    EXPECT_EQ(mine[1], 1000 + (i ^ 3));
    EXPECT_EQ(mine[2], 1000 + (i % 8 < 2 ? i : i - 2));
    EXPECT_EQ(mine[3], 1000 + (i % 8 > 5 ? i : i + 2));
    EXPECT_EQ(mine[4], 0x49249249u);
    EXPECT_EQ(mine[5], 310u);
    EXPECT_EQ(mine[6], 0x06020400u);
    EXPECT_EQ(mine[7], (0xff00ff00u & 0x0ff00ff0u) | i);
  }
}

TEST(Simt, ConvertsHalvesAsTheCompilerDoes) {
  const DeviceArray<uint32_t> num_wrong(32);
  EXPECT_EQ(launch("simt_halves", {1}, {32}, 0, LanesArgs{num_wrong.data()}).problems(), "");
  EXPECT_EQ(num_wrong.values(), std::vector<uint32_t>(32, 0));
}

TEST(Simt, MultipliesMatrices) {
  std::vector<float> a(256), b(128);
  for (size_t i = 0; i < a.size(); ++i)
    a[i] = static_cast<float>(static_cast<int>(i * 7 % 31) - 15);
  for (size_t i = 0; i < b.size(); ++i)
    b[i] = static_cast<float>(static_cast<int>(i * 5 % 23) - 11);
  for (const bool is_bf16 : {false, true}) {
    for (const int stride : {16 * 2, 48}) {
      const auto halves = [&](const std::vector<float>& values) {
        std::vector<uint16_t> bits;
        for (float value : values) {
          bits.push_back(is_bf16 ? quant::f32_to_bf16(value) : quant::f32_to_f16(value));
        }
        return bits;
      };
      const DeviceArray<uint16_t> a_bits(halves(a)), b_bits(halves(b));
      const DeviceArray<float> c(128);
      const ProductArgs args{c.data(), a_bits.data(), b_bits.data(), stride, is_bf16};
      const Report report =
          launch("simt_product", {1}, {32}, static_cast<size_t>(32 * stride), args);
      EXPECT_EQ(report.problems(), "");
      EXPECT_EQ(report.matrix_products, 1u);
      const std::vector<float> got = c.values();
      for (size_t row = 0; row < 16; ++row) {
        for (size_t column = 0; column < 8; ++column) {
          float sum = 0;
          for (size_t k = 0; k < 16; ++k) sum += a[16 * row + k] * b[8 * k + column];
          ASSERT_EQ(got[8 * row + column], sum);
        }
      }
    }
  }
}

TEST(Simt, RefusesWhatALaunchWould) {
  const ProbeArgs args;
  EXPECT_THROW(launch("simt_nobody", {1}, {32}, 0, args), std::runtime_error);
  EXPECT_THROW(launch("simt_reverse", {1}, {128}, 0, args), std::runtime_error);
  EXPECT_THROW(launch("simt_reverse", {1}, {64}, 0, &args, 8), std::runtime_error);
}

}  // namespace
}  // namespace sluice::simt
