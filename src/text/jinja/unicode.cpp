#include "text/jinja/unicode.h"

#include <algorithm>

namespace sluice::text::jinja {

namespace {

// Length of the well-formed sequence at `position`, or 1 for a stray byte, which sets `stray`.
size_t sequence_length(std::string_view text, size_t position, bool& stray) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[position + i]); };
  stray = false;
  unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  stray = lead < 0xC2 || lead > 0xF4 || position + length > text.size();
  for (size_t i = 1; i < length && !stray; ++i) stray = (byte(i) & 0xC0) != 0x80;
  if (!stray) {
    stray = (lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xF0 && byte(1) < 0x90) ||
            (lead == 0xF4 && byte(1) > 0x8F);
  }
  return stray ? 1 : length;
}

void append_mapped(const CaseMapping& mapping, char32_t c, std::u32string& out) {
  const CaseSpecial* end = mapping.specials + mapping.num_specials;
  const CaseSpecial* special = std::lower_bound(
      mapping.specials, end, c,
      [](const CaseSpecial& entry, char32_t value) { return entry.code_point < value; });
  if (special != end && special->code_point == c) {
    for (uint32_t mapped : special->mapped) {
      if (mapped != 0) out.push_back(mapped);
    }
    return;
  }
  const CaseRange* range =
      std::upper_bound(mapping.ranges, mapping.ranges + mapping.num_ranges, c,
                       [](char32_t value, const CaseRange& entry) { return value < entry.first; });
  if (range != mapping.ranges) {
    --range;
    if (c <= range->last && (c - range->first) % range->step == 0) {
      out.push_back(static_cast<char32_t>(static_cast<int64_t>(c) + range->delta));
      return;
    }
  }
  out.push_back(c);
}

// Whether the capital sigma at `index` ends a word and so becomes the final form.
bool is_final_sigma(const std::u32string& text, size_t index) {
  size_t before = index;
  while (before > 0 && has(kCaseIgnorable, text[before - 1])) --before;
  if (before == 0 || !is_cased(text[before - 1])) return false;
  size_t after = index + 1;
  while (after < text.size() && has(kCaseIgnorable, text[after])) ++after;
  return after == text.size() || !is_cased(text[after]);
}

void append_lower(const std::u32string& text, size_t index, std::u32string& out) {
  constexpr char32_t kCapitalSigma = 0x3A3, kSigma = 0x3C3, kFinalSigma = 0x3C2;
  if (text[index] == kCapitalSigma) {
    out.push_back(is_final_sigma(text, index) ? kFinalSigma : kSigma);
  } else {
    append_mapped(kToLower, text[index], out);
  }
}

}  // namespace

char32_t next_code_point(std::string_view text, size_t& position) {
  bool stray = false;
  size_t length = sequence_length(text, position, stray);
  auto lead = static_cast<unsigned char>(text[position]);
  if (length == 1) {
    ++position;
    return stray ? kInvalidByte + lead : lead;
  }
  char32_t result = lead & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) {
    result = (result << 6) | (static_cast<unsigned char>(text[position + i]) & 0x3Fu);
  }
  position += length;
  return result;
}

void append_utf8(std::string& text, char32_t c) {
  auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (c >= kInvalidByte) {
    put(c - kInvalidByte);
  } else if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | (c >> 6));
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3F));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

size_t count_code_points(std::string_view text) {
  size_t count = 0;
  for (size_t position = 0; position < text.size(); ++count) {
    bool stray = false;
    position += sequence_length(text, position, stray);
  }
  return count;
}

std::u32string to_code_points(std::string_view text) {
  std::u32string result;
  result.reserve(text.size());
  for (size_t position = 0; position < text.size();) {
    result.push_back(next_code_point(text, position));
  }
  return result;
}

std::string to_utf8(std::u32string_view code_points) {
  std::string result;
  result.reserve(code_points.size());
  for (char32_t c : code_points) append_utf8(result, c);
  return result;
}

size_t byte_offset(std::string_view text, size_t index) {
  size_t position = 0;
  for (; index > 0 && position < text.size(); --index) {
    bool stray = false;
    position += sequence_length(text, position, stray);
  }
  return position;
}

bool has(const CharacterSet& set, char32_t code_point) {
  const uint32_t* end = set.boundaries + set.size;
  return ((std::upper_bound(set.boundaries, end, code_point) - set.boundaries) & 1) != 0;
}

std::string upper_text(std::string_view text) {
  std::u32string out;
  for (char32_t c : to_code_points(text)) append_mapped(kToUpper, c, out);
  return to_utf8(out);
}

std::string lower_text(std::string_view text) {
  std::u32string in = to_code_points(text), out;
  for (size_t i = 0; i < in.size(); ++i) append_lower(in, i, out);
  return to_utf8(out);
}

std::string fold_text(std::string_view text) {
  std::u32string out;
  for (char32_t c : to_code_points(text)) append_mapped(kFold, c, out);
  return to_utf8(out);
}

std::string title_text(std::string_view text) {
  std::u32string in = to_code_points(text), out;
  bool in_word = false;
  for (size_t i = 0; i < in.size(); ++i) {
    if (in_word) {
      append_lower(in, i, out);
    } else {
      append_mapped(kToTitle, in[i], out);
    }
    in_word = is_cased(in[i]);
  }
  return to_utf8(out);
}

std::string capitalize_text(std::string_view text) {
  std::u32string in = to_code_points(text), out;
  for (size_t i = 0; i < in.size(); ++i) {
    if (i == 0) {
      append_mapped(kToTitle, in[i], out);
    } else {
      append_lower(in, i, out);
    }
  }
  return to_utf8(out);
}

std::string swapcase_text(std::string_view text) {
  std::u32string in = to_code_points(text), out;
  for (size_t i = 0; i < in.size(); ++i) {
    if (has(kUpper, in[i])) {
      append_lower(in, i, out);
    } else if (has(kLower, in[i])) {
      append_mapped(kToUpper, in[i], out);
    } else {
      out.push_back(in[i]);
    }
  }
  return to_utf8(out);
}

namespace {
bool strips(char32_t c, const std::u32string* set) {
  return set == nullptr ? is_space(c) : set->find(c) != std::u32string::npos;
}
}  // namespace

std::string_view strip_left(std::string_view text, const std::u32string* set) {
  size_t position = 0;
  while (position < text.size()) {
    size_t next = position;
    if (!strips(next_code_point(text, next), set)) break;
    position = next;
  }
  return text.substr(position);
}

std::string_view strip_right(std::string_view text, const std::u32string* set) {
  while (!text.empty()) {
    // The last character starts at most three bytes before the last byte.
    size_t start = text.size() - 1;
    for (size_t back = 2; back <= std::min<size_t>(4, text.size()); ++back) {
      size_t candidate = text.size() - back;
      bool stray = false;
      if (sequence_length(text, candidate, stray) == back) start = candidate;
    }
    size_t position = start;
    if (!strips(next_code_point(text, position), set)) break;
    text = text.substr(0, start);
  }
  return text;
}

}  // namespace sluice::text::jinja
