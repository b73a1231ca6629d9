#pragma once

#include <cstdint>
#include <string>
#include <string_view>

// What a client may do.
namespace sluice::keys {

enum class Scope : uint8_t {
  kInfer = 1,    // use models, and see which there are
  kManage = 2,   // change the store: pull, push, create, copy, delete, upload
  kMetrics = 4,  // see what the server does, and what its clients have used
};

// A set of scopes.
class Scopes {
 public:
  constexpr Scopes() = default;
  constexpr Scopes(Scope scope) : bits_(static_cast<uint8_t>(scope)) {}
  static constexpr Scopes all() { return Scopes(Scope::kInfer) | Scope::kManage | Scope::kMetrics; }

  // "infer,manage", "all", or "none". Throws Error(kInvalidArgument) naming what there is.
  static Scopes parse(std::string_view text);
  std::string text() const;

  constexpr Scopes operator|(Scopes other) const {
    Scopes both;
    both.bits_ = static_cast<uint8_t>(bits_ | other.bits_);
    return both;
  }
  constexpr bool overlaps(Scopes other) const { return (bits_ & other.bits_) != 0; }
  constexpr bool is_empty() const { return bits_ == 0; }
  constexpr bool operator==(const Scopes&) const = default;

 private:
  uint8_t bits_ = 0;
};
constexpr Scopes operator|(Scope left, Scope right) { return Scopes(left) | right; }

// Whom a route is for. There is no default: every route says it.
class Access {
 public:
  // One of these scopes opens it.
  constexpr Access(Scopes scopes) : scopes_(scopes) {}
  constexpr Access(Scope scope) : scopes_(scope) {}
  static constexpr Access for_everybody() { return Access(true, Scopes()); }  // also without a key
  static constexpr Access for_any_key() { return Access(false, Scopes::all()); }

  constexpr bool is_for_everybody() const { return is_for_everybody_; }
  constexpr bool is_open_to(Scopes scopes) const {
    return is_for_everybody_ || scopes_.overlaps(scopes);
  }
  constexpr Scopes scopes() const { return scopes_; }

 private:
  constexpr Access(bool is_for_everybody, Scopes scopes)
      : scopes_(scopes), is_for_everybody_(is_for_everybody) {}

  Scopes scopes_;
  bool is_for_everybody_ = false;
};

}  // namespace sluice::keys
