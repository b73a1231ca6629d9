#include "backend/cuda/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "quant/half.h"
#include "simt/kernel_test_util.h"

namespace sluice::backend::cuda {
namespace {

struct Shape {
  int heads, kv_heads, dim;
  bool is_q8 = false;
  int window = 0;
};

// Sequences of given lengths whose keys and values the rope_store kernel has put into a cache with
// shuffled blocks, and the queries of their last tokens.
class Scene {
 public:
  Scene(const Shape& shape, const std::vector<int>& lengths, const std::vector<int>& queries)
      : shape_(shape), random_(5) {
    layout_ = {shape.kv_heads, padded_head_size(shape.dim), shape.is_q8};
    for (size_t s = 0; s < lengths.size(); ++s) {
      sequences_.push_back({static_cast<int>(positions_.size()), queries[s],
                            lengths[s] - queries[s], static_cast<int>(tables_.size())});
      for (int i = 0; i < queries[s]; ++i) {
        positions_.push_back(lengths[s] - queries[s] + i);
        sequence_of_.push_back(static_cast<int>(s));
      }
      const int blocks = (lengths[s] + 15) / 16;
      for (int b = 0; b < blocks; ++b) tables_.push_back(static_cast<int>(tables_.size()));
    }
    std::shuffle(tables_.begin(), tables_.end(), random_);
    store(lengths);
  }

  // [tokens, heads * dim], by the kernels.
  std::vector<float> attend(bool in_tiles) {
    const auto tokens = static_cast<int>(positions_.size());
    const AttentionShape shape = {shape_.heads, shape_.kv_heads, layout_.head_size, shape_.is_q8};
    const int width = shape_.heads * shape_.dim, stride = (width + 7) / 8 * 8;
    if (queries_.empty()) queries_ = random_values(static_cast<size_t>(tokens * stride), random_);
    const DeviceArray<float> q(queries_, "queries");
    const DeviceArray<uint16_t> out(static_cast<size_t>(tokens * stride), "out");
    const DeviceArray<float> partials(attention_partial_bytes(shape, tokens) / 4, "partials");
    const DeviceArray<uint32_t> counters(
        std::vector<uint32_t>(attention_counter_bytes(shape, tokens) / 4, 0), "counters");
    const DeviceArray<int32_t> positions(positions_), sequence_of(sequence_of_), tables(tables_);
    const DeviceArray<StepSequence> sequences(sequences_);
    AttentionArgs args{};
    args.q = q.data();
    args.q_stride = args.out_stride = stride;
    args.out = out.data();
    args.cache = reinterpret_cast<const std::byte*>(cache_->data());
    args.step.positions = positions.data();
    args.step.sequence_of = sequence_of.data();
    args.step.sequences = sequences.data();
    args.step.tables = tables.data();
    args.partials = partials.data();
    args.counters = counters.data();
    args.scale = scale();
    args.window = shape_.window;
    args.num_heads = shape_.heads;
    args.num_kv_heads = shape_.kv_heads;
    args.head_dim = shape_.dim;
    std::vector<StepTile> tiles(1);
    std::vector<int32_t> singles(1);
    if (in_tiles) {
      tiles.clear();
      for (size_t s = 0; s < sequences_.size(); ++s) {
        for (int i = 0; i < sequences_[s].num_tokens; i += prefill_tile_tokens(shape)) {
          tiles.push_back({static_cast<int32_t>(s), i});
        }
      }
    } else {
      singles.resize(positions_.size());
      std::iota(singles.begin(), singles.end(), 0);
    }
    const DeviceArray<StepTile> tiles_device(tiles);
    const DeviceArray<int32_t> singles_device(singles);
    args.step.tiles = tiles_device.data();
    args.step.single_tokens = singles_device.data();
    const int longest = *std::max_element(positions_.begin(), positions_.end()) + 1;
    LaunchList list;
    add_attention(list, shape, args, in_tiles ? static_cast<int>(tiles.size()) : 0,
                  in_tiles ? 0 : tokens, longest);
    run_launches(list, 3.0, 4.0);  // scales of 96 and 192 dimensions come one by one
    for (const uint32_t counter : counters.values()) EXPECT_EQ(counter, 0u);
    std::vector<float> result;
    for (int t = 0; t < tokens; ++t) {
      for (int i = 0; i < width; ++i) {
        result.push_back(quant::f16_to_f32(out.data()[t * stride + i]));
      }
    }
    return result;
  }

