"""For schemathesis: requests that are about a model are about one that is there, so that they come
further than its name, and no reply is long. Loaded as a module by `st` (SCHEMATHESIS_HOOKS)."""

import os

import schemathesis

MODEL = os.environ["SLUICE_TEST_MODEL"]
LIMITS = {"/api/chat": "options", "/api/generate": "options", "/v1/chat/completions": "max_tokens",
          "/v1/completions": "max_tokens", "/v1/responses": "max_output_tokens", "/v1/messages": "max_tokens"}


@schemathesis.hook
def before_call(context, case, kwargs):
    body, path = case.body, case.operation.path
    if not isinstance(body, dict) or not path.startswith(("/api/", "/v1/", "/v2/", "/rerank")):
        return
    if isinstance(body.get("model"), str) and path not in ("/api/delete", "/api/create", "/api/pull"):
        body["model"] = MODEL
    limit = LIMITS.get(path)
    if limit == "options":
        if isinstance(body.get("options", {}), dict):
            body["options"] = {**body.get("options", {}), "num_predict": 2}
    elif limit:
        shorten(body, limit, 2)
        if body.get(limit) is None and path != "/v1/messages":  # where it is required
            body[limit] = 2
    shorten(body, "n", 3)
    if type(body.get("timeout")) in (int, float) and 0 < body["timeout"] < 30:
        body["timeout"] = 30  # what takes longer than it may is told as 504, rightly


def shorten(body, name, most):
    if type(body.get(name)) is int and body[name] > most:
        body[name] = most
