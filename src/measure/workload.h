#pragma once

#include <cstdint>
#include <string>
#include <string_view>

// What a load test asks for: the two tests of the article that the seed figures come from.
namespace sluice::measure {

enum class WorkloadKind {
  kOutput,  // "tell a story in N words:"
  kInput,   // "give a title for below text in 10 words:" and a text of 484 words
};

struct Workload {
  WorkloadKind kind = WorkloadKind::kOutput;
  int num_words = 0;  // asked for (output test) or given (input test)

  bool operator==(const Workload&) const = default;
};

constexpr int kInputWords = 484;

Workload output_workload(int num_words);
Workload input_workload();
std::string_view workload_name(WorkloadKind kind);  // "output", "input"

// The prompt of one request. Two requests of the input test with different `variant` share no
// prefix beyond the question: the text has the same 484 words, its sentences in another order, so
// that a server's prefix cache does not flatter the figures. The prompt of the output test is
// always the same: it is a dozen tokens.
std::string make_prompt(const Workload& workload, uint64_t variant);

}  // namespace sluice::measure
