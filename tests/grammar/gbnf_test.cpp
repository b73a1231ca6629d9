#include "grammar/gbnf.h"

#include "grammar_fixture.h"

namespace sluice::grammar {
namespace {

using testing::accepts;
using testing::error_of;
using testing::gbnf;
using ::testing::HasSubstr;

TEST(Gbnf, ReadsRulesWithAllTheirForms) {
  const Grammar chess = gbnf(R"gbnf(
# moves of a game
root   ::= ("1. " move " " move "\n" ([1-9] [0-9]? ". " move " " move "\n"){0,3})
move   ::= (pawn | nonpawn |
            castle) [+#]?
pawn ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
nonpawn ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
castle  ::= "O-O" "-O"?
)gbnf");
  EXPECT_TRUE(accepts(chess, "1. e4 e5\n"));
  EXPECT_TRUE(accepts(chess, "1. e4 O-O-O+\n2. Nf3 Nc6\n"));
  EXPECT_FALSE(accepts(chess, "1. e9 e5\n"));
  EXPECT_FALSE(accepts(chess, "1. e4 e5"));
}

TEST(Gbnf, Recurses) {
  const Grammar sums = gbnf("root ::= term (\"+\" term)*\nterm ::= [0-9]+ | \"(\" root \")\"");
  EXPECT_TRUE(accepts(sums, "1+(2+(3+4))+5"));
  EXPECT_FALSE(accepts(sums, "1+(2+3"));
  // A rule that ends with itself takes no room however long the text becomes.
  const Grammar list = gbnf("root ::= \"a\" root | \"b\"");
  EXPECT_TRUE(accepts(list, std::string(5000, 'a') + "b"));
}

TEST(Gbnf, ReadsEscapesAndSets) {
  EXPECT_TRUE(accepts(gbnf(R"(root ::= "\x41\u00e9\n\"" [^\]a-z] .)"),
                      "Aé\n\"]"
                      "日") == false);
  EXPECT_TRUE(accepts(gbnf(R"(root ::= "\x41\u00e9\n\"" [^\]a-z] .)"), "Aé\n\"Z日"));
  EXPECT_TRUE(accepts(gbnf(R"(root ::= [日本a-c-]{2})"), "日-"));
}

TEST(Gbnf, EmptyPartsDoNoHarm) {
  EXPECT_TRUE(accepts(gbnf("root ::= (\"a\"?)* \"b\""), "aab"));
  EXPECT_TRUE(accepts(gbnf("root ::= (\"a\"?){3,5} \"b\""), "b"));
  EXPECT_TRUE(accepts(gbnf("root ::= \"\""), ""));
  EXPECT_TRUE(accepts(gbnf("root ::= x x x\nx ::= | \"x\""), "xx"));
}

TEST(Gbnf, NamesWhatIsWrong) {
  struct Case {
    std::string text, message;
  };
  const Case cases[] = {
      {"", "no rule \"root\""},
      {"root ::= other", "rule \"other\" is named but not defined"},
      {"root = \"a\"", "line 1: ::= is expected"},
      {"root ::= \"a\"\nroot ::= \"b\"", "line 2: rule \"root\" is defined twice"},
      {"root ::= \"a", "closing quote"},
      {"root ::= [a", "a set without its ]"},
      {"root ::= (\"a\"", ") is expected"},
      {"root ::= \"a\" )", "does not end here"},
      {"root ::= \"\\q\"", "no escape \\q"},
      {"root ::= [z-a]", "before its beginning"},
      {"root ::= \"a\"{3,1}", "before its beginning"},
      {"root ::= root \"a\" | \"b\"", "begins with itself"},
      {"root ::= x root\nx ::= \"a\"?", "begins with itself"},
      {"root ::= \"a\" root", "nothing can satisfy"},
      {std::string("root ::= ") + std::string(300, '('), "nested too deeply"},
      {"root ::= \"\xff\"", "not UTF-8"},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(error_of({SourceKind::kGbnf, c.text}), HasSubstr(c.message)) << c.text;
  }
}

TEST(Gbnf, LongChainsOfRulesAreRefusedNotFollowed) {
  std::string text = "root ::= r0\n";
  for (int i = 0; i < 20000; ++i) {
    text += "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + "\n";
  }
  text += "r20000 ::= \"a\"\n";
  EXPECT_THAT(error_of({SourceKind::kGbnf, text}), HasSubstr("too deeply"));
}

// Counts are not written out, so that they cost nothing; many at once are too many.
TEST(Gbnf, AmbiguityIsBounded) {
  EXPECT_TRUE(accepts(gbnf("root ::= \"a\"{2,1000000}"), std::string(3000, 'a')));
  const Grammar grammar = gbnf("root ::= (\"a\"{1,1000}){1,1000}\n");
  Matcher matcher(grammar);
  EXPECT_THROW(
      {
        for (int i = 0; i < 20000; ++i) matcher.accept("a");
      },
      Error);
}

}  // namespace
}  // namespace sluice::grammar
