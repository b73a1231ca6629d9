#include "cli/suggest.h"

#include <algorithm>
#include <cctype>
#include <numeric>
#include <utility>

#include "measure/shapes.h"

namespace sluice::cli {
namespace {

constexpr size_t kMostSuggestions = 3;
constexpr size_t kLongestTyped = 200;  // the distance takes time by the product of both lengths

std::string lower_case(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

// Letters to insert, delete or replace (Levenshtein, one row at a time).
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

// Smaller is nearer. A name without its tag is the same name; a beginning counts as one letter.
size_t distance(const std::string& typed, const std::string& candidate) {
  const std::string name = lower_case(candidate);
  if (name.starts_with(typed)) return 1;
  size_t best = edit_distance(typed, name);
  if (typed.find(':') == std::string::npos) {
    best = std::min(best, edit_distance(typed, name.substr(0, name.find(':'))));
  }
  return best;
}

}  // namespace

std::vector<std::string> near_names(std::string_view typed, std::vector<std::string> candidates) {
  if (typed.empty() || typed.size() > kLongestTyped) return {};
  const std::string wanted = lower_case(typed);
  const size_t limit = std::max<size_t>(1, wanted.size() / 3);
  std::vector<std::pair<size_t, std::string>> near;
  for (std::string& candidate : candidates) {
    const size_t apart = distance(wanted, candidate);
    if (apart <= limit) near.emplace_back(apart, std::move(candidate));
  }
  std::sort(near.begin(), near.end());
  std::vector<std::string> names;
  for (auto& [apart, name] : near) {
    if (names.size() < kMostSuggestions) names.push_back(std::move(name));
  }
  return names;
}

std::string did_you_mean(std::string_view typed, std::vector<std::string> candidates) {
  const std::vector<std::string> names = near_names(typed, std::move(candidates));
  std::string text;
  for (size_t i = 0; i < names.size(); ++i) {
    text += (i == 0 ? "'" : i + 1 == names.size() ? " or '" : ", '") + names[i] + "'";
  }
  return text.empty() ? "" : ". Did you mean " + text + "?";
}

std::string near_shapes(std::string_view typed) {
  std::vector<std::string> names;
  for (const measure::Shape& one : measure::all_shapes()) names.emplace_back(one.name);
  return did_you_mean(typed, std::move(names));
}

}  // namespace sluice::cli
