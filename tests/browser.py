"""A headless Chromium that is driven as a person would: by clicks and keys."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

_BINARIES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PATIENCE_S = 30.0
_KEYS = {"Enter": (13, "\r"), "Backspace": (8, ""), "Tab": (9, ""), " ": (32, " ")}


def find_browser() -> str:
    """Path of a Chromium; the test is skipped where there is none."""
    found = next(filter(None, map(shutil.which, _BINARIES)), None)
    if found is None:
        pytest.skip("no Chromium here (apt-get install chromium)")
    return found


class Browser:
    """One page of a headless Chromium, through the Chrome DevTools protocol.

    Parameters
    ----------
    folder
        Empty folder for the profile and the downloads.
    """

    def __init__(self, folder: Path) -> None:
        self.downloads = folder / "downloads"
        self.downloads.mkdir()
        self.messages: list[dict[str, Any]] = []
        self._profile = folder / "profile"
        self._number = 0
        self._open_things = ExitStack()

    def __enter__(self) -> Browser:
        process = subprocess.Popen(
            [
                find_browser(), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--disable-dev-shm-usage", "--remote-debugging-port=0", "--window-size=1280,900",
                f"--user-data-dir={self._profile}", "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        with ExitStack() as opening:
            opening.callback(process.wait, _PATIENCE_S)
            opening.callback(process.terminate)
            address = self._find_page(process)
            self._socket = opening.enter_context(
                connect(address, max_size=None, compression=None, proxy=None)
            )
            for domain in ("Page", "Runtime", "Network", "Log"):
                self.send(f"{domain}.enable")
            self.send(
                "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads)
            )
            self._open_things = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open_things.close()

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its response; events that come meanwhile are queued."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": params}
        self._socket.send(json.dumps(command))
        while True:
            message = json.loads(self._socket.recv(timeout=_PATIENCE_S))
            if message.get("id") == self._number:
                assert "error" not in message, (method, message)
                return message["result"]
            if "method" in message:
                self._take(message)

    def open(self, path: Path) -> None:
        """Open a file and wait until it is loaded."""
        self.send("Page.navigate", url=path.resolve().as_uri())
        self.wait_for("document.readyState === 'complete' && location.protocol === 'file:'")

    def reload(self) -> None:
        """Load the page again, as F5 does."""
        self.evaluate("window.beforeReload = true")
        self.send("Page.reload")
        self.wait_for("!window.beforeReload && document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """Read something off the page."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until an expression holds."""
        deadline = time.monotonic() + _PATIENCE_S
        while not self.evaluate(expression):
            assert time.monotonic() < deadline, expression
            time.sleep(0.02)

    def click(self, selector: str) -> None:
        """Press and release the mouse on the middle of an element that can be seen."""
        x, y, hit = self.evaluate(
            f"""(() => {{
                const element = document.querySelector({json.dumps(selector)});
                element.scrollIntoView({{block: "center"}});
                const box = element.getBoundingClientRect();
                const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
                const top = document.elementFromPoint(x, y);
                return [x, y, element === top || element.contains(top)];
            }})()"""
        )
        assert hit, f"{selector} cannot be clicked on: something lies over it"
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press and release a key."""
        code, text = _KEYS[key] if key in _KEYS else (ord(key.upper()), key)
        event = {"key": key, "windowsVirtualKeyCode": code}
        self.send(
            "Input.dispatchKeyEvent", type="keyDown", **event, **({"text": text} if text else {})
        )
        self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    def write(self, selector: str, text: str) -> None:
        """Click into a field and write."""
        self.click(selector)
        self.send("Input.insertText", text=text)

    def wait_for_download(self) -> Path:
        """Return the file that the page has had saved."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            done = [path for path in self.downloads.iterdir() if path.suffix != ".crdownload"]
            if done and not list(self.downloads.glob("*.crdownload")):
                return max(done, key=lambda path: path.stat().st_mtime)
            assert time.monotonic() < deadline, "no download"
            time.sleep(0.05)

    def list_requests(self) -> list[str]:
        """Addresses that the page requested, other than files and embedded data."""
        self.evaluate("0")
        asked = [
            message["params"]["request"]["url"]
            for message in self.messages
            if message["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]

    def list_errors(self) -> list[dict[str, Any]]:
        """Exceptions and errors on the console."""
        self.evaluate("0")
        return [
            message
            for message in self.messages
            if message["method"] == "Runtime.exceptionThrown"
            or (message["method"] == "Log.entryAdded"
                and message["params"]["entry"]["level"] == "error")
        ]  # fmt: skip

    def _take(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        if message["method"] == "Page.javascriptDialogOpening":
            self._socket.send(
                json.dumps(
                    {"id": 0, "method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
                )
            )

    def _find_page(self, process: subprocess.Popen[bytes]) -> str:
        """Wait for the browser and return the address that its page is driven through."""
        port_file = self._profile / "DevToolsActivePort"
        deadline = time.monotonic() + _PATIENCE_S
        while not port_file.is_file() or not port_file.read_text():
            assert process.poll() is None, "Chromium ended"
            assert time.monotonic() < deadline, "Chromium does not start"
            time.sleep(0.05)
        port = port_file.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
            pages = [page for page in json.load(answer) if page["type"] == "page"]
        return pages[0]["webSocketDebuggerUrl"]
