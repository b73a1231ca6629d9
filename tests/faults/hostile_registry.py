"""A registry that behaves until it is told not to.

    python3 tests/faults/hostile_registry.py --port 5000 --fault stall --every 3 FOLDER

Serves the blobs of FOLDER (a store of Sluice or Ollama: blobs/sha256-..., manifests/...) as a registry
would, and spoils some of its replies. In tests: `with HostileRegistry(folder) as registry: ...`, where
`registry.faults` maps a kind of request ("manifest", "blob", "token") to a list of faults, taken one
after the other, then none; a fault's name with a star ("cut*") is used for ever.
"""

import argparse
import contextlib
import http.server
import json
import pathlib
import re
import socket
import threading
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    @property
    def registry(self):
        return self.server.registry

    def send(self, status, body=b"", **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        kind, data = self.registry.find(self.path)
        self.registry.requests.append((kind, self.path, dict(self.headers)))
        fault = self.registry.next_fault(kind)
        if fault:
            getattr(self, "fault_" + fault)(data)
        elif data is None:
            self.send(404, b'{"errors":[{"code":"NOT_FOUND"}]}')
        else:
            self.answer(data)

    def span(self, data):
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        return (int(found[1]), int(found[2])) if found else None

    def answer(self, data):
        if not (span := self.span(data)):
            return self.send(200, data)
        first, last = span
        return self.send(206, data[first:last + 1],
                         Content_Range=f"bytes {first}-{last}/{len(data)}")

    def begin(self, data):
        """The head of a right reply; the bytes that should follow."""
        first, last = self.span(data) or (0, len(data) - 1)
        self.send_response(206 if self.span(data) else 200)
        self.send_header("Content-Length", str(last + 1 - first))
        if self.span(data):
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.end_headers()
        return data[first:last + 1]

    def end(self):
        self.close_connection = True
        with contextlib.suppress(OSError):  # the other side may have gone
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    # The faults: each is what its name says.

    def fault_cut(self, data):
        body = self.begin(data)
        self.wfile.write(body[:len(body) // 2])
        self.end()

    def fault_refuse(self, _data):
        self.end()

    def fault_stall(self, data):
        body = self.begin(data)
        self.wfile.write(body[:100])
        self.wfile.flush()
        self.registry.is_over.wait(60)
        self.end()

    def fault_drip(self, data):
        body = self.begin(data)
        try:
            for byte in body:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                if self.registry.is_over.wait(0.2):
                    break
        except OSError:
            pass
        self.close_connection = True

    def fault_slow_head(self, _data):
        try:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while not self.registry.is_over.wait(0.1):
                self.wfile.write(b"X: y\r\n")
                self.wfile.flush()
        except OSError:
            pass
        self.close_connection = True

    def fault_endless_head(self, _data):
        try:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while True:
                self.wfile.write(b"X: " + b"y" * 1000 + b"\r\n")
        except OSError:
            self.close_connection = True

    def fault_endless_body(self, _data):
        try:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                self.wfile.write(b" " * 65536)
        except OSError:
            self.close_connection = True

    def fault_corrupt(self, data):
        body = bytearray(self.begin(data))
        body[len(body) // 2] ^= 1
        self.wfile.write(body)

    def fault_truncate(self, data):
        first, last = self.span(data) or (0, len(data) - 1)
        body = data[first:last + 1]
        self.send(206, body[:len(body) // 2], Content_Range=f"bytes {first}-{last}/{len(data)}")

    def fault_longer(self, data):
        self.send(200, data + b"x")

    def fault_other_total(self, data):
        first, last = self.span(data) or (0, len(data) - 1)
        self.send(206, data[first:last + 1], Content_Range=f"bytes {first}-{last}/{len(data) + 9}")

    def fault_other_range(self, data):
        first, last = self.span(data) or (0, len(data) - 1)
        self.send(206, data[first:last + 1],
                  Content_Range=f"bytes {first + 1}-{last + 1}/{len(data) + 9}")

    def fault_no_ranges(self, data):
        self.send(200, data)

    def fault_loop(self, _data):
        self.send(302, Location=self.path)

    def fault_to_metadata(self, _data):
        self.send(302, Location="http://169.254.169.254/latest/meta-data/")

    def fault_to_file(self, _data):
        self.send(302, Location="file:///etc/passwd")

    def fault_busy(self, _data):
        self.send(429, b"slow down", Retry_After="0")

    def fault_error(self, _data):
        self.send(503, b"out of order")

    def fault_gzip(self, data):
        self.send(200, data, Content_Encoding="gzip")

    def fault_html(self, _data):
        self.send(200, b"<html>welcome to the hotel's network</html>", Content_Type="text/html")

    def fault_foreign_realm(self, _data):
        self.send(401, b"", WWW_Authenticate='Bearer realm="http://127.0.0.1:9/token",service="x"')

    def fault_deep(self, _data):
        self.send(200, b"[" * 1_000_000)

    def fault_many_layers(self, data):
        manifest = json.loads(data)
        manifest["layers"] *= 5000
        self.send(200, json.dumps(manifest).encode())

    def fault_traversal(self, data):
        self.send(200, data.replace(b"sha256:", b"sha256:../../"))

    def fault_sizes(self, data):
        manifest = json.loads(data)
        for layer in manifest["layers"]:
            layer["size"] += 1
        self.send(200, json.dumps(manifest).encode())

    def fault_huge_sizes(self, data):
        manifest = json.loads(data)
        manifest["layers"][0]["size"] = 2**61
        self.send(200, json.dumps(manifest).encode())


FAULTS = sorted(name.removeprefix("fault_") for name in dir(Handler) if name.startswith("fault_"))


class QuietServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Clients that go in the middle are what this is for."""


class HostileRegistry:
    def __init__(self, folder, port=0):
        self.folder = pathlib.Path(folder)
        self.faults = {}
        self.requests = []
        self.lock = threading.Lock()
        self.is_over = threading.Event()
        self.server = QuietServer(("127.0.0.1", port), Handler)
        self.server.registry = self
        self.host = f"127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.server.shutdown()
        self.server.server_close()

    def next_fault(self, kind):
        with self.lock:
            queue = self.faults.get(kind, [])
            if not queue:
                return None
            return queue[0][:-1] if queue[0].endswith("*") else queue.pop(0)

    def find(self, path):
        path = path.partition("?")[0]
        if found := re.fullmatch(r"/v2/.*/blobs/sha256:([0-9a-f]{64})", path):
            file = self.folder / "blobs" / f"sha256-{found[1]}"
            return "blob", file.read_bytes() if file.exists() else None
        if found := re.fullmatch(r"/v2/(.*)/manifests/([^/]+)", path):
            files = sorted(self.folder.glob(f"manifests/*/{found[1]}/{found[2]}"))
            return "manifest", files[0].read_bytes() if files else None
        return "token", None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--fault", choices=FAULTS)
    parser.add_argument("--on", choices=["manifest", "blob"], default="blob")
    parser.add_argument("--every", type=int, default=1, help="spoil every n-th reply")
    options = parser.parse_args()
    with HostileRegistry(options.folder, options.port) as registry:
        print(f"http://{registry.host}", flush=True)
        count = 0

        def next_fault(kind):
            nonlocal count
            if kind != options.on or not options.fault:
                return None
            count += 1
            return options.fault if count % options.every == 0 else None

        registry.next_fault = next_fault
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
