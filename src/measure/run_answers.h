#pragma once

#include <string>
#include <vector>

#include "measure/run.h"

// A run in words: what its figures say to the questions that people have.
namespace sluice::measure {

struct Answer {
  std::string question;
  std::string text;  // paragraphs with their evidence, a line each
};

// Questions to which the run says nothing are left out.
std::vector<Answer> answer(const LoadRun& run);

// Tokens/s that one user could get at most: the memory's speed over the weights that a token reads.
// 0 when one of them is not known.
double decode_bound(const LoadRun& run);

// Tokens/s that the machine can compute at most, of prompts or of all users together: its products
// over those of a token. 0 when one of them is not known.
double prefill_bound(const LoadRun& run);

// Tokens/s of prompts that had the machine for themselves: those that were computed over the time
// to the first token, the mean over single users' prompts of at least kLeastPrompt tokens; NaN
// without one.
constexpr double kLeastPrompt = 64;
double prefill_speed(const LoadRun& run);

// Tokens/s of a reply once it has begun, the mean over the requests of a row; NaN without one.
double decode_speed(const LoadRun& run, int row);

}  // namespace sluice::measure
