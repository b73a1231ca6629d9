#include "server/access.h"

#include <gtest/gtest.h>

#include "server/http_message.h"

namespace sluice::server {
namespace {

TEST(Access, LocalHostsMayAsk) {
  for (const char* host : {"", "localhost", "LOCALHOST:11434", "127.0.0.1", "127.9.9.9:80", "[::1]",
                           "[::1]:80", "10.1.2.3", "192.168.0.7:1", "172.16.0.1", "0.0.0.0",
                           "a.localhost", "printer.local", "x.internal:8080", "[fd00::1]",
                           "[::ffff:127.0.0.1]", "[fe80::1]", "localhost:", "localhost:0"}) {
    EXPECT_EQ(standing_of_host(host), Standing::kTrusted) << host;
  }
}

TEST(Access, ForeignHostsMayNot) {
  for (const char* host :
       {"example.com", "localhost.example.com", "8.8.8.8", "172.32.0.1", "127.0.0.1.example.com",
        "[2001:db8::1]", "local", "xlocalhost", "internal", "0x7f000001", "2130706433", "127.1",
        "0177.0.0.1", "localhost.", "[::ffff:8.8.8.8]", "[v1.a]", "a.localhost.example:80",
        "localhost,evil.example"}) {
    EXPECT_EQ(standing_of_host(host), Standing::kForeign) << host;
  }
}

TEST(Access, MalformedHostsAreNotRead) {
  for (const char* host : {"localhost:80@evil.example",
                           "localhost@evil.example",
                           "@localhost",
                           "[::1]evil",
                           "[::1]evil:80",
                           "[::1",
                           "::1",
                           "fe80::1",
                           "[]",
                           "[::1]:80:90",
                           "[fe80::1%25eth0]",
                           "[127.0.0.1]",
                           "localhost:80a",
                           "localhost:-1",
                           "localhost:+1",
                           "localhost:65536",
                           "localhost:99999999999999999999",
                           "localhost: 80",
                           "localhost:80:80",
                           "local host",
                           "localhost/x",
                           "localhost\\@evil.example",
                           "localhost?x",
                           "localhost#x",
                           "%6cocalhost",
                           "localhost%2eevil.example",
                           "http://localhost",
                           "//localhost",
                           "localhost\t",
                           "l\xc3\xb6"}) {
    EXPECT_EQ(standing_of_host(host), Standing::kMalformed) << host;
  }
}

TEST(Access, OriginsAreCheckedWhole) {
  for (const char* origin :
       {"http://localhost", "http://localhost:3000", "https://127.0.0.1:1", "HTTP://LocalHost:1",
        "http://[::1]:5173", "app://x", "file://", "tauri://localhost", "vscode-webview://abc"}) {
    EXPECT_EQ(standing_of_origin(origin, {}), Standing::kTrusted) << origin;
  }
  for (const char* origin :
       {"http://localhost.evil.com", "http://evil.com", "null", "chrome-extension://x",
        "http://127.0.0.1.evil.com:80", "ftp://localhost", "http://[::2]", "http://"}) {
    EXPECT_EQ(standing_of_origin(origin, {}), Standing::kForeign) << origin;
  }
  for (const char* origin :
       {"", "localhost", "http:", "http:/localhost", "://localhost", "1x://localhost",
        "http://localhost@evil.com", "http://localhost:1@evil.example",
        "http://localhost:evil.example", "http://localhost:65536", "http://localhost:80/",
        "http://localhost http://evil.example", "http://localhost,http://evil.example",
        "http://localhost/x", "http://[::1]evil", "app://x/y", "http://localhost\\evil.example",
        "http://loc%61lhost", "x http://localhost"}) {
    EXPECT_EQ(standing_of_origin(origin, {}), Standing::kMalformed) << origin;
    EXPECT_EQ(standing_of_origin(origin, {"*"}), Standing::kMalformed) << origin;
  }
}

TEST(Access, OriginsThatTheOwnerAllows) {
  const auto is_trusted = [](const char* origin, const char* allowed) {
    return standing_of_origin(origin, {allowed}) == Standing::kTrusted;
  };
  EXPECT_TRUE(is_trusted("https://my.page", "https://my.page"));
  EXPECT_FALSE(is_trusted("https://my.page.evil", "https://my.page"));
  EXPECT_TRUE(is_trusted("https://my.page:99", "https://my.page:*"));
  EXPECT_FALSE(is_trusted("https://my.page.evil:99", "https://my.page:*"));
  EXPECT_TRUE(is_trusted("http://anything", "*"));
  EXPECT_TRUE(is_trusted("null", "*"));
  EXPECT_TRUE(is_trusted("chrome-extension://x", "chrome-extension://*"));
}

// What check_access says to a request: its status, or 200.
int status_for(Headers headers, std::optional<std::string> authority = {},
               bool checks_host = true) {
  HttpRequest request;
  request.method = "GET";
  request.path = "/api/tags";
  request.authority = std::move(authority);
  request.headers = std::move(headers);
  const auto access = check_access({checks_host, {}}, request);
  const auto* reply = std::get_if<Reply>(&access);
  return reply ? reply->status : 200;
}

TEST(Access, OneHostAndAtMostOneOrigin) {
  EXPECT_EQ(status_for({{"host", "localhost:80"}}), 200);
  EXPECT_EQ(status_for({{"host", "localhost"}, {"origin", "http://localhost"}}), 200);
  EXPECT_EQ(status_for({}), 400) << "HTTP/1.1 has a Host";
  EXPECT_EQ(status_for({{"host", "localhost"}, {"host", "localhost"}}), 400);
  EXPECT_EQ(status_for({{"host", "localhost"}, {"host", "evil.example"}}), 400);
  EXPECT_EQ(status_for({{"host", "localhost"},
                        {"origin", "http://localhost"},
                        {"origin", "http://evil.example"}}),
            400);
  EXPECT_EQ(status_for({{"host", "evil.example"}}), 403);
  EXPECT_EQ(status_for({{"host", "localhost"}, {"origin", "http://evil.example"}}), 403);
  EXPECT_EQ(status_for({{"host", "localhost:80@evil.example"}}), 400);
}

// The page that the server gives out asks it by the address it came from.
TEST(Access, TheServersOwnPageMayAsk) {
  const auto status = [](const char* host, const char* origin) {
    return status_for({{"host", host}, {"origin", origin}}, {}, false);
  };
  EXPECT_EQ(status("192.168.1.7:11434", "http://192.168.1.7:11434"), 200);
  EXPECT_EQ(status("203.0.113.5", "http://203.0.113.5"), 200);
  EXPECT_EQ(status("[2001:db8::1]:8080", "https://[2001:db8::1]:8080"), 200);
  EXPECT_EQ(status("box.local:11434", "http://BOX.local:11434"), 200);
  // Another port or machine is another page.
  EXPECT_EQ(status("192.168.1.7:11434", "http://192.168.1.7:80"), 403);
  EXPECT_EQ(status("192.168.1.7:11434", "http://192.168.1.70:11434"), 403);
  EXPECT_EQ(status("192.168.1.7:11434", "ftp://192.168.1.7:11434"), 403);
  // A stranger's name may have been pointed at this machine.
  EXPECT_EQ(status("evil.example", "http://evil.example"), 403);
  EXPECT_EQ(status("192.168.1.7.evil.example", "http://192.168.1.7.evil.example"), 403);
}

TEST(Access, TheTargetsOwnHostCounts) {
  EXPECT_EQ(status_for({{"host", "localhost"}}, "localhost:80"), 200);
  EXPECT_EQ(status_for({{"host", "localhost"}}, "evil.example"), 403);
  EXPECT_EQ(status_for({{"host", "evil.example"}}, "localhost"), 403);
  EXPECT_EQ(status_for({{"host", "localhost"}}, "localhost@evil.example"), 400);
}

TEST(Access, WhoListensForAllStillReadsStrictly) {
  EXPECT_EQ(status_for({{"host", "my.server"}}, {}, false), 200);
  EXPECT_EQ(status_for({{"host", "my.server:80@evil.example"}}, {}, false), 400);
  EXPECT_EQ(status_for({{"host", "my.server"}, {"origin", "http://evil.example"}}, {}, false), 403);
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
  EXPECT_EQ(parse_target("http://host:1/x")->authority, "host:1");
  EXPECT_FALSE(parse_target("/x")->authority);
  EXPECT_EQ(parse_target("http://host")->path, "/");
  EXPECT_EQ(parse_target("HTTPS://host?a=b")->path, "/");
  EXPECT_EQ(parse_target("HTTPS://host?a=b")->query, "a=b");
  EXPECT_EQ(parse_target("HTTPS://host?a=b")->authority, "host");
  EXPECT_EQ(parse_target("http:///x")->authority, "") << "not the next header's business";
  EXPECT_EQ(parse_target("/%61%2Fb")->path, "/a/b");
  EXPECT_EQ(parse_target("/%2561")->path, "/%61") << "decoded once";
  for (const char* bad : {"", "*", "host:443", "/%", "/%4", "/%zz", "/%00", "/a%0d%0ab", "://x",
                          "ftp://host/x", "httpx://host/x"}) {
    EXPECT_FALSE(parse_target(bad)) << bad;
  }
}

TEST(ErrorBody, IsJsonWhateverTheText) {
  EXPECT_EQ(error_body("a \"b\"\n"), R"({"error":"a \"b\"\n"})");
  EXPECT_EQ(error_body("\xff"), "{\"error\":\"\xef\xbf\xbd\"}");
}

}  // namespace
}  // namespace sluice::server
