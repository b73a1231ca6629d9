#include <gtest/gtest.h>

#include <cstring>

#include "backend/cuda/kernels.h"
#include "quant/half.h"
#include "simt/kernel_test_util.h"

namespace sluice::backend::cuda {
namespace {

struct Heads {
  int heads, kv_heads, dim, pairs;
  bool is_interleaved, has_norms, is_q8;
};

// What the reference backend does to a head.
std::vector<double> turned(const float* head, const Heads& h, const std::vector<float>& norm,
                           const std::vector<float>& frequencies, int position) {
  std::vector<double> x(head, head + h.dim);
  if (h.has_norms) {
    double squares = 0;
    for (double v : x) squares += v * v;
    const double scale = 1.0 / std::sqrt(squares / h.dim + 1e-6);
    for (size_t d = 0; d < x.size(); ++d) x[d] *= scale * norm[d];
  }
  for (int i = 0; i < h.pairs; ++i) {
    const double angle = position * double{frequencies[static_cast<size_t>(i)]};
    double& a = x[static_cast<size_t>(h.is_interleaved ? 2 * i : i)];
    double& b = x[static_cast<size_t>(h.is_interleaved ? 2 * i + 1 : i + h.pairs)];
    const double new_a = a * std::cos(angle) - b * std::sin(angle);
    b = a * std::sin(angle) + b * std::cos(angle);
    a = new_a;
  }
  return x;
}

class RopeCase {
 public:
  explicit RopeCase(const Heads& h) : h_(h), random_(9) {
    layout_ = {h.kv_heads, padded_head_size(h.dim), h.is_q8};
  }

  void run() {
    const std::vector<int32_t> positions = {0, 17, 100000}, slots = {35, 0, 63};
    const size_t tokens = positions.size();
    const auto stride = static_cast<size_t>((h_.heads * h_.dim + 7) / 8 * 8);
    const std::vector<float> q = random_values(tokens * stride, random_),
                             k = random_values(tokens * stride, random_),
                             v = random_values(tokens * stride, random_),
                             q_norm = random_values(static_cast<size_t>(h_.dim), random_),
                             k_norm = random_values(static_cast<size_t>(h_.dim), random_);
    std::vector<float> frequencies;
    for (int i = 0; i < h_.pairs; ++i) {
      frequencies.push_back(
          std::pow(10000.0f, -static_cast<float>(i) / static_cast<float>(h_.pairs)));
    }
    const DeviceArray<float> q_device(q, "q"), k_device(k, "k"), v_device(v, "v"),
        q_norm_device(q_norm), k_norm_device(k_norm), frequencies_device(frequencies),
        table(tokens * static_cast<size_t>(h_.pairs) * 2, "table");
    const DeviceArray<int32_t> positions_device(positions), slots_device(slots);
    const DeviceArray<std::byte> cache(4 * layout_.block_bytes(), "cache");
    RopeStoreArgs args{};
    args.q = q_device.data();
    args.k = k_device.data();
    args.v = v_device.data();
    args.q_stride = args.k_stride = args.v_stride = static_cast<int64_t>(stride);
    args.table = table.data();
    args.q_norm = h_.has_norms ? q_norm_device.data() : nullptr;
    args.k_norm = h_.has_norms ? k_norm_device.data() : nullptr;
    args.norm_eps = 1e-6f;
    args.slots = slots_device.data();
    args.cache = cache.data();
    args.layout = layout_;
    args.num_heads = h_.heads;
    args.head_dim = h_.dim;
    args.pairs = h_.pairs;
    args.is_interleaved = h_.is_interleaved;
    LaunchList list;
    add_launch(
        list, "rope_table", {3}, {64}, 0,
        RopeTableArgs{positions_device.data(), frequencies_device.data(), table.data(), h_.pairs});
    add_launch(list, "rope_store", {3, static_cast<uint32_t>((h_.heads + 2 * h_.kv_heads + 3) / 4)},
               {128}, 0, args);
    run_launches(list, 16.0, 2.0);  // values lie apart in the cache
    for (size_t t = 0; t < tokens; ++t) {
      for (int head = 0; head < h_.heads; ++head) {
        const size_t at = t * stride + static_cast<size_t>(head * h_.dim);
        const auto expected = turned(&q[at], h_, q_norm, frequencies, positions[t]);
        for (size_t d = 0; d < expected.size(); ++d) {
          ASSERT_NEAR(q_device.data()[at + d], expected[d], 2e-5);
        }
      }
      for (int head = 0; head < h_.kv_heads; ++head) {
        const size_t at = t * stride + static_cast<size_t>(head * h_.dim);
        check_stored(cache.data(), slots[t], head, false,
                     turned(&k[at], h_, k_norm, frequencies, positions[t]));
        check_stored(cache.data(), slots[t], head, true, {&v[at], &v[at] + h_.dim});
      }
    }
  }

