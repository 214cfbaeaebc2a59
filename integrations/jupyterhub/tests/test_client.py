"""The client against a gate of the test's own; ``test_live`` has enforcer's."""

from __future__ import annotations

import logging
import unittest
from types import SimpleNamespace
from typing import Any

from enforcer_jupyterhub.client import Denial, Gate, GateError, socket_of_environment, summary
from enforcer_jupyterhub.hook import MOST_GROUPS, announce, client_of, groups_of

from .fake import FakeGate


def spawner(asker: str | None = "ann", address: str = "192.0.2.7") -> Any:
    user = SimpleNamespace(name="ann", groups=[SimpleNamespace(name="staff"), SimpleNamespace(name="course")])
    handler = None
    if asker is not None:
        request = SimpleNamespace(remote_ip=address)
        handler = SimpleNamespace(current_user=SimpleNamespace(name=asker), request=request)
    log = logging.getLogger("test")
    return SimpleNamespace(user=user, name="two", handler=handler, image="python:3", log=log, _log_name="ann:two")


class Client(unittest.IsolatedAsyncioTestCase):
    async def test_what_a_spawner_knows_is_told(self) -> None:
        async with FakeGate(lambda *_: (200, {"stage": "announced", "image_may_be_used": True})) as fake:
            self.assertTrue(await announce(spawner(), Gate(fake.path)))
        said = {"user": "ann", "server": "two", "groups": ["course", "staff"], "client": "192.0.2.7", "image": "python:3"}
        self.assertEqual(fake.asked, [("POST", "/enforcer/v1/spawns", said)])

    async def test_an_image_that_is_not_allowed_is_told_before_the_create(self) -> None:
        async with FakeGate(lambda *_: (200, {"image_may_be_used": False})) as fake:
            with self.assertLogs("test", "WARNING") as logs:
                self.assertTrue(await announce(spawner(), Gate(fake.path)))
        self.assertIn("is going to refuse python:3", logs.output[0])

    async def test_an_address_that_is_somebody_elses_is_not_the_users(self) -> None:
        self.assertEqual(client_of(spawner()), "192.0.2.7")
        self.assertEqual(client_of(spawner(address="2001:DB8:0::1")), "2001:db8::1")
        for asker, address in [("admin", "192.0.2.7"), (None, ""), ("ann", ""), ("ann", "unix"), ("ann", "1.2.3.4, 5.6.7.8")]:
            self.assertIsNone(client_of(spawner(asker, address)), (asker, address))

    async def test_an_address_that_the_visitor_wrote_is_not_believed(self) -> None:
        def found(headers: dict[str, str], believes: bool = False, trusted: tuple[str, ...] = ()) -> str | None:
            asked = spawner(address=headers.get("X-Real-Ip", "192.0.2.7"))
            asked.handler.request.headers = headers
            asked.handler.request.connection = SimpleNamespace(context=SimpleNamespace(trusted_downstream=trusted))
            return client_of(asked, believes)

        # The hub's own proxy appends what it sees itself.
        forged = {"X-Real-Ip": "198.51.100.1", "X-Forwarded-For": "198.51.100.2, 192.0.2.7"}
        self.assertEqual(found(forged), "192.0.2.7")
        self.assertEqual(found(forged, believes=True), "198.51.100.1")
        behind = {"X-Real-Ip": "198.51.100.1", "X-Forwarded-For": "192.0.2.7,10.0.0.1"}
        self.assertEqual(found(behind, trusted=("10.0.0.1",)), "192.0.2.7")
        self.assertIsNone(found({"X-Real-Ip": "198.51.100.1"}))
        self.assertEqual(found({"X-Forwarded-For": "192.0.2.7"}), "192.0.2.7")

    def test_an_address_of_a_link_is_told_without_the_link(self) -> None:
        self.assertEqual(client_of(spawner(address="fe80::1%eth0")), "fe80::1")

    def test_groups_are_those_that_the_gate_takes(self) -> None:
        asked = spawner()
        odd = ["", ".", "..", "a/b", " a", "a\n", "\x1b[2J", "\u202eb", "x" * 256]
        asked.user.groups = [SimpleNamespace(name=name) for name in [*odd, "course 7, monday", "a"]]
        self.assertEqual(groups_of(asked), ["a", "course 7, monday"])
        asked.user.groups = [SimpleNamespace(name=f"g{number:02}") for number in range(40)]
        self.assertEqual(len(groups_of(asked)), MOST_GROUPS)

    def test_a_denial_has_no_control_characters(self) -> None:
        record = {"event.action": "denied", "dns.question.name": "a\x1b[2J\r\nb\u202ec", "process.name": "x\ny"}
        told = str(Denial.of(record))
        self.assertTrue(told.isprintable(), repr(told))
        self.assertIn("a\ufffd[2J\ufffd\ufffdb\ufffdc", told)

    async def test_a_gate_that_is_not_there_or_refuses_ends_no_spawn(self) -> None:
        with self.assertLogs("test", "WARNING"):
            self.assertFalse(await announce(spawner(), Gate("/nonexistent/gate.sock")))
        async with FakeGate(lambda *_: (403, {"message": "enforcer: no (rule x)"})) as fake:
            with self.assertLogs("test", "WARNING") as logs:
                self.assertFalse(await announce(spawner(), Gate(fake.path)))
        self.assertIn("no (rule x)", logs.output[0])

    async def test_an_answer_that_is_none_is_an_error_with_the_status(self) -> None:
        for status, answer in [(200, b"no json"), (200, b"[]"), (403, {"message": "no"}), (500, {})]:
            async with FakeGate(lambda *_, s=status, a=answer: (s, a)) as fake:
                with self.assertRaises(GateError) as caught:
                    await Gate(fake.path).hub()
            self.assertEqual(caught.exception.status, status)

    async def test_how_far_a_spawn_is_is_read(self) -> None:
        container = {"id": "c1", "name": "jupyter-ann", "network": "tutorials", "groups": ["staff"]}
        async with FakeGate(lambda *_: (200, {"stage": "policed", "container": container})) as fake:
            spawn = await Gate(fake.path).spawn("ann b", seen="asked")
        self.assertEqual(fake.asked[0][1], "/enforcer/v1/spawns?user=ann+b&server=&seen=asked")
        self.assertTrue(spawn.is_policed)
        self.assertEqual((spawn.container_name, spawn.network, spawn.groups), ("jupyter-ann", "tutorials", ("staff",)))

    async def test_denials_are_read_and_told_once_each(self) -> None:
        record = {
            "event.sequence": 9,
            "event.action": "connect_refused",
            "event.reason": "policy",
            "network.iana_number": 6,
            "destination.ip": "2001:db8::1",
            "destination.port": 443,
            "process.name": "curl",
        }
        async with FakeGate(lambda *_: (200, {"records": [record, record], "next": 12})) as fake:
            denials, after = await Gate(fake.path).denials("ann", after=3)
        self.assertEqual((after, len(denials)), (12, 2))
        self.assertEqual(summary(denials), ["a connection to tcp [2001:db8::1]:443 by curl (policy), 2 times"])
        many = [Denial(n, "", "denied", "policy", f"tcp 10.0.0.{n}:1", "") for n in range(25)]
        self.assertEqual(len(summary(many)), 21)

    def test_the_gate_is_where_docker_host_points(self) -> None:
        path = "/run/enforcer/gate/course.sock"
        self.assertEqual(socket_of_environment({"DOCKER_HOST": f"unix://{path}"}), path)
        for other in ["", "tcp://127.0.0.1:2375", "unix://relative.sock"]:
            self.assertIsNone(socket_of_environment({"DOCKER_HOST": other}))


if __name__ == "__main__":
    unittest.main()
