#include <cstring>

#include "backend/cpu/kernel_table.h"
#include "backend/cpu/lanes_generic.h"
#include "backend/cpu/panel_kernels.h"
#include "quant/codec.h"

namespace sluice::backend::cpu {

void Generic::store_f16(uint16_t* p, F x) {
  for (int i = 0; i < kLanes; ++i) p[i] = quant::f32_to_f16(x[i]);
}

namespace {

// What AmxTiles does, by the instructions' description (Intel's Software Developer's Manual).
class PlainTiles {
 public:
  void clear_results() { std::memset(results_, 0, sizeof(results_)); }
  template <int kTile>
  void load(const void* from) {
    std::memcpy(inputs_[kTile - 4], from, kPanelTileBytes);
  }
  template <int kTile>
  void stream(const void* from) {
    load<kTile>(from);
  }
  template <bool kStore, int kTile>
  void move(float* results) {
    if (kStore) {
      std::memcpy(results, results_[kTile], kPanelTileBytes);
    } else {
      std::memcpy(results_[kTile], results, kPanelTileBytes);
    }
  }
  template <int kResult, int kActivations, int kWeights>
  void multiply() {
    const uint16_t* a = inputs_[kActivations - 4];
    const uint16_t* b = inputs_[kWeights - 4];
    for (int m = 0; m < 16; ++m) {
      for (int k = 0; k < 32; ++k) {
        const float x = quant::bf16_to_f32(a[m * 32 + k]);
        for (int n = 0; n < 16; ++n) {
          results_[kResult][m * 16 + n] += x * quant::bf16_to_f32(b[(k / 2 * 16 + n) * 2 + k % 2]);
        }
      }
    }
  }

 private:
  float results_[4][256];
  uint16_t inputs_[4][512];
};

}  // namespace

const Kernels& generic_tile_kernels() {
  static const Kernels kernels = [] {
    Kernels k = generic_kernels();
    k.name = "generic tiles";
    k.panel_decoder = panel_decoder_of<Generic>;
    k.multiply_panel = multiply_panel<PlainTiles>;
    return k;
  }();
  return kernels;
}

const Kernels& generic_kernels() {
  static constexpr Kernels kernels = kernels_of<Generic>("generic");
  return kernels;
}

}  // namespace sluice::backend::cpu
