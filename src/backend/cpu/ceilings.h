#pragma once

#include "backend/cpu/team.h"

namespace sluice::backend::cpu {

// Bytes a second that the team reads from memory: the best of passes over 1 GiB on huge pages,
// within about a second. What decoding is held against.
double measure_read_bandwidth(Team& team);
// The same by a team of so many threads, made for it.
double measure_read_bandwidth(int num_threads);

// Operations a second (a multiply and an add are two) of matrix products with 4-bit weights for
// many tokens, out of caches, by a team of so many threads: the best within half a second. What
// computing prompts is held against.
double measure_product_rate(int num_threads);

}  // namespace sluice::backend::cpu
