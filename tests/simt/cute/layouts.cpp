// Prints which lane holds which element of a fragment, as CuTe's headers say it (PyPI's
// nvidia-cutlass): layout_test.cpp compiles this and holds the emulator against it. A line is
//
//   NAME lane element row column

#include <cstdio>
#include <cute/arch/copy_sm75.hpp>
#include <cute/arch/mma_sm80.hpp>
#include <cute/atom/copy_traits_sm75.hpp>
#include <cute/atom/mma_traits_sm80.hpp>

namespace {

using namespace cute;

// A layout gives row + num_rows * column.
template <typename Layout>
void print_fragment(const char* name, const Layout& layout, int num_rows) {
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < size<1>(layout); ++i) {
      const int place = layout(lane, i);
      std::printf("%s %d %d %d %d\n", name, lane, i, place % num_rows, place / num_rows);
    }
  }
}

template <typename Product>
void print_product(const char* a, const char* b, const char* c) {
  using Traits = MMA_Traits<Product>;
  print_fragment(a, typename Traits::ALayout{}, 16);
  print_fragment(b, typename Traits::BLayout{}, 8);  // of columns: B is [columns, rows] to CuTe
  print_fragment(c, typename Traits::CLayout{}, 16);
}

// Lane i gives a row of 128 bits; layouts give bits, rows one behind the other. A fragment's
// element is 16 bits.
template <typename Copy>
void print_copy(const char* name) {
  using Traits = Copy_Traits<Copy>;
  const typename Traits::SrcLayout source{};
  const typename Traits::DstLayout layout{};
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < size<1>(layout) / 16; ++i) {
      const int bit = layout(lane, 16 * i);
      int row = -1;
      for (int giver = 31; giver >= 0; --giver) {
        if (source(giver, 0) == bit / 128 * 128) row = giver;
      }
      std::printf("%s %d %d %d %d\n", name, lane, i, row, bit % 128 / 16);
    }
  }
}

}  // namespace

int main() {
  print_product<SM80_16x8x16_F32F16F16F32_TN>("a16", "b16", "c16");
  print_product<SM80_16x8x16_F32BF16BF16F32_TN>("a16", "b16", "c16");
  print_product<SM80_16x8x32_S32S8S8S32_TN>("a8", "b8", "c8");
  print_copy<SM75_U32x2_LDSM_N>("x2");
  print_copy<SM75_U32x4_LDSM_N>("x4");
  print_copy<SM75_U16x4_LDSM_T>("x2t");
  print_copy<SM75_U16x8_LDSM_T>("x4t");
  return 0;
}
