#include "keys/gatekeeper.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "keys/key_book.h"

namespace sluice::keys {
namespace {

using namespace std::chrono_literals;
using database::Database;

TEST(Scopes, AreReadAndWritten) {
  EXPECT_EQ(Scopes::parse("infer").text(), "infer");
  EXPECT_EQ(Scopes::parse("metrics, infer").text(), "infer,metrics");
  EXPECT_EQ(Scopes::parse("all"), Scopes::all());
  EXPECT_EQ(Scopes::all().text(), "infer,manage,metrics");
  EXPECT_TRUE(Scopes::parse("none").is_empty());
  for (const char* text : {"", "x", "infer,", "infer;manage", "INFER"}) {
    EXPECT_THROW(Scopes::parse(text), Error) << text;
  }
}

TEST(Key, HasItsBitsAndNoOther) {
  const std::string key = make_key();
  EXPECT_EQ(key.size(), 71u);
  EXPECT_TRUE(key.starts_with("sluice-"));
  EXPECT_EQ(key.find_first_not_of("0123456789abcdef", 7), std::string::npos);
  EXPECT_NE(make_key(), key);
  EXPECT_TRUE(is_equal(digest_of(key), digest_of(key)));
  EXPECT_FALSE(is_equal(digest_of(key), digest_of(key + "0")));
  EXPECT_EQ(hint_of(key), key.substr(0, 13));
}

TEST(Key, DaysAreWrittenAsDates) {
  EXPECT_EQ(format_day(0), "1970-01-01");
  EXPECT_EQ(format_day(day_of(SystemTime() + std::chrono::hours(24) * 59)), "1970-03-01");
  EXPECT_EQ(day_of(SystemTime() + 86399s), 0);
}

// A book in a folder of its own, and gatekeepers on a clock that the test sets.
class GatekeeperTest : public testing::Test {
 protected:
  GatekeeperTest() { std::filesystem::remove_all(folder_); }
  ~GatekeeperTest() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<Gatekeeper> make(GatekeeperOptions options = {}) {
    options.path = path_;
    options.now = [this] { return SystemTime() + seconds_.load() * 1s; };
    return std::make_unique<Gatekeeper>(std::move(options));
  }
  std::string add(const std::string& name, Scopes scopes = Scope::kInfer, KeyLimits limits = {}) {
    return book().add(name, scopes, limits, SystemTime());
  }
  KeyBook book() { return KeyBook(path_, Database::Mode::kCreate); }

  // 200 or the status of the refusal; what is let in has left again.
  static int ask(Gatekeeper& gate, const std::string& key, Access access = Scope::kInfer,
                 bool costs_tokens = false) {
    std::vector<std::string_view> keys;
    if (!key.empty()) keys.push_back(key);
    const auto answer = gate.admit({keys, access, costs_tokens});
    const auto* refusal = std::get_if<Refusal>(&answer);
    return refusal ? refusal->status : 200;
  }
  static std::shared_ptr<Visit> enter(Gatekeeper& gate, const std::string& key) {
    return std::get<Admission>(gate.admit({{key}, Scope::kInfer, true})).visit;
  }

