"""A page of a headless Chromium, driven through the DevTools protocol."""

import asyncio
import base64
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import websockets


class Page:
    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._sent = 0

    async def call(self, method: str, **arguments: Any) -> Any:
        self._sent += 1
        await self._connection.send(json.dumps({"id": self._sent, "method": method, "params": arguments}))
        while (answer := json.loads(await self._connection.recv())).get("id") != self._sent:
            pass
        return answer["result"]

    async def value(self, expression: str) -> Any:
        """What a JavaScript expression gives."""
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return found["result"].get("value")

    async def until(self, expression: str, seconds: float = 120) -> Any:
        """The value of an expression as soon as it is true."""
        async with asyncio.timeout(seconds):
            while not (found := await self.value(expression)):
                await asyncio.sleep(0.2)
        return found

    async def press(self, key: str, code: int) -> None:
        for kind in ("keyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, text="\r")

    async def save(self, path: Path) -> None:
        """A picture of what is seen."""
        path.write_bytes(base64.b64decode((await self.call("Page.captureScreenshot"))["data"]))


@asynccontextmanager
async def page(browser: str, profile: Path, url: str, width: int, height: int, dark: bool) -> AsyncIterator[Page]:
    """A page of `url`; `browser` is Chromium's command, `profile` an empty folder."""
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    running = subprocess.Popen([*command, f"--user-data-dir={profile}"], stderr=subprocess.PIPE, text=True)
    try:
        errors = running.stderr
        assert errors is not None
        said = await asyncio.to_thread(lambda: next(line for line in errors if "listening on" in line))
        port = said.split("127.0.0.1:")[1].split("/")[0]
        new = Request(f"http://127.0.0.1:{port}/json/new", method="PUT")
        target = json.loads(await asyncio.to_thread(lambda: urlopen(new).read()))
        async with websockets.connect(target["webSocketDebuggerUrl"], max_size=None) as connection:
            shown = Page(connection)
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
            await shown.call("Emulation.setDeviceMetricsOverride", **size)
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            await shown.call("Emulation.setEmulatedMedia", features=[scheme])
            await shown.call("Page.navigate", url=url)
            yield shown
    finally:
        running.terminate()
        running.communicate()
