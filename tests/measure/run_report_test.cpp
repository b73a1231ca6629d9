#include "measure/run_report.h"

#include <gmock/gmock.h>

#include <cmath>
#include <random>

#include "base/error.h"
#include "measure/plot.h"
#include "measure/run_answers.h"
#include "measure/run_document.h"
#include "measure/run_plots.h"

namespace sluice::measure {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testing::run_document;

LoadRun example() { return parse_run(run_document(), "a.json"); }

std::string text_of(const std::string& question, const LoadRun& run) {
  for (const Answer& one : answer(run)) {
    if (one.question.find(question) != std::string::npos) return one.text;
  }
  return "";
}

TEST(RunDocument, IsReadAsItWasWritten) {
  const LoadRun run = example();
  ASSERT_EQ(run.rows.size(), 2u);
  EXPECT_EQ(run.rows[1].users, 4);
  EXPECT_DOUBLE_EQ(run.rows[1].tokens_per_second, 20);
  EXPECT_TRUE(std::isnan(run.rows[1].ttft_seconds));
  ASSERT_EQ(run.requests.size(), 2u);
  EXPECT_EQ(run.requests[0].row, 0);
  EXPECT_EQ(run.requests[0].cached_tokens, -1);
  EXPECT_EQ(run.requests[1].error, "no <answer>");
  EXPECT_EQ(run.machine.cores, 2);
  EXPECT_EQ(run.timeline.size(), 3u);
  EXPECT_NEAR(decode_speed(run, 0), 10, 1e-9);
  EXPECT_DOUBLE_EQ(decode_bound(run), 20);
}

TEST(RunDocument, WhatNoLoadTestWroteIsRefused) {
  for (const char* text :
       {"", "[]", "{}", "3", R"({"program":"sluice loadtest"})",
        R"({"program":"sluice loadtest","rows":3})",
        R"({"program":"sluice loadtest","rows":[],"timeline":[{"seconds":"x"}]})",
        R"({"program":"sluice loadtest","rows":[],"requests":[{"pieces_ns":["x"]}]})",
        R"({"program":"sluice loadtest","rows":[],"machine":7})"}) {
    EXPECT_THROW(parse_run(text, "x"), Error) << text;
  }
}

TEST(RunReport, AnswersTheQuestionsOfWhoRanIt) {
  const LoadRun run = example();
  EXPECT_THAT(text_of("bounds", run),
              HasSubstr("20.0 tokens/s at most. Measured: 10.0, 50% of that"));
  EXPECT_THAT(text_of("bounds", run), HasSubstr("4 users together get 2.50 times"));
  EXPECT_THAT(text_of("bounds", run),
              HasSubstr("A token takes 2 GFLOP of products, and this machine does 400 GFLOP/s"));
  EXPECT_THAT(text_of("bounds", run), HasSubstr("come at 200 tokens/s at most. Replies to 4 users "
                                                "together: 20.0, 10% of it."));
  EXPECT_THAT(text_of("bounds", run), HasSubstr("97% of the time in forward passes"));
  EXPECT_THAT(text_of("busy thread", run), HasSubstr("engine 100% (decides"));
  EXPECT_THAT(text_of("busy thread", run), HasSubstr("nothing to do the server took 1% of a core"));
  EXPECT_THAT(text_of("quantization", run), HasSubstr("75% Q4_0, 25% Q6_K"));
  EXPECT_THAT(text_of("loading", run), HasSubstr("1.0 s, in which 500 MB came from the disk"));
  EXPECT_THAT(text_of("ran and waited", run), HasSubstr("4 ran at once and 2 waited"));
  EXPECT_THAT(text_of("replies end", run), HasSubstr("1 stop (the model ended"));
  EXPECT_THAT(text_of("replies end", run), HasSubstr("1 failed"));
  EXPECT_THAT(text_of("full context", run), HasSubstr("10 GB"));
  EXPECT_THAT(text_of("energy", run), HasSubstr("400 J in all, 20.00 J a token"));
}

TEST(RunReport, TellsHowFastPromptsWereComputed) {
  LoadRun run = example();
  EXPECT_TRUE(std::isnan(prefill_speed(run))) << "12 tokens say nothing";
  run.requests[0].prompt_tokens = 120;
  run.requests[0].cached_tokens = 100;
  EXPECT_TRUE(std::isnan(prefill_speed(run)));
  EXPECT_DOUBLE_EQ(prefill_bound(run), 200);
  run.requests[0].cached_tokens = 40;
  EXPECT_NEAR(prefill_speed(run), 400, 1e-6);
  run.facts.token_operations = 1e9;
  EXPECT_THAT(text_of("bounds", run), HasSubstr("came at 400, 100% of that: arithmetic bounds"));
}

TEST(RunReport, CeilingsStandInThePlots) {
  const std::string html = html_report({example()});
  for (const char* bound : {"one user, by the memory", "all, by arithmetic",
                            "a token, by the memory", "the mean prompt of 12 tokens, by arithmetic",
                            "replies to one user, by the memory", "all cores"}) {
    EXPECT_THAT(html, HasSubstr(bound)) << bound;
  }
}

// With something in every figure there is.
LoadRun complete() {
  LoadRun run = example();
  for (TimelinePoint& point : run.timeline) {
    point.disk_read_bytes_per_second = 1e8;
    point.resident_bytes = 1e9;
    point.available_bytes = 5e9;
    point.page_cache_share = 0.5;
    point.power_watts = 50;
    point.num_places = 64;
    point.gpus = {TimelineGpu{.busy_percent = 50,
                              .memory_used_bytes = 1e9,
                              .power_watts = 300,
                              .sm_clock_mhz = 1400,
                              .temperature_celsius = 60,
                              .pcie_bytes_per_second = 1e9,
                              .nvlink_bytes_per_second = 1e9}};
  }
  return run;
}

TEST(RunReport, EveryPlotHasACeilingOrSaysWhyThereIsNone) {
  LoadRun run = complete();
  const auto has_line = [](const ReportFigure& figure) {
    return figure.picture.find("class=\"bound\"") != std::string::npos ||
           figure.picture.find(", above this plot<") != std::string::npos;
  };
  const auto says_why = [](const ReportFigure& figure) {
    return figure.picture.find(">no ceiling: ") != std::string::npos;
  };
  const auto has_two_axes = [](const ReportFigure& figure) {
    return figure.picture.find("class=\"axis\"") != std::string::npos;
  };
  size_t num_plots = 0;
  for (const ReportFigure& figure : run_figures(run)) {
    num_plots += has_two_axes(figure) ? 1 : 0;
    EXPECT_NE(has_line(figure), says_why(figure)) << figure.title;
  }
  EXPECT_GE(num_plots, 19u);
  // All that can be known.
  run.machine.disk_bytes_per_second = 2e9;
  run.machine.power_watts = 120;
  run.machine.card = {80e9, 700, 1980, 92, 126e9};
  std::string without;
  for (const ReportFigure& figure : run_figures(run)) {
    if (!has_line(figure)) without += figure.title + ";";
  }
  EXPECT_EQ(without, "GPU: NVLink;");
  // Nothing that can be unknown.
  run = complete();
  run.machine = {};
  run.facts = {};
  for (TimelinePoint& point : run.timeline) point.num_places = point.num_blocks_total = 0;
  for (const ReportFigure& figure : run_figures(run)) {
    EXPECT_NE(has_line(figure), says_why(figure)) << figure.title;
  }
}

TEST(RunReport, RequestsHavePlacesAndRoomInTheCacheAsTheirCeiling) {
  const LoadRun run = complete();
  const std::string html = html_report({run});
  EXPECT_THAT(html, HasSubstr("places to run: 64, above this plot"));
  EXPECT_THAT(html, HasSubstr("fit into the cache with 16 tokens each"));  // 10 blocks of 16
  EXPECT_THAT(html, HasSubstr("4 tokens to one user, by the memory"));
}

TEST(Plot, ABoundFarAboveIsToldNotDrawn) {
  Plot plot{.series = {{"one", {{0, 1}, {1, 2}}}}};
  plot.bounds = {{"near", 4}, {"far", 400}};
  const std::string svg = plot_svg(plot);
  EXPECT_THAT(svg, HasSubstr(">near<"));
  EXPECT_THAT(svg, HasSubstr(">far: 400, above this plot<"));
  EXPECT_EQ(svg.find("class=\"bound\""), svg.rfind("class=\"bound\""));
}

TEST(RunReport, ListsTheTensors) {
  EXPECT_THAT(html_report({example()}), HasSubstr("<td>blk.*.attn_q.weight</td><td>Q4_0</td>"
                                                  "<td>16</td><td>750 MB</td>"));
  EXPECT_THAT(markdown_report({example()}), HasSubstr("| token_embd.weight | Q6_K | 1 | 250 MB |"));
}

TEST(RunReport, SaysWhetherArrivalsPileUp) {
  LoadRun run = example();
  for (RunRow& row : run.rows) row.users = 0;
  run.rows[0].rate = 2;
  run.rows[0].sent_per_second = 1.95;
  run.rows[0].completed_per_second = 1.8;
  run.rows[1].rate = 8;
  run.rows[1].sent_per_second = 7;
  run.rows[1].completed_per_second = 3;
  EXPECT_THAT(
      text_of("bounds", run),
      HasSubstr("Of 1.9 requests a second that came 1.8 were done in the time. Of 7 requests a "
                "second that came 3 were done in the time: more came than the server does"));
  EXPECT_THAT(html_report({run}), HasSubstr("tokens/s at 8 requests a second"));
}

TEST(RunReport, HasNoColumnsThatSayNothing) {
  EXPECT_THAT(markdown_report({example()}), Not(HasSubstr("ITL, ms")));
  LoadRun run = example();
  run.rows[1].itl_seconds = 0.005;
  EXPECT_THAT(markdown_report({run}), HasSubstr("ITL, ms"));
  run.rows.clear();
  EXPECT_THAT(html_report({run}), HasSubstr("<table>"));
}

TEST(RunReport, IsSetInParagraphsAndCode) {
  const std::string html = html_report({example()});
  EXPECT_THAT(html, HasSubstr("</p><p>"));
  EXPECT_THAT(html, HasSubstr("<code>sluice plan</code>"));
  EXPECT_THAT(html, HasSubstr("2026-11-29 10:00 UTC"));
  EXPECT_THAT(html, HasSubstr("<ul class=\"legend\"><li><i class=\"area-0\"></i>engine</li>"));
  EXPECT_THAT(markdown_report({example()}), HasSubstr("beside them."));
}

TEST(RunReport, SaysNothingOfWhatIsNotKnown) {
  LoadRun run = example();
  run.timeline.clear();
  run.facts = {};
  run.machine = {};
  EXPECT_EQ(text_of("busy thread", run), "");
  EXPECT_EQ(text_of("quantization", run), "");
  EXPECT_EQ(text_of("full context", run), "");
  EXPECT_EQ(text_of("energy", run), "");
  EXPECT_THAT(html_report({run}), Not(HasSubstr("nan")));
}

TEST(RunReport, IsOnePageThatNeedsNothingElse) {
  const std::string html = html_report({example()});
  EXPECT_THAT(html, HasSubstr("<svg"));
  EXPECT_THAT(html, HasSubstr("Test &amp; Co"));
  EXPECT_THAT(html, HasSubstr("class=\"bound\""));
  EXPECT_THAT(html, HasSubstr("span-load"));
  for (const char* outside : {"<script", "src=", "href=", "url(", "@import"}) {
    EXPECT_THAT(html, Not(HasSubstr(outside)));
  }
}

TEST(RunReport, ComparesRunsWithTheFirst) {
  LoadRun other = example();
  other.label = "b.json";
  other.rows[0].tokens_per_second_each = 16;
  const std::string markdown = markdown_report({example(), other});
  EXPECT_THAT(markdown, HasSubstr("| output, 100 words | 1 | b.json | 16.0 | 2.00 |"));
  EXPECT_THAT(csv_report({example(), other}), HasSubstr("b.json,tiny:1b,output,100,1,"));
}

TEST(RunReport, TextFromOutsideIsEscaped) {
  LoadRun run = example();
  run.model = "<script>alert(1)</script>\x1b[2J|*\xff";
  run.rows[0].test = "<b>&\"";
  run.timeline[0].phase = "\"><script>";
  run.timeline[1].threads[0].name = "</text><script>";
  const std::string html = html_report({run});
  EXPECT_THAT(html, Not(HasSubstr("<script")));
  EXPECT_THAT(html, Not(HasSubstr("\x1b")));
  EXPECT_THAT(html, Not(HasSubstr("<b>&\"")));
  EXPECT_THAT(markdown_report({run}), HasSubstr("\\<script>"));
}

// Damage of all kinds: refused, or reported without a crash.
TEST(RunReport, DamagedDocumentsAreRefusedOrReported) {
  const std::string whole = run_document();
  std::mt19937 random(7);
  int num_read = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string text = whole;
    for (int j = 0; j < 3; ++j) {
      constexpr std::string_view kBytes = "0123456789-+.e\"[]{},:nultrfas ";
      text[random() % text.size()] = kBytes[random() % kBytes.size()];
    }
    try {
      const LoadRun run = parse_run(text, "x");
      html_report({run, run});
      markdown_report({run});
      ++num_read;
    } catch (const Error&) {
    }
  }
  EXPECT_GT(num_read, 20);
}

