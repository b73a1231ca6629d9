#include <gtest/gtest.h>

#include "base/error.h"
#include "http/client.h"

namespace sluice::http {
namespace {

TEST(Url, CompletesWhatIsLeftOut) {
  EXPECT_EQ(parse_url("localhost:8080").text(), "http://localhost:8080");
  EXPECT_EQ(parse_url(":8080").text(), "http://127.0.0.1:8080");
  EXPECT_EQ(parse_url("example.org").text(), "http://example.org:11434");
  EXPECT_EQ(parse_url("example.org", 9).text(), "http://example.org:9");
  EXPECT_EQ(parse_url("HTTP://example.org").text(), "http://example.org:80");
  EXPECT_EQ(parse_url("https://example.org").text(), "https://example.org:443");
  EXPECT_EQ(parse_url("HTTPS://h:1/api").text(), "https://h:1/api");
  EXPECT_EQ(parse_url("http://h:1/api/").text(), "http://h:1/api");
  EXPECT_EQ(parse_url("h/").prefix, "");
  EXPECT_EQ(parse_url("127.0.0.1.example.org:1/x").text(), "http://127.0.0.1.example.org:1/x");
  EXPECT_EQ(parse_url("256.1_a").text(), "http://256.1_a:11434");
}

TEST(Url, TurnsTheWildcardAddressIntoOneToConnectTo) {
  EXPECT_EQ(parse_url("0.0.0.0").text(), "http://127.0.0.1:11434");
  EXPECT_EQ(parse_url("http://0.0.0.0:5").text(), "http://127.0.0.1:5");
  EXPECT_EQ(parse_url("[::]:5").text(), "http://[::1]:5");
}

TEST(Url, KeepsAddress6InBrackets) {
  const Url url = parse_url("http://[fe80::1]:99/x");
  EXPECT_EQ(url.host, "fe80::1");
  EXPECT_EQ(url.port, 99);
  EXPECT_EQ(url.text(), "http://[fe80::1]:99/x");
}

TEST(Url, TakesAnAddress6WithoutBracketsWhenItIsAlone) {
  EXPECT_EQ(parse_url("::1").text(), "http://[::1]:11434");
  EXPECT_EQ(parse_url("::").text(), "http://[::1]:11434");
  EXPECT_EQ(parse_url("http://fe80::1/x").text(), "http://[fe80::1]:80/x");
}

TEST(Url, AnAddressToListenOnMayBeAWildcardAndPort0) {
  const auto listen = [](const char* text) {
    const Url url = parse_listen_address(text);
    return url.host + " " + std::to_string(url.port) + url.prefix;
  };
  EXPECT_EQ(listen("::1"), "::1 11434");
  EXPECT_EQ(listen("::"), ":: 11434");
  EXPECT_EQ(listen("[::]:80"), ":: 80");
  EXPECT_EQ(listen(":0"), "127.0.0.1 0");
  EXPECT_EQ(listen("0.0.0.0"), "0.0.0.0 11434");
  EXPECT_EQ(listen("http://h:1/x"), "h 1");
  EXPECT_EQ(listen("http://127.0.0.1"), "127.0.0.1 80");  // as Ollama
  EXPECT_THROW(listen("h:65536"), Error);
  EXPECT_THROW(listen("::1:11434x"), Error);
}

TEST(Url, RefusesWhatIsNoAddressAndSaysHowToWriteOne) {
  for (const char* text : {"",
                           "ftp://h",
                           "http://",
                           "http:///x",
                           "h%41",
                           "[v1.a]",
                           "h:1/%zz",
                           "h:0",
                           "h:65536",
                           "h:x",
                           "h:",
                           "h:1:2",
                           "user@h",
                           "h b",
                           "[::1",
                           "[x]:1",
                           "[1.2]:1",
                           "1::2::3",
                           ":0",
                           "[]",
                           "[::1]5",
                           "http://h:1/a b",
                           "http://h:1/a\r\nX: y",
                           "h?x",
                           "http://h:1/?q=1",
                           "h\n"}) {
    try {
      parse_url(text);
      FAIL() << "accepted: " << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument) << text;
      EXPECT_NE(std::string(error.what()).find("http://127.0.0.1:11434"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace sluice::http
