#pragma once

#include <array>
#include <functional>
#include <span>
#include <vector>

#include "engine/prompt_lookup.h"
#include "engine/scheduler.h"
#include "text/tokenizer.h"

// Whether guessing pays: a step with more rows takes longer, and only right guesses make up for it.
namespace sluice::engine {

// What one sequence could try in the next step.
struct DraftOffer {
  Sequence* sequence = nullptr;
  int max_tokens = 0;        // 0: no guess
  double chance = 0;         // that the next token is right when those before it were
  bool wants_probe = false;  // it has not paid for a while: time to look whether it does now
  int num_granted = 0;       // set by grant_drafts()
};

// Grants each offer as many tokens as give the most tokens per second in all: none, unless that is
// more than `min_gain` times what the step gives without. A `min_gain` of 0 takes all there is room
// for. `num_sequences` in the step, each with a row of its own; `time_of` a number of rows: of a
// step, 0 when nothing is known yet.
void grant_drafts(std::span<DraftOffer> offers, int num_sequences, int max_rows,
                  const std::function<double(int)>& time_of, double min_gain);

// Guesses for one sequence, and how good they were of late. A copy that went wrong is taken up
// again behind the wrong token, as where one word was replaced, until the end of the text matches
// elsewhere.
class Drafter {
 public:
  // For the end of `tokens`, which go on where they were in the call before.
  DraftOffer offer(std::span<const text::TokenId> tokens, int max_tokens);
  // The first `count` tokens of the guess just offered; 0: the offer was not taken.
  void draft(std::span<const text::TokenId> tokens, int count, std::vector<text::TokenId>& draft);
  // How many of them were right.
  void record(int num_draft, int num_accepted);
  // The tokens are other ones now.
  void reset();

 private:
  static constexpr int kResumed = 1;  // as the length of a match: shorter than any

  double& chance() { return chances_[static_cast<size_t>(match_.length)]; }

  PromptLookup lookup_;
  PromptLookup::Match match_;
  int distance_ = 0;          // from the end of the text back to what the latest guess copied
  int resumed_distance_ = 0;  // of a copy that can be taken up; 0: there is none
  // By the length of the match; of the tokens judged so far the later ones weigh more.
  std::array<double, PromptLookup::kLongestMatch + 1> chances_{0,   0.4, 0.3, 0.5, 0.6,
                                                               0.7, 0.7, 0.7, 0.8};
  int probe_interval_ = 32;  // offers that were not taken
  int num_refused_ = 0;
  bool is_probe_ = false;
};

}  // namespace sluice::engine
