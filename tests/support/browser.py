"""Debian's headless Chromium, driven by the DevTools protocol over a pipe: no driver, no port, no package.

Source: https://chromedevtools.github.io/devtools-protocol; `--remote-debugging-pipe` takes JSON messages that end
with a zero byte from file descriptor 3 and answers on 4.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

TIMEOUT_S = 60.0
_PROGRAMS = ("chromium-headless-shell", "chromium")
_OPTIONS = (
    "--headless",
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--enable-unsafe-swiftshader",  # WebGL on the CPU, for parallel coordinates
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--remote-debugging-pipe",
)


def program() -> str | None:
    """Returns the path of the browser; `None` where it is not installed."""
    return next(filter(None, map(shutil.which, _PROGRAMS)), None)


class Browser:
    """A browser with one page.

    Attributes:
        errors: What the page said on its console as an error or a warning, and exceptions of its scripts.
        requests: Addresses of everything that the page asked for, itself among them.
    """

    def __init__(self) -> None:
        found = program()
        assert found is not None, "Chromium is not installed"
        self._profile = tempfile.mkdtemp(prefix="chromium-")
        (theirs_in, self._to), (self._from, theirs_out) = os.pipe(), os.pipe()
        # bash gives the pipes the two numbers that Chromium expects.
        words = ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "-", found, *_OPTIONS]
        words += [f"--user-data-dir={self._profile}", "about:blank"]
        self._process = subprocess.Popen(
            words, pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._number, self._buffer, self._events = 0, b"", list[dict[str, Any]]()
        self._session: str | None = None
        self.errors: list[str] = []
        self.requests: list[str] = []
        pages = self.call("Target.getTargets")["targetInfos"]
        target = next(page["targetId"] for page in pages if page["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """Ends the browser and deletes its profile."""
        os.close(self._to)
        os.close(self._from)
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Sends a command and returns its result. Events that come before it are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return dict(answer["result"])
            self._note(answer)

    def _receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + TIMEOUT_S
        while b"\0" not in self._buffer:
            assert select.select([self._from], [], [], max(deadline - time.monotonic(), 0))[0], "Chromium is silent"
            part = os.read(self._from, 1 << 20)
            assert part, "Chromium has ended"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(params["exceptionDetails"])[:500])
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.errors.append(json.dumps(params["args"])[:500])
            case "Log.entryAdded" if params["entry"]["level"] == "error":  # a warning is WebGL's, of the slow CPU
                self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')[:200]}")
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Page.javascriptDialogOpening":
                self.errors.append(f"dialog: {params['message']}")
        self._events.append(event)

    def open(self, path: Path, width: int = 1400, height: int = 900, dark: bool = False) -> None:
        """Opens a file and waits until it is loaded and all of its plots are drawn."""
        self.errors.clear()
        self.requests.clear()
        scale = {"deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, **scale)
        theme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=theme)
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait_for("document.documentElement?.dataset.drawn === 'yes'")

    def run(self, script: str) -> Any:
        """Returns the value of a JavaScript expression in the page."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Waits until an expression is true."""
        deadline = time.monotonic() + TIMEOUT_S
        while not self.run(condition):
            assert time.monotonic() < deadline, f"never so: {condition}; {self.errors}"
            time.sleep(0.02)

    def click(self, selector: str, at: int = 0) -> None:
        """Clicks in the middle of an element, as a mouse does."""
        find = f"document.querySelectorAll({json.dumps(selector)})[{at}]"
        self.run(f"{find}.scrollIntoView({{block: 'center', inline: 'center'}})")
        box = self.run(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({find}.getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Types a text into what has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key: str, code: int) -> None:
        """Presses a key such as `Escape`, whose Windows key code is 27."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """Writes a picture of what is in sight, or of the whole page."""
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(picture["data"]))

    def pdf(self, path: Path) -> None:
        """Prints the page."""
        printed = self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
        path.write_bytes(base64.b64decode(printed["data"]))
