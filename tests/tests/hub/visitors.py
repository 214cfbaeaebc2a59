"""Visitors of a hub, who do what a browser does and know what a browser knows: the address, cookies, what pages say.

`visitors.py URL` reads orders, a line of JSON each, `{"who": 3, "do": "arrive", "with": [...]}`, and answers each with
`{"who": 3, "done": ...}` or `{"who": 3, "failed": "..."}`. One visitor's orders are done in turn, those of several at the
same time.
"""

import json
import queue
import re
import sys
import threading
import time
import traceback
import uuid
from urllib.parse import urljoin, urlsplit

import requests
import websocket

BASE = sys.argv[1]
# Seconds that a page, a spawn and a cell may take. The machine may have other things to do.
PAGE, SPAWN, CELL = 60, 240, 90
# Who waits for a notebook at the same time: they come all at once, a small machine starts them a few at a time.
DOOR = threading.Semaphore(5)
REQUEST = {
    "silent": False,
    "store_history": False,
    "user_expressions": {},
    "allow_stdin": False,
    "stop_on_error": True,
}


class Visitor:
    def __init__(self):
        self.browser = requests.Session()
        self.browser.headers["User-Agent"] = "Mozilla/5.0"
        self.home = self.kernel = self.socket = None

    def arrive(self, name=None, server=None):
        """Signs in, follows the spawn page to the notebook: its user, its URL and what the page's progress said."""
        with DOOR:
            page = self.get(urljoin(BASE, f"hub/spawn/{name}/{server}" if server else ""))
            if name is not None:
                page = self.sign_in(page, name)
            said = []
            ends = time.monotonic() + SPAWN
            while not urlsplit(page.url).path.startswith("/user/"):
                if time.monotonic() > ends:
                    raise RuntimeError(f"no notebook, but {page.url}: {page.text[-500:]}")
                if "/hub/spawn-pending/" not in page.url:
                    raise RuntimeError(f"where is this? {page.status_code} {page.url}")
                # A page that is asked for at the very moment the server is ready is the notebook already.
                said += self.progress(page)
                page = self.get(page.url)
        parts = urlsplit(page.url).path.split("/")
        self.home = urljoin(BASE, f"/user/{parts[2]}/" + (f"{server}/" if server else ""))
        return {"user": parts[2], "url": page.url, "progress": said}

    def sign_in(self, page, name):
        """Fills in the form."""
        form = re.search(r'<form[^>]*action="([^"]*)"', page.text)
        token = re.search(r'name="_xsrf"\s+value="([^"]*)"', page.text)
        if not form or not token:
            raise RuntimeError(f"no form at {page.url}")
        filled = {"username": name, "password": "any", "_xsrf": token.group(1)}
        where = urljoin(page.url, form.group(1).replace("&amp;", "&"))
        return self.landed(self.browser.post(where, data=filled, timeout=PAGE))

    def progress(self, page):
        """What the page shows until it goes elsewhere."""
        source = re.search(r'new EventSource\("([^"]*)"\)', page.text)
        if not source:
            raise RuntimeError(f"no progress at {page.url}: {page.text[-500:]}")
        where = urljoin(page.url, source.group(1).replace("&amp;", "&"))
        shown = []
        with self.browser.get(where, stream=True, timeout=SPAWN) as stream:
            stream.raise_for_status()
            for line in stream.iter_lines(decode_unicode=True):
                if not line.startswith("data:"):
                    continue
                event = json.loads(line[5:])
                shown.append([event.get("progress"), event.get("message")])
                if event.get("failed"):
                    raise RuntimeError(f"no notebook: {shown}")
                if event.get("ready"):
                    break
        return shown

    def get(self, where):
        return self.landed(self.browser.get(where, timeout=PAGE))

    @staticmethod
    def landed(page):
        if page.status_code >= 400:
            raise RuntimeError(f"{page.status_code} {page.url}: {page.text[-500:]}")
        return page

    def open(self):
        """Starts a kernel, and opens its websocket."""
        started = self.browser.post(
            f"{self.home}api/kernels", json={}, headers=self.proof(), timeout=CELL
        )
        self.kernel = self.landed(started).json()["id"]
        self.connect()
        return self.kernel

    def connect(self):
        """A new websocket to the kernel that there is."""
        where = f"{self.home}api/kernels/{self.kernel}/channels"
        asked = requests.Request("GET", where)
        cookies = self.browser.prepare_request(asked).headers["Cookie"]
        self.socket = websocket.create_connection(
            where.replace("http://", "ws://"),
            cookie=cookies,
            origin=BASE.rstrip("/"),
            timeout=CELL,
        )

    def proof(self):
        """That a form is our own: the cookie's value, which another site cannot read."""
        path = urlsplit(self.home).path
        values = [c.value for c in self.browser.cookies if c.name == "_xsrf" and c.path == path]
        return {"X-XSRFToken": values[-1], "Referer": f"{self.home}lab"}

    def cell(self, code):
        """What a cell prints."""
        asked = uuid.uuid4().hex
        header = {
            "msg_id": asked,
            "msg_type": "execute_request",
            "session": uuid.uuid4().hex,
            "username": "",
            "version": "5.3",
            "date": "2026-01-01T00:00:00Z",
        }
        message = {
            "channel": "shell",
            "header": header,
            "parent_header": {},
            "metadata": {},
            "content": REQUEST | {"code": code},
        }
        self.socket.send(json.dumps(message))
        printed = ""
        is_idle = is_answered = False
        while not (is_idle and is_answered):
            message = json.loads(self.socket.recv())
            if message.get("parent_header", {}).get("msg_id") != asked:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                printed += content["text"]
            elif kind == "error":
                raise RuntimeError("\n".join(content["traceback"]))
            elif kind == "execute_reply":
                is_answered = True
            elif kind == "status":
                is_idle = content["execution_state"] == "idle"
        return printed

    def reconnect(self):
        """As a notebook's page does when its connection has broken: again and again."""
        self.socket.close()
        ends = time.monotonic() + CELL
        while True:
            try:
                return self.connect()
            except (OSError, websocket.WebSocketException):
                if time.monotonic() > ends:
                    raise
                time.sleep(0.5)


def serve(visitor, who, orders, answers):
    while True:
        order = orders.get()
        answer = {"who": who}
        try:
            answer["done"] = getattr(visitor, order["do"])(*order["with"])
        except Exception:
            answer["failed"] = traceback.format_exc()
        answers.put(answer)


def tell(answers):
    while True:
        print(json.dumps(answers.get()), flush=True)


answers = queue.Queue()
threading.Thread(target=tell, args=[answers], daemon=True).start()
all_orders = {}
for line in sys.stdin:
    order = json.loads(line)
    who = order["who"]
    if who not in all_orders:
        all_orders[who] = queue.Queue()
        start = [Visitor(), who, all_orders[who], answers]
        threading.Thread(target=serve, args=start, daemon=True).start()
    all_orders[who].put(order)
