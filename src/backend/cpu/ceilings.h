#pragma once

#include "backend/cpu/team.h"

namespace sluice::backend::cpu {

// Bytes a second that the team reads from memory: the best of passes over 1 GiB on huge pages,
// within about a second. What decoding is held against.
double measure_read_bandwidth(Team& team);

}  // namespace sluice::backend::cpu
