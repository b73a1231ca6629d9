#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "measure/prompts.h"
#include "measure/trace.h"

// Prompts and replies of mixed length, as a server open to the world meets them.
namespace sluice::measure {

// Lengths are log-normal with the means of table and figure 11 of "Efficient Memory Management for
// Large Language Model Serving with PagedAttention" (Kwon and others, SOSP 2023; arXiv 2309.06180),
// cut at 1,024 tokens as serving benchmarks do. The paper gives no widths: sigma is ours. What
// comes out, in tokens (the chat template's own not counted):
//                            mean   median   p95    p99
//   kShareGpt   prompt        155       98   507   1000      people's chats with an assistant
//               reply         325      265   836   1024
//   kAlpaca     prompt         19       17    39     55      short instructions
//               reply          58       46   145    233
enum class Mix { kShareGpt, kAlpaca };

std::string_view mix_name(Mix mix);  // "sharegpt", "alpaca"

struct MixedRequest {
  std::string prompt;  // drawn words and a question; about a token a word
  int num_words = 0;   // of the prompt, the length drawn
  int max_tokens = 0;  // the reply's length drawn; a model may end earlier
};

// Request number `index` of a test. The same arguments give the same request on every machine; two
// indexes share no beginning (words are drawn one by one), so that no prefix cache helps.
MixedRequest make_mixed_request(Mix mix, uint64_t seed, uint64_t index);
// The same with lengths of the user's own.
MixedRequest make_sized_request(const LengthSpec& input, const LengthSpec& output, uint64_t seed,
                                uint64_t index);

// So many words of the seed's own, and a line end; "" for none.
std::string make_shared_prefix(int num_words, uint64_t seed);

// The prompt of a trace's request, for request number `place` of a replay: the text of its blocks
// depends on their numbers and the seed alone.
std::string make_trace_prompt(const TraceRequest& request, uint64_t seed, uint64_t place);

// Uniform in (0, 1] and exponential with mean 1, from 64 random bits: the same on every machine,
// as std's distributions are not.
double uniform_from_bits(uint64_t bits);
double exponential_from_bits(uint64_t bits);

}  // namespace sluice::measure
