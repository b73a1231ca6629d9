#include "engine/speculation.h"

#include <algorithm>

namespace sluice::engine {
namespace {

constexpr double kAcceptanceWeight = 0.15;
constexpr double kLeastSlope = 0.05;  // of a row in a step's time: more rows may not be known yet
constexpr int kProbeTokens = 2;
constexpr int kLongestProbeInterval = 1024;

// The offer whose next token is the likeliest to be right.
DraftOffer* best_offer(std::span<DraftOffer> offers, std::span<const double> chances) {
  DraftOffer* best = nullptr;
  double best_chance = 0;
  for (size_t i = 0; i < offers.size(); ++i) {
    if (offers[i].num_granted < offers[i].max_tokens && chances[i] > best_chance) {
      best = &offers[i];
      best_chance = chances[i];
    }
  }
  return best;
}

}  // namespace

void grant_drafts(std::span<DraftOffer> offers, int num_sequences, int max_rows,
                  const std::function<double(int)>& time_of, double min_gain) {
  const double plain_time = time_of(num_sequences);
  if (plain_time <= 0) return;
  // The tokens in the order of their chances, as far as the best rate.
  std::vector<double> chances;
  for (const DraftOffer& offer : offers) chances.push_back(offer.chance);
  std::vector<DraftOffer*> order;
  size_t num_best = 0;
  double expected = num_sequences, best_rate = min_gain * num_sequences / plain_time;
  for (int rows = num_sequences + 1; rows <= max_rows; ++rows) {
    DraftOffer* next = best_offer(offers, chances);
    if (next == nullptr) break;
    double& chance = chances[static_cast<size_t>(next - offers.data())];
    expected += chance;
    chance *= next->chance;
    ++next->num_granted;
    order.push_back(next);
    const double least_time = plain_time * (1 + kLeastSlope * (rows - num_sequences));
    const double rate = expected / std::max(time_of(rows), least_time);
    if (min_gain <= 0 || rate > best_rate) {
      best_rate = rate;
      num_best = order.size();
    }
  }
  for (size_t i = num_best; i < order.size(); ++i) --order[i]->num_granted;
  if (num_best > 0) return;
  const auto probe = std::find_if(offers.begin(), offers.end(),
                                  [](const DraftOffer& offer) { return offer.wants_probe; });
  if (probe == offers.end()) return;
  probe->num_granted = std::min({kProbeTokens, probe->max_tokens, max_rows - num_sequences});
}

DraftOffer Drafter::offer(std::span<const text::TokenId> tokens, int max_tokens) {
  const int num_tokens = static_cast<int>(tokens.size());
  match_ = lookup_.find(tokens);
  if (match_.length == 0 && resumed_distance_ > 0) {
    match_ = {kResumed, num_tokens - resumed_distance_};
  }
  distance_ = num_tokens - match_.next;
  DraftOffer offer;
  if (match_.length == 0 || max_tokens <= 0) return offer;
  offer.max_tokens = max_tokens;
  offer.chance = chance();
  offer.wants_probe = num_refused_ >= probe_interval_;
  return offer;
}

void Drafter::draft(std::span<const text::TokenId> tokens, int count,
                    std::vector<text::TokenId>& draft) {
  PromptLookup::copy(tokens, match_, count, draft);
  if (match_.length == 0) return;
  is_probe_ = count > 0 && num_refused_ >= probe_interval_;
  num_refused_ = count > 0 ? 0 : num_refused_ + 1;
}

void Drafter::reset() {
  lookup_.reset();
  resumed_distance_ = 0;
}

void Drafter::record(int num_draft, int num_accepted) {
  if (num_draft == 0) return;
  for (int i = 0; i < std::min(num_draft, num_accepted + 1); ++i) {
    chance() += kAcceptanceWeight * ((i < num_accepted ? 1.0 : 0.0) - chance());
  }
  const bool was_copy = num_accepted > 0 || match_.length == PromptLookup::kLongestMatch;
  resumed_distance_ = was_copy ? distance_ : 0;
  if (num_accepted == num_draft) {
    probe_interval_ = 32;
  } else if (is_probe_) {
    probe_interval_ = std::min(2 * probe_interval_, kLongestProbeInterval);
  }
}

}  // namespace sluice::engine
