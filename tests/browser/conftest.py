"""The web page in Debian's Chromium, driven by Playwright, against a real server.

Screenshots go to build/browser. Everything is skipped where there is no Chromium.
"""

import importlib.util
import os
import pathlib
import shutil
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHOTS = ROOT / "build/browser"


def load_client_tools():
    """What tests/clients has for starting servers."""
    path = ROOT / "tests/clients/conftest.py"
    spec = importlib.util.spec_from_file_location("client_tools", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["client_tools"] = module
    spec.loader.exec_module(module)
    return module


client_tools = load_client_tools()
home = client_tools.home
server = client_tools.server


@pytest.fixture(scope="session")
def chromium():
    program = os.environ.get("SLUICE_CHROMIUM") or shutil.which("chromium")
    if not program:
        pytest.skip("Chromium is not installed (Debian package chromium)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield browser
        browser.close()


@pytest.fixture
def long_replies():
    """For tests that do something while a reply comes: the synthetic model's are over too soon."""
    models = pathlib.Path(os.environ.get("SLUICE_TEST_MODELS", "/nowhere"))
    if not (models / "smollm2-135m-q4_1.gguf").exists():
        pytest.skip("needs SmolLM2 (SLUICE_TEST_MODELS)")


class Pages:
    """Opens pages and hears what goes wrong in them."""

    def __init__(self, browser):
        self.browser = browser
        self.contexts = []
        self.faults = []
        self.hosts = set()

    def open(self, url, *, width=1280, height=820, theme="light", context=None, **options):
        if context is None:
            context = self.browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=theme,
                reduced_motion="reduce", **options)
            self.contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20000)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("console", self.hear)
        page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        page.goto(url)
        page.wait_for_selector("#connection.good, #connection.bad")
        return page

    def hear(self, message):
        # Replies with an error's status are what some tests are about.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.faults.append(f"{message.type}: {message.text}")


@pytest.fixture
def pages(chromium):
    opened = Pages(chromium)
    yield opened
    for context in opened.contexts:
        context.close()
    assert opened.faults == []


@pytest.fixture
def shot():
    SHOTS.mkdir(parents=True, exist_ok=True)

    def take(page, name):
        page.screenshot(path=SHOTS / f"{name}.png")

    return take
