#pragma once

#include <vector>

#include "backend/backend.h"
#include "backend/relative_error.h"
#include "backend/tiny_model.h"

namespace sluice::backend {

// Runs the same steps on a device and on the reference backend, each with a tiny model of that
// shape; the relative error of each step's logits.
inline std::vector<double> errors_to_reference(Backend& device, const TinyShape& shape,
                                               const std::vector<std::vector<int>>& steps,
                                               const LoadOptions& options, bool all_logits = true) {
  const TinyModel model(shape, 7);
  const auto reference = make_reference_backend(1);
  for (Backend* backend : {reference.get(), &device}) {
    backend->load(model.program(), options);
    backend->allocate_cache(kNumBlocks);
  }
  Steps sequences(static_cast<int>(steps.front().size()), shape.vocab, 11);
  std::vector<double> result;
  for (const std::vector<int>& sizes : steps) {
    const Batch batch = sequences.next(sizes, all_logits);
    const std::span<const float> expected = reference->forward(batch).logits;
    result.push_back(relative_error(device.forward(batch).logits, expected));
  }
  return result;
}

}  // namespace sluice::backend
