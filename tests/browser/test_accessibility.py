"""axe-core's rules on every view, in both colours and at a phone's width."""

import pytest
from test_page import answer_with, limit_reply, send, wait_for_reply

TEXT = ("# Title\n\nText with `code`, a [link](https://example.com) and\n\n> a quote\n\n"
        "```python\nprint(1)\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n- [x] done\n")


@pytest.fixture(scope="session")
def axe():
    module = pytest.importorskip("axe_playwright_python.sync_playwright",
                                 reason="axe-playwright-python is not installed")
    return module.Axe()


def check(axe, page):
    result = axe.run(page).response
    faults = [f"{fault['id']} ({fault['impact']}): {fault['help']}\n  " +
              "\n  ".join(node["html"][:200] for node in fault["nodes"])
              for fault in result["violations"]]
    assert faults == [], "\n".join(faults)
    assert len(result["passes"]) > 10, "the rules were run"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_rule_is_broken(server, pages, shot, axe, theme, width):
    page = pages.open(server.url, width=width, theme=theme)
    check(axe, page)
    answer_with(page, TEXT)
    send(page, "Everything, please.")
    wait_for_reply(page)
    check(axe, page)
    shot(page, f"axe-{theme}-{width}-chat")
    page.click("#settings")
    page.wait_for_selector("#settings-dialog[open]")
    check(axe, page)
    shot(page, f"axe-{theme}-{width}-settings")
    page.keyboard.press("Escape")
    if width < 760:
        page.click("#menu")
        page.locator("#sidebar").wait_for()
        check(axe, page)
        page.keyboard.press("Escape")
    page.unroute("**/api/chat")
    limit_reply(page, 5)
    send(page, "hi")
    wait_for_reply(page)
    page.click("#tab-dashboard")
    page.wait_for_selector(".requests tbody button")
    page.wait_for_timeout(1500)
    check(axe, page)
    shot(page, f"axe-{theme}-{width}-dashboard")
    page.locator(".requests tbody button").first.click()
    page.wait_for_selector(".life-picture")
    page.locator(".steps summary").click()
    check(axe, page)
    shot(page, f"axe-{theme}-{width}-life")
