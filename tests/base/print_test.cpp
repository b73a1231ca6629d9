#include "base/print.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(Printable, LeavesGoodTextAsItIs) {
  EXPECT_EQ(printable("Grüße 你好 🙂 e\u0301 C:\\new"),
            "Grüße 你好 🙂 e\u0301 C:\\new");
  EXPECT_EQ(printable(""), "");
}

TEST(Printable, EscapesWhatATerminalWouldObey) {
  EXPECT_EQ(printable("evil\x1b[2J\a\b"), "evil\\x1b[2J\\x07\\x08");
  EXPECT_EQ(printable("a\nb\r\nc\td"), "a\\nb\\r\\nc\\td");
  EXPECT_EQ(printable(std::string_view("\x00\x7f", 2)), "\\x00\\x7f");
  EXPECT_EQ(printable("\u009b31m"), "\\u009b31m");
  EXPECT_EQ(printable("a\u202egnp.exe\u2066\u2028"), "a\\u202egnp.exe\\u2066\\u2028");
}

TEST(Printable, EscapesBytesThatAreNoUtf8) {
  EXPECT_EQ(printable("a\xc3"), "a\\xc3");
  EXPECT_EQ(printable("\xe4\xbdz"), "\\xe4\\xbdz");
  EXPECT_EQ(printable("\x9b\xff"), "\\x9b\\xff");
  EXPECT_EQ(printable("\xc0\x9b"), "\\xc0\\x9b");           // overlong
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate
}

TEST(Printable, KeepsLinesWhereLinesAreWanted) {
  EXPECT_EQ(printable_lines("a\r\nb\tc\n\x1b]0;x\x07\rd"), "a\nb\tc\n\\x1b]0;x\\x07\\rd");
}

TEST(DisplayWidth, CountsColumns) {
  EXPECT_EQ(display_width("abc"), 3u);
  EXPECT_EQ(display_width("äöü"), 3u);
  EXPECT_EQ(display_width("你好"), 4u);
  EXPECT_EQ(display_width("e\u0301"), 1u);
  EXPECT_EQ(display_width("🙂"), 2u);
  EXPECT_EQ(display_width(""), 0u);
}

TEST(CutToWidth, CutsBetweenCharacters) {
  EXPECT_EQ(cut_to_width("abc", 3), "abc");
  EXPECT_EQ(cut_to_width("abcd", 3), "ab~");
  EXPECT_EQ(cut_to_width("äöüß", 4), "äöüß");
  EXPECT_EQ(cut_to_width("äöüß", 3), "äö~");
  EXPECT_EQ(cut_to_width("", 3), "");
  EXPECT_EQ(cut_to_width("你好吗", 6), "你好吗");
  EXPECT_EQ(cut_to_width("你好吗", 5), "你好~");
  EXPECT_EQ(cut_to_width("你好吗", 4), "你~");  // half a character is none
  EXPECT_EQ(cut_to_width("e\u0301e\u0301x", 2), "e\u0301~");
}

}  // namespace
}  // namespace sluice