  // The last tokens' of another scene of the same shape and length.
  void use_queries_of(const Scene& other) {
    const size_t stride = other.queries_.size() / other.positions_.size();
    queries_.assign(other.queries_.end() - static_cast<ptrdiff_t>(stride * positions_.size()),
                    other.queries_.end());
  }

  std::vector<float> expected() const {
    const int stride = (shape_.heads * shape_.dim + 7) / 8 * 8;
    std::vector<float> result;
    for (size_t t = 0; t < positions_.size(); ++t) {
      const auto sequence = static_cast<size_t>(sequence_of_[t]);
      for (int head = 0; head < shape_.heads; ++head) {
        const float* const q =
            &queries_[t * static_cast<size_t>(stride) + static_cast<size_t>(head * shape_.dim)];
        attend_plainly(q, sequence, head / (shape_.heads / shape_.kv_heads), positions_[t], result);
      }
    }
    return result;
  }

 private:
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(shape_.dim)); }

  // Tokens of all sequences at once; nothing turns, so that keys stay as they are.
  void store(const std::vector<int>& lengths) {
    const auto total = static_cast<size_t>(std::accumulate(lengths.begin(), lengths.end(), 0));
    const int width = shape_.kv_heads * shape_.dim, stride = (width + 3) / 4 * 4;
    std::vector<int32_t> slots;
    for (size_t s = 0; s < lengths.size(); ++s) {
      first_row_.push_back(slots.size());
      for (int p = 0; p < lengths[s]; ++p) {
        slots.push_back(tables_[static_cast<size_t>(sequences_[s].table + p / 16)] * 16 + p % 16);
      }
    }
    keys_ = random_values(total * static_cast<size_t>(stride), random_);
    values_ = random_values(total * static_cast<size_t>(stride), random_);
    row_stride_ = static_cast<size_t>(stride);
    const size_t cache_bytes = tables_.size() * layout_.block_bytes();
    // What nobody has written may be read where a block is not full, and must not matter.
    cache_ = std::make_unique<DeviceArray<uint16_t>>(
        std::vector<uint16_t>(cache_bytes / 2, shape_.is_q8 ? 0x3c3c : 0x3c00), "cache");
    const DeviceArray<float> q(std::vector<float>(total * 8, 0.0f)), k(keys_), v(values_);
    const DeviceArray<int32_t> slots_device(slots);
    RopeStoreArgs args{};
    args.q = q.data();
    args.k = k.data();
    args.v = v.data();
    args.k_stride = args.v_stride = stride;
    args.slots = slots_device.data();
    args.cache = reinterpret_cast<std::byte*>(cache_->data());
    args.layout = layout_;
    args.num_heads = 0;
    args.head_dim = shape_.dim;
    LaunchList list;
    add_launch(list, "rope_store",
               {static_cast<uint32_t>(total), static_cast<uint32_t>((2 * shape_.kv_heads + 3) / 4)},
               {128}, 0, args);
    run_launches(list, 16.0, 1.0);  // values lie apart, for those who read them
  }

  void attend_plainly(const float* q, size_t sequence, int kv_head, int position,
                      std::vector<float>& result) const {
    const int first = shape_.window > 0 ? std::max(0, position - shape_.window + 1) : 0;
    const auto row = [&](const std::vector<float>& rows, int p) {
      return &rows[(first_row_[sequence] + static_cast<size_t>(p)) * row_stride_ +
                   static_cast<size_t>(kv_head * shape_.dim)];
    };
    std::vector<double> weights;
    double total = 0;
    for (int p = first; p <= position; ++p) {
      double score = 0;
      for (int d = 0; d < shape_.dim; ++d) score += double{q[d]} * row(keys_, p)[d];
      weights.push_back(std::exp(score * scale()));
      total += weights.back();
    }
    for (int d = 0; d < shape_.dim; ++d) {
      double sum = 0;
      for (int p = first; p <= position; ++p) {
        sum += weights[static_cast<size_t>(p - first)] * row(values_, p)[d];
      }
      result.push_back(static_cast<float>(sum / total));
    }
  }

