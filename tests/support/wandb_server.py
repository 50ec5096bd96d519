"""A W&B server on the loopback, as far as runs need one: it answers what wandb's core asks, and remembers the runs.

It says truthfully what it knows of a run, so that a second process under the same id goes on as it would on the real
server: after the last line of the history, with the step after the last.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

KEY = f"local-{'0' * 40}"
ENTITY = "someone"
Message = dict[str, Any]


@dataclass
class StoredRun:
    """A run as the server has it.

    Args:
        name: Its id in the project.
        upserts: What each `upsertBucket` said.
        files: Lines by offset, of each file that is streamed.
        posts: What each post to the file stream said.
        exit_codes: Of each process that finished the run.
    """

    name: str
    upserts: list[Message] = field(default_factory=list)
    files: dict[str, dict[int, str]] = field(default_factory=dict)
    posts: list[Message] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)

    def latest(self, key: str) -> Any:
        """What the last upsert that says anything of it says."""
        return next((said[key] for said in reversed(self.upserts) if said.get(key) is not None), None)

    @property
    def config(self) -> Message:
        """The config, values only, with W&B's own part under `_wandb`."""
        return {key: entry["value"] for key, entry in json.loads(self.latest("config") or "{}").items()}

    def lines(self, file: str) -> list[str]:
        """The lines of a streamed file; a gap in their offsets is an error."""
        stored = self.files.get(f"wandb-{file}", {})
        return [stored[offset] for offset in range(max(stored, default=-1) + 1)]

    @property
    def history(self) -> list[Message]:
        """The rows in their order."""
        return [json.loads(line) for line in self.lines("history.jsonl")]

    @property
    def summary(self) -> Message:
        """The last line of the summary."""
        stored = self.files.get("wandb-summary.json", {})
        return json.loads(stored[max(stored)]) if stored else {}  # type: ignore[no-any-return]

    def stream(self, post: Message) -> None:
        """Takes a post to the file stream: lines stand where their offsets say."""
        self.posts.append(post)
        for name, chunk in post.get("files", {}).items():
            lines = enumerate(chunk["content"], start=chunk["offset"])
            self.files.setdefault(name, {}).update(lines)
        if post.get("complete"):
            self.exit_codes.append(post["exitcode"])

    def resume_status(self) -> Message:
        """What a process that continues the run has to know."""
        history, events = self.lines("history.jsonl"), self.lines("events.jsonl")
        return {
            **self.bucket(),
            "summaryMetrics": json.dumps(self.summary),
            "logLineCount": len(self.files.get("output.log", {})),
            "eventsLineCount": len(events),
            "historyTail": json.dumps(history[-1:]),
            "eventsTail": json.dumps(events[-1:]),
            "notes": self.latest("notes"),
            "tags": self.latest("tags") or [],
            "wandbConfig": json.dumps({"t": self.config.get("_wandb", {}).get("t", {})}),
        }

    def bucket(self) -> Message:
        """What every answer about the run holds."""
        return {
            "id": f"id-{self.name}",
            "name": self.name,
            "displayName": self.latest("displayName"),
            "description": None,
            "config": self.latest("config") or "{}",
            "sweepName": None,
            "historyLineCount": len(self.lines("history.jsonl")),
            "project": {"id": "project", "name": self.latest("project"), "entity": {"id": "e", "name": ENTITY}},
        }


class WandbServer:
    """The server, between `with` and its end.

    `runs` are the runs by id, `uploads` the files by path, `requests` the paths that were asked for; `failures` is what
    it could not answer.
    """

    def __init__(self) -> None:
        self.runs: dict[str, StoredRun] = {}
        self.uploads: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.failures: list[str] = []
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"stored": self}))
        self._server.failures = self.failures
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def environment(self) -> dict[str, str]:
        """The variables with which wandb uses this server."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY}

    def __enter__(self) -> WandbServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, operation: str, given: Message) -> Message | None:
        """The data of a GraphQL answer; `None` for an operation that is not known here."""
        answers = {
            "Viewer": self._viewer,
            "ServerFeaturesQuery": lambda _: {"serverInfo": {"features": []}},
            "RunResumeStatus": self._resume_status,
            "UpsertBucket": self._upsert,
            "CreateRunFiles": self._create_files,
        }
        if operation not in answers:
            self.failures.append(operation)
            return None
        return answers[operation](given)

    def _viewer(self, _: Message) -> Message:
        return {"viewer": {"id": "v", "entity": ENTITY, "username": ENTITY, "teams": {"edges": []}, "flags": "{}"}}

    def _resume_status(self, given: Message) -> Message:
        run = self.runs.get(given["name"])
        entity = {"id": "e", "name": ENTITY}
        return {"model": {"id": "m", "name": given["project"], "entity": entity, "bucket": run and run.resume_status()}}

    def _upsert(self, given: Message) -> Message:
        name = given["name"]
        inserted = name not in self.runs
        run = self.runs.setdefault(name, StoredRun(name))
        run.upserts.append(given)
        return {"upsertBucket": {"bucket": run.bucket(), "inserted": inserted}}

    def _create_files(self, given: Message) -> Message:
        urls = {name: f"{self.url}/upload/{given['run']}/{name}" for name in given["files"]}
        files = [{"name": name, "uploadUrl": url} for name, url in urls.items()]
        return {"createRunFiles": {"runID": f"id-{given['run']}", "uploadHeaders": [], "files": files}}


class _Server(ThreadingHTTPServer):
    failures: list[str]

    def handle_error(self, *_: Any) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError):  # how a process that ends leaves
            self.failures.append(repr(error))


class _Handler(BaseHTTPRequestHandler):
    stored: WandbServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _send(self, message: Message) -> None:
        content = json.dumps(message).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        body = self._body()
        with self.stored.lock:
            self.stored.requests.append(self.path)
            self._send(self._answer(body))

    def _answer(self, body: bytes) -> Message:
        if self.path.endswith("/file_stream"):
            self.stored.runs[self.path.split("/")[-2]].stream(json.loads(body))
        if self.path != "/graphql":
            return {}  # W&B's own measurements, too
        given = json.loads(body)
        found = re.search(r"\b(?:query|mutation)\s+(\w+)", given["query"])
        data = self.stored.answer(found[1] if found else given["query"], given.get("variables") or {})
        return {"data": data} if data is not None else {"errors": [{"message": "not known to this server"}]}

    def do_PUT(self) -> None:
        self.stored.uploads[self.path.removeprefix("/upload/")] = self._body()
        self._send({})
