"""Runs a cell in a user's notebook over the kernel's websocket, and prints what it printed: `cell.py URL TOKEN CODE`."""

import json
import sys
import uuid

import requests
import websocket

url, token, code = sys.argv[1:]
headers = {"Authorization": f"token {token}"}
kernel = requests.post(f"{url}/api/kernels", headers=headers, json={}, timeout=60)
kernel.raise_for_status()
kernel = kernel.json()["id"]
channels = url.replace("http://", "ws://") + f"/api/kernels/{kernel}/channels"
socket = websocket.create_connection(channels, header=headers, timeout=60)
asked = uuid.uuid4().hex
socket.send(
    json.dumps(
        {
            "channel": "shell",
            "header": {
                "msg_id": asked,
                "msg_type": "execute_request",
                "session": uuid.uuid4().hex,
                "username": "",
                "version": "5.3",
                "date": "2026-01-01T00:00:00Z",
            },
            "parent_header": {},
            "metadata": {},
            "content": {
                "code": code,
                "silent": False,
                "store_history": False,
                "user_expressions": {},
                "allow_stdin": False,
                "stop_on_error": True,
            },
        }
    )
)
is_idle = is_answered = False
while not (is_idle and is_answered):
    message = json.loads(socket.recv())
    if message.get("parent_header", {}).get("msg_id") != asked:
        continue
    kind, content = message["msg_type"], message["content"]
    if kind == "stream":
        sys.stdout.write(content["text"])
    elif kind == "error":
        sys.exit("\n".join(content["traceback"]))
    elif kind == "execute_reply":
        is_answered = True
    elif kind == "status":
        is_idle = content["execution_state"] == "idle"
socket.close()
requests.delete(f"{url}/api/kernels/{kernel}", headers=headers, timeout=60).raise_for_status()
