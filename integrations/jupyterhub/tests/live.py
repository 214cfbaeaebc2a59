"""What a hub does with the client at a real gate. enforcer's own tests run it, in two steps with a spawn between them:

    python3 -m tests.live SOCKET announce IMAGE
    python3 -m tests.live SOCKET follow
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from enforcer_jupyterhub.client import STAGES, Gate, GateError, summary

USER, SERVER = "ann", "two"


async def announce(gate: Gate, image: str) -> None:
    """Before the spawn."""
    hub = await gate.hub()
    assert hub.name == "lab" and hub.networks, hub
    assert (await gate.spawn(USER, SERVER)).stage == "unknown"
    said = {"groups": ["course-7"], "client": "192.0.2.7"}
    assert await gate.announce(USER, SERVER, image="not/allowed:1", **said) is False  # type: ignore[arg-type]
    assert await gate.announce(USER, SERVER, image=image, **said) is True  # type: ignore[arg-type]
    assert (await gate.spawn(USER, SERVER)).stage == "announced"
    try:
        await gate.call("POST", "/enforcer/v1/spawns", {"user": USER, "policy": "open"})
    except GateError as error:
        assert error.status == 400, error
    else:
        raise AssertionError("a field that nobody knows was taken")


async def follow(gate: Gate) -> None:
    """After it: until the kernel holds the guest's policy, and its attempts are told."""
    stages: list[str] = []
    seen, until = None, time.monotonic() + 20
    while seen != STAGES[-1]:
        assert time.monotonic() < until, stages
        spawn = await gate.spawn(USER, SERVER, seen)
        if spawn.stage != seen:
            stages.append(spawn.stage)
        seen = spawn.stage
    assert stages == sorted(stages, key=STAGES.index), stages
    after = 0
    while True:
        denials, after = await gate.denials(USER, SERVER, after)
        if denials:
            break
        assert time.monotonic() < until, "nothing was denied"
        await asyncio.sleep(0.2)
    assert (await gate.denials("ben"))[0] == [], "somebody else's"
    print(json.dumps({"container": spawn.container_id, "groups": spawn.groups, "denials": summary(denials)}))


if __name__ == "__main__":
    step = announce(Gate(sys.argv[1]), sys.argv[3]) if sys.argv[2] == "announce" else follow(Gate(sys.argv[1]))
    asyncio.run(step)