TEST(Plot, TicksAreRoundAndReachTheTop) {
  EXPECT_EQ(ticks(10, 6), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(ticks(1, 5).size(), 6u);
  for (const double max : {1e-9, 0.7, 3.0, 99.0, 101.0, 12345.0, 9e12}) {
    EXPECT_GE(ticks(max, 6).back(), max * 0.999);
    EXPECT_LE(ticks(max, 6).size(), 8u);
  }
}

TEST(Plot, AHeatMapHasACellForEachBusyRowAndColumn) {
  HeatMap map{.title = "cores", .x_ends = {1, 2}, .columns = {{0.5, 0}, {1, 0.25}}};
  const std::string svg = heat_svg(map);
  const auto count = [](const std::string& text, std::string_view what) {
    size_t number = 0;
    for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; ++at) ++number;
    return number;
  };
  EXPECT_EQ(count(svg, "class=\"heat\""), 3u);  // what was idle is not drawn
  EXPECT_EQ(count(svg, "opacity=\"0.50\""), 1u);
  // Many columns are put together, by their length: half of the time busy stays half.
  map.x_ends.clear();
  map.columns.clear();
  for (int i = 1; i <= 8000; ++i) {
    map.x_ends.push_back(i);
    map.columns.push_back({i % 2 == 0 ? 1.0 : 0.0});
  }
  const std::string coarse = heat_svg(map);
  EXPECT_LE(count(coarse, "class=\"heat\""), kMostHeatColumns);
  EXPECT_EQ(count(coarse, "opacity=\"0.50\""), count(coarse, "class=\"heat\""));
  EXPECT_EQ(heat_svg({.x_ends = {1}, .columns = {{}}}), "");
  EXPECT_EQ(heat_svg({}), "");
}

TEST(RunReport, ShowsTheCoresAndThePageCache) {
  LoadRun run = parse_run(testing::run_document(), "r");
  EXPECT_EQ(html_report({run}).find("The machine's cores"), std::string::npos);
  run.timeline[0].page_cache_share = 0.25;
  run.timeline[2].page_cache_share = 1;
  run.timeline[1].core_shares.assign(300, 0.5);  // in groups
  const std::string html = html_report({run});
  EXPECT_NE(html.find("The machine's cores"), std::string::npos);
  EXPECT_NE(html.find("groups of 5 cores"), std::string::npos);
  EXPECT_NE(html.find("The model's file in the page cache"), std::string::npos);
  EXPECT_NE(markdown_report({run}).find(
                "Of the model's file 25% was in the page cache at first, 100% at the end."),
            std::string::npos)
      << markdown_report({run});
}

TEST(Plot, NothingIsDrawnOfNothing) {
  EXPECT_EQ(plot_svg({}), "");
  EXPECT_EQ(plot_svg({.series = {{"a", {{1, std::nan("")}}}}}), "");
  EXPECT_NE(plot_svg({.series = {{"a", {{1, 0}}}}}), "");
}

}  // namespace
}  // namespace sluice::measure
