#include "backend/cuda/forms.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "backend/tiny_model.h"

namespace sluice::backend::cuda {
namespace {

// Programs are changed, weights never read.
struct GatedProgram {
  explicit GatedProgram(const TinyShape& shape = {}) : model(shape, 3), program(model.program()) {
    for (size_t i = 0; i < program.ops.size(); ++i) {
      if (std::holds_alternative<GatedActivation>(program.ops[i])) places.push_back(i);
    }
  }
  GatedActivation& gated(size_t layer) {
    return std::get<GatedActivation>(program.ops[places[layer]]);
  }
  Linear& product(size_t layer) { return std::get<Linear>(program.ops[places[layer] - 1]); }
  std::vector<size_t> found() const {
    std::vector<size_t> layers;
    const std::vector<bool> is_gated = find_gated_products(program);
    for (size_t i = 0; i < places.size(); ++i) {
      if (is_gated[places[i] - 1]) layers.push_back(i);
    }
    EXPECT_EQ(static_cast<size_t>(std::count(is_gated.begin(), is_gated.end(), true)),
              layers.size());
    return layers;
  }

  TinyModel model;
  Program program;
  std::vector<size_t> places;
};

using Layers = std::vector<size_t>;

TEST(CudaForms, GateAndUpAreOneProductWithTheActivation) {
  GatedProgram p;
  EXPECT_EQ(p.found(), (Layers{0, 1}));
  const ProgramForms forms = find_forms(p.program);
  const auto gate = static_cast<size_t>(p.gated(0).gate), up = static_cast<size_t>(p.gated(0).up);
  EXPECT_FALSE(forms.buffers[gate].has_floats);
  EXPECT_TRUE(forms.buffers[gate].has_halves);  // the activation's
  EXPECT_FALSE(forms.buffers[up].has_floats || forms.buffers[up].has_halves);
  EXPECT_TRUE(forms.ops[p.places[0]].writes_halves);
  EXPECT_FALSE(forms.ops[p.places[0]].writes_floats);
}

TEST(CudaForms, MatricesThatDifferAreProductsOfTheirOwn) {
  TinyShape shape;
  shape.type = Type::kQ4_K;
  shape.other_type = Type::kQ6_K;
  GatedProgram p(shape);
  EXPECT_EQ(p.found(), Layers{});
  const ProgramForms forms = find_forms(p.program);
  EXPECT_TRUE(forms.buffers[static_cast<size_t>(p.gated(0).up)].has_floats);
}

TEST(CudaForms, AMatrixThatOthersReadStaysByItself) {
  GatedProgram p;
  p.product(1).parts[1].weight = p.product(0).parts[1].weight;
  EXPECT_EQ(p.found(), Layers{});
  GatedProgram same;
  same.product(0).parts[1].weight = same.product(0).parts[0].weight;
  EXPECT_EQ(same.found(), Layers{1});
}

TEST(CudaForms, ResultsThatOthersReadAreWritten) {
  GatedProgram up;  // is read once more before it is overwritten
  const size_t behind = up.places[0] + 1;
  up.program.ops.insert(up.program.ops.begin() + static_cast<std::ptrdiff_t>(behind),
                        SoftCap{up.gated(0).up, 1.0f});
  up.places[1] += 1;
  EXPECT_EQ(up.found(), Layers{1});

  GatedProgram out;  // is read as floats
  out.program.ops.insert(out.program.ops.begin() + static_cast<std::ptrdiff_t>(behind),
                         SoftCap{out.gated(0).out, 1.0f});
  out.places[1] += 1;
  EXPECT_EQ(out.found(), Layers{1});

  GatedProgram sums;
  sums.product(0).parts[0].accumulate = true;
  EXPECT_EQ(sums.found(), Layers{1});

  GatedProgram input;  // which the product still reads
  const BufferId in = input.product(0).in;
  input.gated(0).out = in;
  EXPECT_EQ(input.found(), Layers{1});
}

}  // namespace
}  // namespace sluice::backend::cuda