  const std::string folder_ = testing::TempDir() + "/sluice_gatekeeper_test";
  const std::string path_ = folder_ + "/keys.db";
  std::atomic<int64_t> seconds_ = 1000;
};

TEST_F(GatekeeperTest, IsOpenUntilThereIsAKey) {
  const auto gate = make();
  EXPECT_FALSE(gate->has_keys());
  EXPECT_EQ(ask(*gate, ""), 200);
  EXPECT_EQ(ask(*gate, "whatever", Scope::kManage), 200);
  EXPECT_FALSE(std::filesystem::exists(path_));
  const std::string key = add("ann");
  gate->refresh();
  EXPECT_TRUE(gate->has_keys());
  EXPECT_EQ(ask(*gate, ""), 401);
  EXPECT_EQ(ask(*gate, "whatever"), 401);
  EXPECT_EQ(ask(*gate, key), 200);
  book().revoke("ann", SystemTime());
  gate->refresh();
  EXPECT_EQ(ask(*gate, ""), 200);
}

TEST_F(GatekeeperTest, TakesNoticeByItself) {
  const auto gate = make();
  add("ann");
  const auto start = std::chrono::steady_clock::now();
  while (!gate->has_keys() && std::chrono::steady_clock::now() - start < 10s) {
    std::this_thread::sleep_for(5ms);
  }
  EXPECT_EQ(ask(*gate, ""), 401);
}

TEST_F(GatekeeperTest, WantsKeysWhereOthersReachIt) {
  const auto gate = make({.wants_keys = true});
  EXPECT_EQ(ask(*gate, ""), 401);
  EXPECT_EQ(ask(*gate, "", Access::for_everybody()), 200);
  EXPECT_EQ(ask(*gate, "", Access::for_any_key()), 401);
  const std::string key = add("ann");
  gate->refresh();
  EXPECT_EQ(ask(*gate, key), 200);
  book().revoke("ann", SystemTime());
  gate->refresh();
  EXPECT_EQ(ask(*gate, ""), 401);
  EXPECT_EQ(ask(*gate, key), 401);
}

TEST_F(GatekeeperTest, WhoHasNoKeyMayDoWhatTheOwnerSays) {
  const auto gate = make({.wants_keys = true, .without_key = Scope::kInfer});
  const std::string key = add("ops", Scope::kManage);
  gate->refresh();
  EXPECT_EQ(ask(*gate, ""), 200);
  EXPECT_EQ(ask(*gate, "ollama"), 200);  // what clients send who need none
  EXPECT_EQ(ask(*gate, "", Scope::kManage), 401);
  EXPECT_EQ(ask(*gate, "ollama", Scope::kManage), 401);
  EXPECT_EQ(ask(*gate, key, Scope::kManage), 200);
}

TEST_F(GatekeeperTest, ScopesOpenTheirRoutesAlone) {
  const std::string infer = add("a", Scope::kInfer),
                    both = add("b", Scope::kManage | Scope::kMetrics);
  const auto gate = make();
  EXPECT_EQ(ask(*gate, infer, Scope::kInfer), 200);
  EXPECT_EQ(ask(*gate, infer, Scope::kManage), 403);
  EXPECT_EQ(ask(*gate, infer, Scope::kInfer | Scope::kManage), 200);
  EXPECT_EQ(ask(*gate, both, Scope::kInfer), 403);
  EXPECT_EQ(ask(*gate, both, Scope::kMetrics), 200);
  EXPECT_EQ(ask(*gate, both, Access::for_any_key()), 200);
}

TEST_F(GatekeeperTest, TwoKeysAreNone) {
  const std::string one = add("a"), other = add("b");
  const auto gate = make();
  const auto status = [&](std::vector<std::string_view> keys) {
    const auto answer = gate->admit({std::move(keys), Scope::kInfer});
    return std::holds_alternative<Refusal>(answer) ? std::get<Refusal>(answer).status : 200;
  };
  EXPECT_EQ(status({one, other}), 401);
  EXPECT_EQ(status({one, "x"}), 401);
  EXPECT_EQ(status({one, one}), 200);
  EXPECT_EQ(status({std::string(100'000, 'k')}), 401);
}

TEST_F(GatekeeperTest, AKeyOfItsOwnIsOnePlace) {
  const std::string own = make_key();
  const auto gate = make({.own_key = own});
  EXPECT_EQ(ask(*gate, ""), 401);
  EXPECT_EQ(ask(*gate, own, Scope::kManage), 200);
}

TEST_F(GatekeeperTest, RequestsAMinuteAreBounded) {
  const std::string key = add("a", Scope::kInfer, {.requests_per_minute = 3});
  const auto gate = make();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ask(*gate, key), 200);
  const auto answer = gate->admit({{key}, Scope::kInfer});
  const Refusal& refusal = std::get<Refusal>(answer);
  EXPECT_EQ(refusal.status, 429);
  EXPECT_EQ(refusal.retry_after, 20s);
  seconds_ += 19;
  EXPECT_EQ(ask(*gate, key), 429);
  seconds_ += 1;
  EXPECT_EQ(ask(*gate, key), 200);
  EXPECT_EQ(ask(*gate, key), 429);
  seconds_ -= 500;  // a clock that is set back
  EXPECT_EQ(ask(*gate, key), 429);
  seconds_ += 1000;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ask(*gate, key), 200);
  EXPECT_EQ(ask(*gate, key), 429);
}

TEST_F(GatekeeperTest, RequestsAtOnceAreBounded) {
  const std::string key = add("a", Scope::kInfer, {.max_concurrent = 2});
  const auto gate = make();
  auto first = enter(*gate, key);
  const auto second = enter(*gate, key);
  EXPECT_EQ(ask(*gate, key), 429);
  add("b");
  gate->refresh();  // what is under way stays so
  EXPECT_EQ(ask(*gate, key), 429);
  first.reset();
  EXPECT_EQ(ask(*gate, key), 200);
}

TEST_F(GatekeeperTest, TokensADayAreBoundedAlsoAcrossServers) {
  const std::string key = add("a", Scope::kInfer, {.tokens_per_day = 100});
  const auto gate = make(), other = make();
  enter(*gate, key)->count_tokens(30, 30);
  EXPECT_EQ(ask(*gate, key, Scope::kInfer, true), 200);
  enter(*other, key)->count_tokens(0, 40);
  EXPECT_EQ(ask(*other, key, Scope::kInfer, true), 200);
  gate->refresh();
  other->refresh();
  gate->refresh();
  EXPECT_EQ(ask(*gate, key, Scope::kInfer, true), 429);
  EXPECT_EQ(ask(*other, key, Scope::kInfer, true), 429);
  EXPECT_EQ(ask(*gate, key, Scope::kInfer, false), 200);  // what costs none
  const auto again = make();
  const auto answer = again->admit({{key}, Scope::kInfer, true});
  EXPECT_EQ(std::get<Refusal>(answer).retry_after, 86400s - 1000s);
  seconds_ += 86400;
  EXPECT_EQ(ask(*again, key, Scope::kInfer, true), 200);
}

TEST_F(GatekeeperTest, UsageIsKeptByKeyAndDay) {
  const std::string key = add("a"), other = add("b");
  {
    const auto gate = make();
    enter(*gate, key)->count_tokens(10, 5);
    enter(*gate, key)->count_tokens(1, 1);
    EXPECT_EQ(ask(*gate, key, Scope::kManage), 403);
    EXPECT_EQ(ask(*gate, "", Access::for_everybody()), 200);
    seconds_ += 86400;
    enter(*gate, other)->count_tokens(2, 2);
  }
  book().revoke("a", SystemTime());
  const auto gate = make();
  const std::vector<DailyUsage> days = gate->usage(2);
  ASSERT_EQ(days.size(), 2u);
  EXPECT_EQ(days[0].name, "b");
  EXPECT_EQ(days[0].day, 1);
  EXPECT_EQ(days[1].name, "a");
  EXPECT_TRUE(days[1].is_revoked);
  EXPECT_EQ(days[1].usage.num_requests, 2);
  EXPECT_EQ(days[1].usage.num_refused, 1);
  EXPECT_EQ(days[1].usage.num_prompt_tokens, 11);
  EXPECT_EQ(days[1].usage.num_output_tokens, 6);
  EXPECT_EQ(gate->usage(1).size(), 1u);
}

TEST_F(GatekeeperTest, UsageWithoutKeysIsCountedWhileItRuns) {
  const auto gate = make();
  enter(*gate, "")->count_tokens(3, 4);
  const std::vector<DailyUsage> days = gate->usage(1);
  ASSERT_EQ(days.size(), 1u);
  EXPECT_EQ(days[0].name, "");
  EXPECT_EQ(days[0].usage.num_tokens(), 7);
}

TEST_F(GatekeeperTest, ARevokedKeyPaysForWhatItHasUnderWay) {
  const std::string key = add("a");
  add("b");
  const auto gate = make();
  auto visit = enter(*gate, key);
  book().revoke("a", SystemTime());
  gate->refresh();
  visit->count_tokens(5, 5);
  visit.reset();
  EXPECT_EQ(ask(*gate, key), 401);
  EXPECT_EQ(gate->usage(1).front().usage.num_tokens(), 10);
}

TEST_F(GatekeeperTest, KeysHoldWhenTheirFileGoes) {
  const std::string key = add("a");
  const auto gate = make();
  for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(path_ + suffix);
  EXPECT_THROW(gate->refresh(), Error);
  EXPECT_EQ(ask(*gate, key), 200);
  EXPECT_EQ(ask(*gate, ""), 401);
  const std::string other = add("b");  // another file
  gate->refresh();
  EXPECT_EQ(ask(*gate, key), 401);
  EXPECT_EQ(ask(*gate, other), 200);
}

TEST_F(GatekeeperTest, NamesAreOnesOwn) {
  add("ann");
  EXPECT_THROW(add("ann"), Error);
  book().revoke("ann", SystemTime());
  EXPECT_THROW(book().revoke("ann", SystemTime()), Error);
  EXPECT_NO_THROW(add("ann"));
  for (const char* name : {"", "a b", "a\n", "\xC3\xA9"}) EXPECT_THROW(add(name), Error) << name;
  EXPECT_THROW(add(std::string(65, 'x')), Error);
}

}  // namespace
}  // namespace sluice::keys
