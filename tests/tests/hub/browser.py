"""A headless Chromium that logs in to a hub, waits on the spawn page, and runs a cell in JupyterLab, by clicks and keys.

`browser.py URL PROFILE SHOTS WORLD`: prints, as JSON, what the pages showed; a picture of each is left in SHOTS. The cell
tries to reach WORLD.
"""

import base64
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import requests
import websocket

URL, PROFILE, SHOTS = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
# One line, since the editor indents what comes after another.
CELL = (
    "import os, socket; print('the answer is', 6 * 7); "
    f"print(os.strerror(socket.socket().connect_ex(('{sys.argv[4]}', 80))))"
)
# Seconds until a page is what it is to be. The machine may have other things to do.
PATIENCE = 300
OPTIONS = [
    "--headless=new",
    # Root's own processes, in a namespace of a test's.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--window-size=1280,800",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
]


def until(what, look, pause=0.2):
    """Looks again and again until there is something."""
    ends = time.monotonic() + PATIENCE
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > ends:
            raise RuntimeError(f"{what}: not within {PATIENCE} s")
        time.sleep(pause)


class Page:
    """The browser's only one, by its debugging protocol."""

    def __init__(self, address):
        pages = requests.get(f"http://{address}/json/list", timeout=60).json()
        page = next(page for page in pages if page["type"] == "page")
        self.socket = websocket.create_connection(page["webSocketDebuggerUrl"], timeout=60)
        self.numbers = itertools.count(1)
        self.do("Page.enable")

    def do(self, method, **parameters):
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]

    def ask(self, expression):
        """The value of an expression; none while the page is on its way to another."""
        try:
            answer = self.do("Runtime.evaluate", expression=expression, returnByValue=True)
        except RuntimeError:
            return None
        return answer["result"].get("value")

    def wait(self, expression):
        return until(expression, lambda: self.ask(expression))

    def click(self, selector):
        """In the middle of an element, as a mouse does."""
        place = f"(e => {{const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]}})"
        self.wait(f"document.querySelector({selector!r}) !== null")
        x, y = self.ask(f"{place}(document.querySelector({selector!r}))")
        for kind in ["mousePressed", "mouseReleased"]:
            self.do("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def enter(self, modifiers=0):
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "modifiers": modifiers}
        # With Shift it is a command, and no character.
        text = {} if modifiers else {"text": "\r"}
        self.do("Input.dispatchKeyEvent", type="keyDown", **key, **text)
        self.do("Input.dispatchKeyEvent", type="keyUp", **key)

    def shoot(self, name):
        picture = self.do("Page.captureScreenshot", format="png")["data"]
        (SHOTS / name).write_bytes(base64.b64decode(picture))


def visit(page):
    shown = {}
    page.do("Page.navigate", url=URL)
    page.click("#username_input")
    page.do("Input.insertText", text="ann")
    page.click("#password_input")
    page.do("Input.insertText", text="any")
    page.shoot("1-login.png")
    page.enter()

    page.wait("location.pathname.startsWith('/hub/spawn-pending/')")
    page.wait("document.querySelector('#progress-message')?.innerText")
    page.ask("document.querySelector('#progress-details').open = true")
    shown["progress"], shown["log"] = [], ""

    def progressed():
        said = page.ask("document.querySelector('#progress-message')?.innerText")
        percent = page.ask("document.querySelector('#progress-bar')?.getAttribute('aria-valuenow')")
        if said and [percent, said] not in shown["progress"]:
            shown["progress"].append([percent, said])
        log = page.ask("document.querySelector('#progress-log')?.innerText") or ""
        if log != shown["log"] and log:
            shown["log"] = log
            page.shoot("2-spawn.png")
        return page.ask("location.pathname.endsWith('/lab')")

    until("the notebook", progressed, 0.05)
    card = ".jp-LauncherCard[data-category=Notebook]"
    page.wait(f"document.querySelector('{card}') !== null")
    page.shoot("3-lab.png")
    page.click(card)
    # The kernel is there, and takes what is typed.
    page.wait("document.querySelector('.jp-Notebook-ExecutionIndicator[data-status=idle]') !== null")
    code, output = ".jp-Notebook .jp-CodeCell .cm-content", ".jp-Notebook .jp-OutputArea-output"

    def ran():
        # A page that is still being put together forgets what it was told: once more, then.
        said = page.ask(f"document.querySelector('{output}')?.innerText")
        if said:
            return said
        page.click(code)
        if "6 * 7" not in (page.ask(f"document.querySelector('{code}').innerText") or ""):
            page.do("Input.insertText", text=CELL)
            return None
        page.enter(modifiers=8)
        return None

    shown["output"] = until("a cell's output", ran, 2)
    shown["code"] = page.ask("document.querySelector('.jp-Notebook .cm-content').innerText")
    shown["title"] = page.ask("document.title")
    shown["path"] = page.ask("location.pathname")
    page.shoot("4-cell.png")
    return shown


SHOTS.mkdir(parents=True, exist_ok=True)
log = open(PROFILE.with_suffix(".log"), "w")
browser = subprocess.Popen(["chromium", *OPTIONS, f"--user-data-dir={PROFILE}", "about:blank"], stderr=log)
try:
    port = until(
        "Chromium", lambda: (p := PROFILE / "DevToolsActivePort").exists() and p.read_text().split()
    )
    page = Page(f"127.0.0.1:{port[0]}")
    try:
        print(json.dumps(visit(page)))
    except Exception:
        page.shoot("where-it-failed.png")
        raise
finally:
    browser.kill()
    browser.wait()
