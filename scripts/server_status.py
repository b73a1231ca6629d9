#!/usr/bin/env python3
"""Prints who listens on HOST:PORT: "sluice", "other" or "none"."""
import socket
import sys
import urllib.error
import urllib.request

address = sys.argv[1].removeprefix("http://").rstrip("/")
host, _, port = address.rpartition(":")
host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1"}.get(host, host)
try:
    socket.create_connection((host, int(port)), timeout=2).close()
except (OSError, ValueError):
    print("none")
    sys.exit()
try:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(f"http://{host}:{port}/api/sluice/status", timeout=2).close()
    print("sluice")
except (urllib.error.URLError, OSError, ValueError):
    print("other")
