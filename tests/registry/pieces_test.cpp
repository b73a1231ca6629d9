#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <openssl/evp.h>

#include "base/error.h"
#include "registry/address_scope.h"
#include "registry/challenge.h"
#include "registry/proxy.h"
#include "registry/reference.h"
#include "registry/signing_key.h"
#include "store/store_fixture.h"

namespace sluice::registry {
namespace {

using ::testing::ElementsAre;

TEST(Reference, FindsTheRegistryOfAName) {
  const auto url = [](const char* text, bool insecure = false) {
    const Reference reference = Reference::parse(text, insecure);
    return reference.url("manifests/" + reference.name.tag).text();
  };
  EXPECT_EQ(url("llama3.1:70b"), "https://registry.ollama.ai/v2/library/llama3.1/manifests/70b");
  EXPECT_EQ(url("me/mine"), "https://registry.ollama.ai/v2/me/mine/manifests/latest");
  EXPECT_EQ(url("hf.co/org/repo.x:Q4_K_M"), "https://hf.co/v2/org/repo.x/manifests/Q4_K_M");
  EXPECT_EQ(url("host:5000/ns/model:tag"), "https://host:5000/v2/ns/model/manifests/tag");
  EXPECT_EQ(url("host:5000/ns/model:tag", true), "http://host:5000/v2/ns/model/manifests/tag");
  EXPECT_EQ(url("http://host/ns/model", true), "http://host/v2/ns/model/manifests/latest");
  EXPECT_EQ(url("https://host/ns/model", true), "https://host/v2/ns/model/manifests/latest");
}

TEST(Reference, RefusesWhatIsNoName) {
  for (const char* text : {"", "a/b/c/d", "../x", "host:port/ns/m", "host:99999/ns/m", "a:1:2/ns/m",
                           "http://host/ns/m"}) {
    EXPECT_THROW(Reference::parse(text, false), Error) << text;
  }
}

TEST(WebUrl, KeepsItsOriginApart) {
  const WebUrl url = WebUrl::parse("HTTPS://Host/a?b=c");
  EXPECT_EQ(url.origin(), "https://host:443");
  EXPECT_EQ(url.target, "/a?b=c");
  EXPECT_EQ(url.resolve("/d").text(), "https://host/d");
  EXPECT_EQ(url.resolve("//other/d").text(), "https://other/d");
  EXPECT_FALSE(url.has_same_origin(url.resolve("http://host/a")));
  EXPECT_FALSE(url.has_same_origin(url.resolve("https://host:444/a")));
  for (const char* text :
       {"ftp://a/", "https://user:word@host/", "https://a b/", "x", "https://"}) {
    EXPECT_THROW(WebUrl::parse(text), Error) << text;
  }
}

TEST(Challenge, ReadsQuotedAndBareValues) {
  const Challenge challenge = parse_challenge(
      R"(Bearer realm="https://r/token",service=registry, scope="a:b:pull,push c")");
  EXPECT_EQ(challenge.scheme, "bearer");
  EXPECT_EQ(challenge.realm, "https://r/token");
  EXPECT_EQ(challenge.service, "registry");
  EXPECT_THAT(challenge.scopes, ElementsAre("a:b:pull,push", "c"));
  EXPECT_EQ(parse_challenge("Basic realm=\"x\\\"y\"").realm, "x\"y");
  EXPECT_EQ(parse_challenge("").scheme, "");
  EXPECT_EQ(parse_challenge("Bearer realm=\"open").realm, "open");
}

TEST(Challenge, TakesTokensThatFitAHeader) {
  EXPECT_EQ(parse_token(R"({"token":"abc"})"), "abc");
  EXPECT_EQ(parse_token(R"({"access_token":"abc"})"), "abc");
  for (const char* text : {"", "[]", R"({"token":1})", R"({"token":"a\r\nX: y"})", "{{{"}) {
    EXPECT_THROW(parse_token(text), Error) << text;
  }
}

TEST(Challenge, FindsTheMessageOfAnError) {
  EXPECT_EQ(error_message(R"({"errors":[{"code":"DENIED","message":"no entry"}]})"), "no entry");
  EXPECT_EQ(error_message(R"({"error":"busy"})"), "busy");
  EXPECT_EQ(error_message("plain\nand more"), "plain");
  EXPECT_EQ(error_message(std::string(1000, '[')), std::string(300, '['));
}

TEST(Challenge, ReadsContentRanges) {
  ContentRange range;
  EXPECT_TRUE(parse_content_range("bytes 5-9/20", range));
  EXPECT_EQ(range.first, 5u);
  EXPECT_EQ(range.total, 20u);
  for (const char* text : {"", "bytes 5-9/*", "bytes 9-5/20", "bytes 5-20/20", "bytes 5-9/20x",
                           "bytes -1-9/20", "items 5-9/20"}) {
    EXPECT_FALSE(parse_content_range(text, range)) << text;
  }
}

TEST(SigningKey, SurvivesItsFile) {
  const SigningKey key = SigningKey::generate();
  const SigningKey again = SigningKey::parse(key.pem_text());
  EXPECT_EQ(again.public_text(), key.public_text());
  EXPECT_EQ(again.sign("text"), key.sign("text"));
  EXPECT_TRUE(key.public_text().starts_with("AAAAC3NzaC1lZDI1NTE5AAAAI"));
}

TEST(SigningKey, SignsSoThatThePublicKeyVerifies) {
  const SigningKey key = SigningKey::generate();
  const std::string blob = base64_decode(key.public_text());
  const std::string signature = base64_decode(key.sign("message"));
  ASSERT_EQ(signature.size(), 64u);
  const auto bytes = [](const std::string& text) {
    return reinterpret_cast<const unsigned char*>(text.data());
  };
  const std::string raw = blob.substr(blob.size() - 32);
  EVP_PKEY* pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, bytes(raw), 32);
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  EVP_DigestVerifyInit(context, nullptr, nullptr, nullptr, pkey);
  EXPECT_EQ(EVP_DigestVerify(context, bytes(signature), 64, bytes("message"), 7), 1);
  EVP_MD_CTX_free(context);
  EVP_PKEY_free(pkey);
}

TEST(SigningKey, RefusesBrokenFiles) {
  const std::string pem = SigningKey::generate().pem_text();
  for (size_t size = 0; size + 2 < pem.size(); size += 7) {
    EXPECT_THROW(SigningKey::parse(pem.substr(0, size)), Error) << size;
  }
  std::string body = base64_decode(pem.substr(36, pem.size() - 36 - 34));
  for (size_t cut = 0; cut < body.size() - 8; cut += 5) {  // behind it is padding
    EXPECT_THROW(SigningKey::parse(pem.substr(0, 36) + base64_encode(body.substr(0, cut)) + "\n" +
                                   pem.substr(pem.size() - 34)),
                 Error)
        << cut;
  }
}

TEST(Proxy, IsForWhatTheOptionsSay) {
  RegistryOptions options;
  options.http_proxy = "http://p:1";
  options.https_proxy = "http://p:2";
  options.no_proxy = "example.org, .internal,10.0.0.1";
  const auto proxy = [&](const char* url) { return proxy_for(options, WebUrl::parse(url)); };
  EXPECT_EQ(proxy("http://a.com/"), "http://p:1");
  EXPECT_EQ(proxy("https://a.com/"), "http://p:2");
  EXPECT_EQ(proxy("https://badexample.org/"), "http://p:2");
  for (const char* url :
       {"https://example.org/", "https://x.example.org/", "https://a.internal/", "http://10.0.0.1/",
        "http://localhost/", "http://127.0.0.1:5/", "http://[::1]/"}) {
    EXPECT_EQ(proxy(url), "") << url;
  }
  options.no_proxy = "*";
  EXPECT_EQ(proxy("https://a.com/"), "");
}

class SigningKeyFile : public store::testing::StoreTest {};

TEST_F(SigningKeyFile, IsMadeOnceForItsOwnerOnly) {
  const std::string path = (folder_ / "keys" / "id_ed25519").string();
  const SigningKey key = SigningKey::load_or_create(path);
  EXPECT_EQ(SigningKey::load_or_create(path).public_text(), key.public_text());
  namespace fs = std::filesystem;
  EXPECT_EQ(fs::status(path).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_EQ(store::testing::read_text(path + ".pub"), "ssh-ed25519 " + key.public_text() + "\n");
}

TEST(AddressScope, KnowsWhatIsInside) {
  const auto scope = [](const char* text) {
    sockaddr_in v4{};
    sockaddr_in6 v6{};
    v4.sin_family = AF_INET;
    v6.sin6_family = AF_INET6;
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
      return scope_of(reinterpret_cast<const sockaddr&>(v4));
    }
    EXPECT_EQ(inet_pton(AF_INET6, text, &v6.sin6_addr), 1) << text;
    return scope_of(reinterpret_cast<const sockaddr&>(v6));
  };
  for (const char* text : {"8.8.8.8", "172.15.0.1", "2606:4700::1", "::ffff:8.8.8.8"}) {
    EXPECT_EQ(scope(text), AddressScope::kPublic) << text;
  }
  for (const char* text : {"10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1",
                           "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:c0a8:101::"}) {
    EXPECT_EQ(scope(text), AddressScope::kPrivate) << text;
  }
  for (const char* text : {"127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"}) {
    EXPECT_EQ(scope(text), AddressScope::kLoopback) << text;
  }
  for (const char* text : {"169.254.169.254", "fe80::1", "255.255.255.255", "ff02::1"}) {
    EXPECT_EQ(scope(text), AddressScope::kLinkLocal) << text;
  }
  EXPECT_FALSE(may_lead_to(AddressScope::kPublic, AddressScope::kPrivate));
  EXPECT_FALSE(may_lead_to(AddressScope::kPublic, AddressScope::kLoopback));
  EXPECT_FALSE(may_lead_to(AddressScope::kPrivate, AddressScope::kLoopback));
  EXPECT_TRUE(may_lead_to(AddressScope::kLoopback, AddressScope::kLoopback));
  EXPECT_FALSE(may_lead_to(AddressScope::kLoopback, AddressScope::kLinkLocal));
}

}  // namespace
}  // namespace sluice::registry