 private:
  void check_stored(const std::byte* cache, int slot, int head, bool is_value,
                    std::vector<double> expected) {
    expected.resize(static_cast<size_t>(layout_.head_size), 0.0);
    const std::byte* const unit = cache + (slot / 16 * h_.kv_heads + head) * layout_.unit_bytes();
    const int token = slot % 16, size = layout_.head_size;
    const auto half_at = [&](int place) {
      uint16_t bits = 0;
      std::memcpy(&bits, unit + place, 2);
      return quant::f16_to_f32(bits);
    };
    double most = 0;
    for (int d = 0; d < size; ++d) {
      if (d % 32 == 0) {
        most = 0;
        for (int k = d; k < d + 32; ++k)
          most = std::max(most, std::abs(expected[static_cast<size_t>(k)]));
      }
      const int place =
          is_value ? value_place(h_.is_q8, size, token, d) : key_place(h_.is_q8, token, d);
      const double value = expected[static_cast<size_t>(d)];
      if (!h_.is_q8) {
        ASSERT_NEAR(half_at(place), value, 1e-3 * std::abs(value) + 1e-4);
        continue;
      }
      const float scale =
          half_at(is_value ? value_scale_place(size, token, d) : key_scale_place(size, token, d));
      ASSERT_NEAR(scale * static_cast<int8_t>(unit[place]), value, most / 200);
    }
  }

  Heads h_;
  std::mt19937 random_;
  CacheLayout layout_;
};

TEST(CudaRope, TurnsNormalisesAndStores) {
  for (const Heads& h :
       {Heads{4, 2, 64, 32, false, false, false}, Heads{3, 1, 80, 20, true, true, false},
        Heads{2, 2, 128, 64, false, true, true}, Heads{1, 1, 24, 12, true, false, true}}) {
    SCOPED_TRACE(testing::Message() << h.dim << " dimensions");
    RopeCase(h).run();
  }
}

// Every byte of a unit has one owner.
TEST(CudaCacheLayout, PlacesAreAPermutation) {
  for (const int size : kHeadSizes) {
    for (const bool is_q8 : {false, true}) {
      const CacheLayout layout{1, size, is_q8};
      std::vector<int> owners(static_cast<size_t>(layout.unit_bytes()), 0);
      const auto take = [&](int place, int bytes) {
        for (int i = 0; i < bytes; ++i) ++owners.at(static_cast<size_t>(place + i));
      };
      for (int token = 0; token < 16; ++token) {
        for (int d = 0; d < size; ++d) {
          take(key_place(is_q8, token, d), is_q8 ? 1 : 2);
          take(value_place(is_q8, size, token, d), is_q8 ? 1 : 2);
          if (!is_q8 || d % 32 != 0) continue;
          take(key_scale_place(size, token, d), 2);
          take(value_scale_place(size, token, d), 2);
        }
      }
      for (const int owner : owners) ASSERT_EQ(owner, 1);
    }
  }
}

}  // namespace
}  // namespace sluice::backend::cuda
