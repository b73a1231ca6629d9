#pragma once

#include "backend/cpu/linear_kernels.h"

// Many tokens on a matrix unit (AMX): weights are decoded to bf16, scales inside, into a panel that
// stays in the second-level cache while all tokens pass over it; then tiles of 16 tokens times
// tiles of 16 rows, with no scales left in the inner loop.
//
//   activation tile, of a block of 32 columns:  bf16 [16 tokens][32 columns]        1 KiB
//   weight tile, of a group and a block:        bf16 [16 column pairs][16 rows][2]  1 KiB
//   result tile:                                f32 [16 tokens][16 rows]            1 KiB
namespace sluice::backend::cpu {

template <class V, class Fmt>
struct PanelDecoder {
  using F = typename V::F;
  static_assert(V::kLanes == kGroupRows);

  static void block(const typename V::B (&w)[8], const BlockScales<V>& s, uint16_t* out) {
    for (int j = 0; j < 8; ++j) {
      const int half = Fmt::kIsHalved ? j / 4 : 0;
      for (int pair = 0; pair < 2; ++pair) {
        F values[2];
        for (int i = 0; i < 2; ++i) {
          const F code = V::code(w[j], 2 * pair + i);
          values[i] = Fmt::kHasMin ? V::fma(code, s.d[half], s.min[half]) : V::mul(code, s.d[half]);
        }
        V::store_bf16_pairs(out + (2 * j + pair) * 2 * kGroupRows, values[0], values[1]);
      }
    }
  }

  static constexpr size_t kBlockBytes =
      Fmt::kCodeBytes + scale_bytes(Fmt::kScales) / Fmt::kUnitBlocks;

