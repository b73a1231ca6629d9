#include "measure/workload.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <random>
#include <string_view>
#include <utility>

namespace sluice::measure {
namespace {

// The text of the input test: 29 sentences, 484 words in all.
constexpr std::array<std::string_view, 29> kSentences = {
    "The lighthouse on the point of Varn had been dark for eleven winters when Ilse Marrow "
    "came to repair it.",
    "She arrived on the mail boat with two crates of tools and a letter from the harbour "
    "board.",
    "The letter said that the lamp should burn again before the herring fleet returned in "
    "October.",
    "Nobody in the village believed that it could be done.",
    "The old keeper had died, the stairs had rotted, and gulls nested among the broken prisms "
    "of the lens.",
    "For the first week she only measured things and wrote the numbers in a small green book.",
    "Children followed her up the path and asked what every tool was for.",
    "She answered all of them with patience, and by Friday four of them were carrying boards.",
    "The baker sent bread, then the smith sent hinges, and then his daughter came herself to "
    "fit them.",
    "By the end of the month there were nineteen people at work on the tower.",
    "They scraped the rust from the railings and painted the gallery white.",
    "They carried the lens down piece by piece, washed it in warm vinegar, and laid it out on "
    "blankets in the schoolroom.",
    "Two of the prisms were cracked beyond repair, and for those Ilse wrote to a glass maker "
    "on the mainland.",
    "Such glass had not been poured for sixty years, he answered, and the moulds were lost.",
    "That evening she sat a long time on the sea wall and looked at her numbers.",
    "Then the schoolteacher remembered the church.",
    "In its cellar, behind the broken organ pipes, stood a case that the first builder of the "
    "tower had left in trust.",
    "Inside it, wrapped in straw and sailcloth, lay six spare prisms without a scratch.",
    "The whole village walked behind the cart that brought them up the hill.",
    "It took nine more days to set the glass, because each piece had to be turned until it "
    "threw its light to the right place.",
    "Ilse worked at night, with a candle in the lamp house and a boy in a rowing boat, who "
    "lifted a lantern whenever the beam crossed his bow.",
    "On the last evening of September a storm came up from the west, earlier than anyone had "
    "expected.",
    "The fleet was still out, thirty boats with every sailor on board.",
    "Ilse climbed the new stairs, trimmed the wick, and lit the lamp.",
    "Far out on the black water the skippers saw a white line sweep over the waves, vanish, "
    "and come again.",
    "They counted the seconds between the flashes as their fathers had taught them, and they "
    "knew where they were.",
    "All thirty boats were tied up in the harbour before midnight.",
    "In the morning the village found the green book on the steps of the tower, with one line "
    "added after the last number.",
    "It said that the light now belonged to those who had carried it."};

// Sentence `variant` comes first and the others follow in an order of the variant's own; variant 0
// is the text as written.
std::string sentences_in_order(uint64_t variant) {
  std::array<size_t, kSentences.size()> order;
  std::iota(order.begin(), order.end(), size_t{0});
  if (variant != 0) {
    std::swap(order[0], order[variant % order.size()]);
    std::mt19937_64 random(variant);
    for (size_t i = order.size() - 1; i > 1; --i) {
      std::swap(order[i], order[1 + random() % i]);
    }
  }
  std::string text;
  for (size_t index : order) {
    if (!text.empty()) text += ' ';
    text += kSentences[index];
  }
  return text;
}

}  // namespace

Workload output_workload(int num_words) {
  return {.kind = WorkloadKind::kOutput, .num_words = num_words};
}

Workload input_workload() { return {.kind = WorkloadKind::kInput, .num_words = kInputWords}; }

std::string_view workload_name(WorkloadKind kind) {
  return kind == WorkloadKind::kOutput ? "output" : "input";
}

std::string make_prompt(const Workload& workload, uint64_t variant) {
  if (workload.kind == WorkloadKind::kOutput) {
    return "tell a story in " + std::to_string(workload.num_words) + " words:";
  }
  return "give a title for below text in 10 words:\n" + sentences_in_order(variant);
}

}  // namespace sluice::measure
