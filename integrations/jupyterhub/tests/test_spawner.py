"""The mixin before a spawner that only writes down what it is asked. Needs JupyterHub and DockerSpawner installed."""

from __future__ import annotations

import asyncio
import unittest
from types import SimpleNamespace
from typing import Any

from .fake import FakeGate

try:
    from dockerspawner import DockerSpawner

    from enforcer_jupyterhub.spawner import EnforcerSpawner
except ImportError as error:
    raise unittest.SkipTest(f"not installed: {error}") from error


class Recorder(EnforcerSpawner):
    """Asks no engine."""

    calls: list[tuple[str, dict[str, Any]]]


def make(path: str) -> Recorder:
    spawner = Recorder(enforcer_socket=path, enforcer_look_every=0.01)
    spawner.user = SimpleNamespace(name="ann", groups=[], id=1, url="/user/ann", escaped_name="ann")
    return spawner


class Mixin(unittest.IsolatedAsyncioTestCase):
    async def test_the_page_shows_each_stage_once_and_what_is_denied(self) -> None:
        stages = iter(["announced", "asked", "asked", "identified", "policed"])
        record = {"event.sequence": 4, "event.action": "denied", "event.reason": "policy", "destination.ip": "10.0.0.1"}

        def answer(_method: str, target: str, _body: Any) -> tuple[int, Any]:
            if "denials" in target:
                is_first = target.endswith("after=0")
                return 200, {"records": [record] if is_first else [], "next": 4}
            return 200, {"stage": next(stages), "container": None}

        async with FakeGate(answer) as fake:
            spawner, events = make(fake.path), []
            async for event in spawner.progress():
                events.append(event)
                if event["message"].endswith("is policed"):
                    break
        bars = [event["progress"] for event in events if "progress" in event]
        self.assertEqual(bars, [10, 35, 60, 80])
        self.assertIn({"message": "enforcer denied a packet to 10.0.0.1 (policy)"}, events)

    async def test_a_gate_that_answers_at_once_is_asked_now_and_then(self) -> None:
        async with FakeGate(lambda *_: (200, {"stage": "asked", "records": [], "next": 0})) as fake:
            spawner = make(fake.path)
            spawner.enforcer_look_every = 0.2

            async def look() -> None:
                async for _ in spawner.progress():
                    pass

            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(look(), 0.5)
        self.assertLess(len(fake.asked), 12)

    async def test_what_is_not_shown_of_many_denials_is_said(self) -> None:
        records = [{"event.sequence": n, "event.action": "denied"} for n in range(100)]
        async with FakeGate(lambda *_: (200, {"records": records, "next": 100})) as fake:
            lines = await make(fake.path)._log_denials()
        self.assertEqual(lines[-1], "and more: these are of the newest 100")

    async def test_without_a_gate_the_page_says_less_and_the_spawn_goes_on(self) -> None:
        events = [event async for event in make("/nonexistent/gate.sock").progress()]
        self.assertEqual(events, [{"progress": 50, "message": "Starting your server"}])
        events = [event async for event in make("").progress()]
        self.assertEqual([event["progress"] for event in events], [50])

    async def test_a_container_that_is_made_has_the_labels_and_no_other_call_has(self) -> None:
        calls: list[tuple[str, dict[str, Any]]] = []
        plain = DockerSpawner.docker
        DockerSpawner.docker = lambda _self, method, *_args, **kwargs: calls.append((method, kwargs))
        try:
            spawner = make("")
            spawner.docker("create_container", "x", labels={"course": "7"})
            spawner.docker("start", "x")
        finally:
            DockerSpawner.docker = plain
        labels = {"hub.jupyter.org/username": "ann", "hub.jupyter.org/servername": "", "course": "7"}
        self.assertEqual(calls, [("create_container", {"labels": labels}), ("start", {})])


if __name__ == "__main__":
    unittest.main()
