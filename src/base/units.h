#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice {

// "986 MB", "2.0 GB": decimal units, one decimal below 10 unless whole, as Ollama's list prints.
std::string format_bytes(uint64_t size_bytes);

// Go's notation, as Ollama's clients read and print: "1.5s", "2m30s", "350ms", "0s".
std::string format_go_duration(std::chrono::nanoseconds duration);

// Parses Go's notation ("300ms", "-1.5h", "2h45m", "0"); nothing if it is not one, or overflows.
std::optional<std::chrono::nanoseconds> parse_go_duration(std::string_view text);

// "134.52M", "1.2B", "7B": parameter counts as Ollama prints them.
std::string format_parameter_count(uint64_t count);

// "3 days", "About an hour", "Less than a second": Ollama's rounding, without "ago".
std::string format_human_duration(std::chrono::seconds duration);

// RFC 3339 in UTC with up to nine fraction digits, trailing zeros cut: "2026-08-21T10:00:00.12Z".
std::string format_rfc3339(std::chrono::system_clock::time_point time);

}  // namespace sluice
