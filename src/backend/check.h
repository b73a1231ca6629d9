#pragma once

#include "backend/backend.h"

namespace sluice::backend {

// Throws Error(kInvalidArgument) when `batch` breaks the contract of Backend::submit: empty or
// overlapping sequences, tokens or blocks out of range, more rows than the limits allow.
void check_batch(const Batch& batch, const Program& program, const LoadOptions& options,
                 int num_blocks);

// Rows of a buffer of this kind: in one step, and at most.
size_t count_rows(RowKind kind, const Batch& batch);
int max_rows(RowKind kind, const LoadOptions& options);

}  // namespace sluice::backend