  Shape shape_;
  std::mt19937 random_;
  CacheLayout layout_;
  std::vector<int32_t> positions_, sequence_of_, tables_;
  std::vector<StepSequence> sequences_;
  std::vector<size_t> first_row_;  // of a sequence, in keys_ and values_
  size_t row_stride_ = 0;
  std::vector<float> keys_, values_, queries_;
  std::unique_ptr<DeviceArray<uint16_t>> cache_;
};

double error_of(const Shape& shape, const std::vector<int>& lengths,
                const std::vector<int>& queries, bool in_tiles = false) {
  Scene scene(shape, lengths, queries);
  const std::vector<float> got = scene.attend(in_tiles);
  return relative_error(got, scene.expected());
}

TEST(CudaAttention, DecodesEveryHeadSize) {
  for (const Shape& shape :
       {Shape{8, 2, 64}, Shape{4, 4, 32}, Shape{3, 1, 80}, Shape{16, 2, 128}, Shape{2, 1, 160},
        Shape{4, 1, 256}, Shape{4, 2, 24}, Shape{20, 1, 40}}) {
    SCOPED_TRACE(std::to_string(shape.heads) + "/" + std::to_string(shape.kv_heads) + " x " +
                 std::to_string(shape.dim));
    EXPECT_LT(error_of(shape, {1, 17, 100}, {1, 1, 1}), 1e-3);
    Shape bytes = shape;
    bytes.is_q8 = true;
    EXPECT_LT(error_of(bytes, {1, 17, 100}, {1, 1, 1}), 1.2e-2);
  }
}

TEST(CudaAttention, DecodesOverWindowsAndSplits) {
  Shape shape{8, 1, 64};
  EXPECT_LT(error_of(shape, {300, 16, 5}, {1, 2, 3}), 1e-3);
  shape.window = 37;
  EXPECT_LT(error_of(shape, {300, 16, 38}, {1, 1, 2}), 1e-3);
  shape.is_q8 = true;
  EXPECT_LT(error_of(shape, {300, 16, 38}, {1, 1, 2}), 1.2e-2);
}

TEST(CudaAttention, PrefillsEveryHeadSize) {
  for (const Shape& shape :
       {Shape{8, 2, 64}, Shape{4, 4, 32}, Shape{3, 1, 80}, Shape{16, 2, 128}, Shape{2, 1, 160},
        Shape{4, 1, 256}, Shape{4, 2, 24}, Shape{20, 1, 40}}) {
    SCOPED_TRACE(std::to_string(shape.heads) + "/" + std::to_string(shape.kv_heads) + " x " +
                 std::to_string(shape.dim));
    EXPECT_LT(error_of(shape, {1, 17, 100}, {1, 17, 35}, true), 1e-3);
    Shape bytes = shape;
    bytes.is_q8 = true;
    EXPECT_LT(error_of(bytes, {1, 17, 100}, {1, 9, 20}, true), 1.2e-2);
  }
}

TEST(CudaAttention, PrefillsOverWindows) {
  Shape shape{8, 1, 64};
  EXPECT_LT(error_of(shape, {300, 150}, {40, 150}, true), 1e-3);
  shape.window = 37;
  EXPECT_LT(error_of(shape, {300, 38}, {30, 38}, true), 1e-3);
}

// A prompt's rows are the same in chunks of any size.
TEST(CudaAttention, PrefillDoesNotDependOnChunks) {
  for (const int window : {0, 50}) {
    const Shape shape{4, 2, 64, false, window};
    Scene whole(shape, {140}, {140}), last(shape, {140}, {3});
    const std::vector<float> all = whole.attend(true);
    last.use_queries_of(whole);
    const std::vector<float> few = last.attend(true);
    EXPECT_EQ(std::vector<float>(all.end() - static_cast<ptrdiff_t>(few.size()), all.end()), few);
  }
}

}  // namespace
}  // namespace sluice::backend::cuda
