#include "backend/cpu/lanes_avx512.h"
#include "backend/cpu/panel_kernels.h"

namespace sluice::backend::cpu {
namespace {

// A type of its own, so that nothing instantiated here can stand in for kernels_avx512.cpp's code
// on a processor without AMX.
struct AmxLanes : Avx512 {};

struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t column_bytes[16] = {};
  uint8_t rows[16] = {};
};

// The AMX instructions, the only place that names them; PlainTiles (kernels_generic.cpp) is the
// twin. Written as assembly: GCC 12's _tile_loadconfig tells the compiler of 8 bytes of its operand
// only.
class AmxTiles {
 public:
  AmxTiles() {
    TileConfig config;
    for (int i = 0; i < 8; ++i) {
      config.column_bytes[i] = 64;
      config.rows[i] = 16;
    }
    asm volatile("ldtilecfg %0" ::"m"(config));
  }
  // Back to the initial state: the system then need not save 8 KiB at every switch of threads.
  ~AmxTiles() { asm volatile("tilerelease"); }

  void clear_results() {
    asm volatile("tilezero %tmm0\n\ttilezero %tmm1\n\ttilezero %tmm2\n\ttilezero %tmm3");
  }
  template <int kTile>
  void load(const void* from) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(size_t{64}), "i"(kTile)
                 : "memory");
  }
  // For what comes from the second-level cache and shall not push the activations, which are used
  // again at once, out of the first.
  template <int kTile>
  void stream(const void* from) {
    asm volatile("tileloaddt1 (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(size_t{64}), "i"(kTile)
                 : "memory");
  }
  template <bool kStore, int kTile>
  void move(float* results) {
    if constexpr (kStore) {
      asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(results), "r"(size_t{64}), "i"(kTile)
                   : "memory");
    } else {
      load<kTile>(results);
    }
  }
  template <int kResult, int kActivations, int kWeights>
  void multiply() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kResult), "i"(kActivations),
                 "i"(kWeights));
  }
};

}  // namespace

const Kernels& amx_kernels() {
  static const Kernels kernels = [] {
    Kernels k = avx512_kernels();
    k.name = "amx-bf16";
    k.panel_decoder = panel_decoder_of<AmxLanes>;
    k.multiply_panel = multiply_panel<AmxTiles>;
    return k;
  }();
  return kernels;
}

}  // namespace sluice::backend::cpu