  static void run(const PanelSource& source, uint16_t* out) {
    using Reader = ScaleReader<V, Fmt>;
    const uint8_t* scales =
        source.group + static_cast<size_t>(source.first_block / Fmt::kUnitBlocks) * Fmt::kUnitBytes;
    for (int b = 0; b < source.num_blocks; b += Fmt::kUnitBlocks) {
      const auto shared = Reader::read_shared(scales, 0);
      const uint8_t* codes = scales + scale_bytes(Fmt::kScales);
      for (int part = 0; part < Fmt::kUnitBlocks; ++part) {
        typename V::B w[8];
        // Weights may come from memory. Into the second-level cache: the first holds panels.
        prefetch<V, CacheLevel::kSecond>(codes + kAheadBytes, kBlockBytes);
        unpack_codes<V, Fmt>(codes, source.table, w);
        block(w, Reader::read(shared, scales, part, 0), out);
        codes += Fmt::kCodeBytes;
        out += kPanelTileBytes / sizeof(uint16_t);
      }
      scales += Fmt::kUnitBytes;
    }
  }
};

template <class V, FloatKind kKind>
struct FloatPanelDecoder {
  static void run(const PanelSource& source, uint16_t* out) {
    const int first = source.first_block * kBlockColumns;
    for (int c = first; c < first + source.num_blocks * kBlockColumns; c += 2) {
      V::store_bf16_pairs(out, FloatTile<V, kKind, 1>::load(source.group, c, 0),
                          FloatTile<V, kKind, 1>::load(source.group, c + 1, 0));
      out += 2 * kGroupRows;
    }
  }
};

// Result tiles of kTokenTiles x kGroups at once: 1 KiB loaded for every product of two.
template <class Tiles, int kTokenTiles, int kGroups>
void multiply_tiles(const PanelArgs& args, int token_tile, int group, Tiles& tiles) {
  const uint8_t* a = args.activations + static_cast<size_t>(token_tile) * args.token_tile_stride;
  const auto panel_stride = static_cast<size_t>(args.num_blocks) * kPanelTileBytes;
  const uint8_t* b =
      reinterpret_cast<const uint8_t*>(args.panel) + static_cast<size_t>(group) * panel_stride;
  float* results[2][2];
  for (int t = 0; t < 2; ++t) {
    for (int g = 0; g < 2; ++g) {
      const int index = (token_tile + t) * args.num_groups + group + g;
      results[t][g] = args.results + static_cast<ptrdiff_t>(index) * kTileTokens * kGroupRows;
    }
  }
  // Tiles 0..3: results, 4 and 5: activations, 6 and 7: weights.
  const auto for_results = [&]<bool kStore>() {
    tiles.template move<kStore, 0>(results[0][0]);
    if constexpr (kGroups > 1) tiles.template move<kStore, 1>(results[0][1]);
    if constexpr (kTokenTiles > 1) tiles.template move<kStore, 2>(results[1][0]);
    if constexpr (kTokenTiles > 1 && kGroups > 1) tiles.template move<kStore, 3>(results[1][1]);
  };
  if (args.accumulate) {
    for_results.template operator()<false>();
  } else {
    tiles.clear_results();
  }
  for (int block = 0; block < args.num_blocks; ++block) {
    const auto at = static_cast<size_t>(block) * kPanelTileBytes;
    tiles.template load<4>(a + at);
    if constexpr (kTokenTiles > 1) tiles.template load<5>(a + args.token_tile_stride + at);
    tiles.template stream<6>(b + at);
    if constexpr (kGroups > 1) tiles.template stream<7>(b + panel_stride + at);
    tiles.template multiply<0, 4, 6>();
    if constexpr (kGroups > 1) tiles.template multiply<1, 4, 7>();
    if constexpr (kTokenTiles > 1) tiles.template multiply<2, 5, 6>();
    if constexpr (kTokenTiles > 1 && kGroups > 1) tiles.template multiply<3, 5, 7>();
  }
  for_results.template operator()<true>();
}

template <class Tiles>
void multiply_panel(const PanelArgs& args) {
  Tiles tiles;
  for (int t = 0; t < args.num_token_tiles; t += 2) {
    for (int g = 0; g < args.num_groups; g += 2) {
      const bool two_tokens = t + 1 < args.num_token_tiles, two_groups = g + 1 < args.num_groups;
      if (two_tokens && two_groups) {
        multiply_tiles<Tiles, 2, 2>(args, t, g, tiles);
      } else if (two_tokens) {
        multiply_tiles<Tiles, 2, 1>(args, t, g, tiles);
      } else if (two_groups) {
        multiply_tiles<Tiles, 1, 2>(args, t, g, tiles);
      } else {
        multiply_tiles<Tiles, 1, 1>(args, t, g, tiles);
      }
    }
  }
}

// Null for types that stay in f32.
template <class V>
DecodePanel panel_decoder_of(quant::Type type) {
  using quant::Type;
  switch (type) {
    case Type::kF32:
      return nullptr;
    case Type::kF16:
      return FloatPanelDecoder<V, FloatKind::kF16>::run;
    case Type::kBF16:
      return FloatPanelDecoder<V, FloatKind::kBF16>::run;
    case Type::kQ4_0:
      return PanelDecoder<V, FormatQ4_0>::run;
    case Type::kQ4_1:
      return PanelDecoder<V, FormatQ4_1>::run;
    case Type::kQ5_0:
      return PanelDecoder<V, FormatQ5_0>::run;
    case Type::kQ5_1:
      return PanelDecoder<V, FormatQ5_1>::run;
    case Type::kQ8_0:
      return PanelDecoder<V, FormatQ8_0>::run;
    case Type::kQ2_K:
      return PanelDecoder<V, FormatQ2_K>::run;
    case Type::kQ3_K:
      return PanelDecoder<V, FormatQ3_K>::run;
    case Type::kQ4_K:
      return PanelDecoder<V, FormatQ4_K>::run;
    case Type::kQ5_K:
      return PanelDecoder<V, FormatQ5_K>::run;
    case Type::kQ6_K:
      return PanelDecoder<V, FormatQ6_K>::run;
    case Type::kIQ4_NL:
      return PanelDecoder<V, FormatIQ4_NL>::run;
    case Type::kIQ4_XS:
      return PanelDecoder<V, FormatIQ4_XS>::run;
    case Type::kMXFP4:
      return PanelDecoder<V, FormatMXFP4>::run;
  }
  return nullptr;
}

}  // namespace sluice::backend::cpu
