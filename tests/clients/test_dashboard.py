"""The Grafana dashboard's queries, asked of a real Prometheus that has scraped a run."""

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request

import pytest

from conftest import MODEL, ROOT, Server, with_cards

DASHBOARD = ROOT / "deploy/grafana/sluice.json"


def queries():
    """Title and query of each panel."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            yield f"{panel['title']}: {target['legendFormat']}", target["expr"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Prometheus:
    """A server of Prometheus that scrapes one target once a second."""

    def __init__(self, folder, target):
        if not shutil.which("prometheus"):
            pytest.skip("prometheus is not installed (Debian package prometheus)")
        (folder / "prometheus.yml").write_text(json.dumps({
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [{"job_name": "sluice", "static_configs": [{"targets": [target]}]}]}))
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = open(folder / "prometheus.log", "w", encoding="utf-8")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={folder}/prometheus.yml",
             f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def query(self, text):
        path = self.url + "/api/v1/query?" + urllib.parse.urlencode({"query": text})
        with urllib.request.urlopen(path, timeout=30) as reply:
            return json.load(reply)["data"]["result"]

    def wait_for(self, text, seconds):
        end = time.monotonic() + seconds
        while True:
            try:
                if result := self.query(text):
                    return result
            except OSError:
                pass  # it is not up yet
            assert time.monotonic() < end, f"no answer to {text}"
            time.sleep(0.2)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


@pytest.fixture(scope="module")
def scraped(home, tmp_path_factory):
    """Prometheus, after a run that it has watched."""
    server = Server(home, "--speculate", environment=with_cards())
    prometheus = None
    try:
        prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"),
                                server.url.removeprefix("http://"))
        prometheus.wait_for("sluice_build_info", 60)
        is_over = threading.Event()

        def talk(number):
            while not is_over.is_set():
                server.post("/api/generate", {
                    "model": MODEL, "prompt": f"{number} one two one two one two one", "stream": False,
                    "options": {"num_predict": 20, "temperature": 0}, "ignore_eos": True})

        threads = [threading.Thread(target=talk, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        try:  # until there are rates, of guesses too
            prometheus.wait_for("rate(sluice_draft_tokens_total[5s]) > 0", 60)
            time.sleep(3)
        finally:
            is_over.set()
            for thread in threads:
                thread.join()
        server.wait_until_idle(20)
        time.sleep(2.5)  # the end is scraped, too
        yield prometheus
    finally:
        if prometheus:
            prometheus.stop()
        assert server.stop() == 0


def test_every_panel_has_data(scraped):
    asked = 0
    for title, query in queries():
        text = (query.replace("$__rate_interval", "15s").replace("$instance", ".*")
                .replace("$model", ".*"))
        assert "$" not in text, title
        result = scraped.query(text)
        asked += 1
        assert result, f"{title} has no data: {text}"
        for series in result:
            value = float(series["value"][1])
            assert value == value and value >= 0, f"{title} is {value}: {text}"
    assert asked > 40


def test_what_it_shows_is_what_happened(scraped):
    [tokens] = scraped.query("sum(sluice_generation_tokens_total)")
    [count] = scraped.query("sum(sluice_request_generation_tokens_count)")
    assert float(tokens["value"][1]) == 20 * float(count["value"][1]) > 0
    [up] = scraped.query("up")
    assert up["value"][1] == "1"


def test_the_dashboard_names_only_metrics_that_exist(home):
    server = Server(home, environment=with_cards())
    with urllib.request.urlopen(server.url + "/metrics", timeout=30) as reply:
        text = reply.read().decode()
    server.stop()
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    names |= {name + suffix for name in names for suffix in ("_bucket", "_sum", "_count")}
    for title, query in queries():
        for word in query.replace("(", " ").replace("{", " ").split():
            if word.startswith(("sluice_", "process_")):
                assert word in names, f"{title}: {word}"
