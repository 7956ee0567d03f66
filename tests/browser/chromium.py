"""A real browser: Debian's Chromium, driven by Playwright, with nothing to reach but this machine."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.skips import skip

FLAGS = (
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
WAIT_MS = 30_000  # a shared machine is slow at times; nothing waits that long that works


def find() -> str | None:
    """Return the path of the browser (`CHROMIUM` names another); skip where there is none."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if found is None:
        skip("browser", "no chromium here: apt-get install chromium, or set CHROMIUM to its path")
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser with a fresh profile."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=list(FLAGS))
        yield browser
        browser.close()


@dataclass
class Seen:
    """What a page asked for and complained about."""

    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def outside(self, *inside: str) -> list[str]:
        """List the requests that begin with none of these."""
        return [url for url in self.requests if not url.startswith(inside)]


def watch(page: Page) -> Seen:
    """Note every request and every error of a page from now on."""
    seen = Seen()

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            seen.errors.append(message.text)

    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("console", note)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.set_default_timeout(WAIT_MS)
    expect.set_options(timeout=WAIT_MS)  # five seconds by itself, whatever the page's is
    return seen


def painted(page: Page, place: str) -> int:
    """Return a number that says what the canvases below an element show; 0 when they show nothing."""
    canvases = page.locator(f"{place} canvas")
    return int(
        canvases.evaluate_all(
            """all => all.reduce((sum, canvas) => {
                if (!canvas.width || !canvas.height) return sum;
                const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                for (let i = 3; i < data.length; i += 4)
                    if (data[i] > 0) sum = (sum * 31 + i + data[i - 1]) % 1e9;
                return sum;
            }, 0)"""
        )
    )


def shot(page: Page, folder: Path, name: str, whole: bool = False) -> None:
    """Keep a picture."""
    page.screenshot(path=folder / f"{name}.png", full_page=whole)
