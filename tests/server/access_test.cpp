#include "server/access.h"

#include <gtest/gtest.h>

#include "server/http_message.h"

namespace sluice::server {
namespace {

TEST(Access, LocalHostsMayAsk) {
  for (const char* host : {"", "localhost", "LOCALHOST:11434", "127.0.0.1", "127.9.9.9:80", "[::1]",
                           "[::1]:80", "::1", "10.1.2.3", "192.168.0.7:1", "172.16.0.1", "0.0.0.0",
                           "a.localhost", "printer.local", "x.internal:8080", "[fd00::1]"}) {
    EXPECT_TRUE(is_local_host(host)) << host;
  }
}

TEST(Access, ForeignHostsMayNot) {
  for (const char* host :
       {"example.com", "localhost.example.com", "8.8.8.8", "172.32.0.1", "127.0.0.1.example.com",
        "[2001:db8::1]", "local", "xlocalhost", "internal", "0x7f000001", "2130706433"}) {
    EXPECT_FALSE(is_local_host(host)) << host;
  }
}

TEST(Access, OriginsAreCheckedWhole) {
  for (const char* origin : {"http://localhost", "http://localhost:3000", "https://127.0.0.1:1",
                             "app://x", "file://", "tauri://localhost", "vscode-webview://abc"}) {
    EXPECT_TRUE(is_allowed_origin(origin, {})) << origin;
  }
  for (const char* origin : {"http://localhost.evil.com", "http://evil.com", "null", "",
                             "http://localhost@evil.com", "chrome-extension://x"}) {
    EXPECT_FALSE(is_allowed_origin(origin, {})) << origin;
  }
  EXPECT_TRUE(is_allowed_origin("https://my.page", {"https://my.page"}));
  EXPECT_FALSE(is_allowed_origin("https://my.page.evil", {"https://my.page"}));
  EXPECT_TRUE(is_allowed_origin("https://my.page:99", {"https://my.page:*"}));
  EXPECT_TRUE(is_allowed_origin("http://anything", {"*"}));
  EXPECT_TRUE(is_allowed_origin("chrome-extension://x", {"chrome-extension://*"}));
}

TEST(Access, LoopbackAddresses) {
  EXPECT_TRUE(is_loopback_address("127.0.0.1"));
  EXPECT_TRUE(is_loopback_address("localhost"));
  EXPECT_TRUE(is_loopback_address("::1"));
  EXPECT_FALSE(is_loopback_address("0.0.0.0"));
  EXPECT_FALSE(is_loopback_address("::"));
  EXPECT_FALSE(is_loopback_address("192.168.1.1"));
}

TEST(Target, FormsAndEscapes) {
  EXPECT_EQ(parse_target("/a/b?c=d")->path, "/a/b");
  EXPECT_EQ(parse_target("/a/b?c=d")->query, "c=d");
  EXPECT_EQ(parse_target("http://host:1/x")->path, "/x");
  EXPECT_EQ(parse_target("http://host")->path, "/");
  EXPECT_EQ(parse_target("/%61%2Fb")->path, "/a/b");
  EXPECT_EQ(parse_target("/%2561")->path, "/%61") << "decoded once";
  for (const char* bad : {"", "*", "host:443", "/%", "/%4", "/%zz", "/%00", "/a%0d%0ab", "://x"}) {
    EXPECT_FALSE(parse_target(bad)) << bad;
  }
}

TEST(ErrorBody, IsJsonWhateverTheText) {
  EXPECT_EQ(error_body("a \"b\"\n"), R"({"error":"a \"b\"\n"})");
  EXPECT_EQ(error_body("\xff"), "{\"error\":\"\xef\xbf\xbd\"}");
}

}  // namespace
}  // namespace sluice::server
