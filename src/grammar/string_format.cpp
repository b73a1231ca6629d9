#include "grammar/string_format.h"

#include <array>

namespace sluice::grammar {
namespace {

// Years from 1000; February has its 29th in the years that surely are leap years.
#define SLUICE_DATE                                                     \
  "(?:[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|"  \
  "(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|" \
  "[1-9][0-9](?:0[48]|[2468][048]|[13579][26])-02-29)"
#define SLUICE_TIME                                              \
  "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?" \
  "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
#define SLUICE_BYTE "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9][0-9]|[0-9])"
#define SLUICE_LABEL "[A-Za-z0-9](?:[A-Za-z0-9-]{0,14}[A-Za-z0-9])?"
#define SLUICE_HOST SLUICE_LABEL "(?:\\." SLUICE_LABEL "){0,3}"
#define SLUICE_URL_CHAR "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
#define SLUICE_URL                                      \
  "[A-Za-z][A-Za-z0-9+.-]{0,15}://" SLUICE_HOST         \
  "(?::[0-9]{1,4})?"                                    \
  "(?:/" SLUICE_URL_CHAR "*)*(?:\\?(?:" SLUICE_URL_CHAR \
  "|[/?])*)?"                                           \
  "(?:#(?:" SLUICE_URL_CHAR "|[/?])*)?"
#define SLUICE_HEX4 "[0-9A-Fa-f]{1,4}"

struct Format {
  std::string_view name;
  std::string_view pattern;
};

constexpr std::array kFormats = {
    Format{"date", SLUICE_DATE},
    Format{"time", SLUICE_TIME},
    Format{"date-time", SLUICE_DATE "T" SLUICE_TIME},
    Format{"duration",
           "P(?:[0-9]{1,4}W|[0-9]{1,4}D|[0-9]{1,4}Y(?:[0-9]{1,3}M(?:[0-9]{1,3}D)?)?|"
           "[0-9]{1,3}M(?:[0-9]{1,3}D)?|"
           "T(?:[0-9]{1,4}H(?:[0-9]{1,3}M(?:[0-9]{1,3}S)?)?|[0-9]{1,4}M(?:[0-9]{1,3}S)?|"
           "[0-9]{1,4}S))"},
    Format{"uuid", "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"},
    Format{"ipv4", SLUICE_BYTE "(?:\\." SLUICE_BYTE "){3}"},
    Format{"ipv6", "(?:" SLUICE_HEX4 "(?::" SLUICE_HEX4 "){7}|" SLUICE_HEX4 "(?::" SLUICE_HEX4
                   "){0,2}::" SLUICE_HEX4 "(?::" SLUICE_HEX4 "){0,2}|::1)"},
    Format{"hostname", SLUICE_HOST},
    Format{"email", "[A-Za-z0-9_+-]{1,16}(?:\\.[A-Za-z0-9_+-]{1,16}){0,2}@" SLUICE_LABEL
                    "(?:\\." SLUICE_LABEL "){1,3}"},
    Format{"uri", SLUICE_URL},
    Format{"uri-reference", SLUICE_URL},
    Format{"iri", SLUICE_URL},
    Format{"iri-reference", SLUICE_URL},
    Format{"json-pointer", "(?:/(?:[^/~\"\\\\\\x00-\\x1f]|~[01])*)*"},
};

}  // namespace

std::optional<std::string_view> format_pattern(std::string_view format) {
  for (const Format& known : kFormats) {
    if (known.name == format) return known.pattern;
  }
  return std::nullopt;
}

}  // namespace sluice::grammar
