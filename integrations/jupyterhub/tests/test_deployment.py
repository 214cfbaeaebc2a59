"""The two deployments agree with themselves: what the hub is told is what enforcer is told. Needs traitlets installed."""

from __future__ import annotations

import os
import re
import tomllib
import unittest
from pathlib import Path
from typing import Any

try:
    from traitlets.config.loader import PyFileConfigLoader
except ImportError as error:
    raise unittest.SkipTest(f"not installed: {error}") from error

HERE = Path(__file__).resolve().parent.parent


def load(directory: Path) -> tuple[Any, dict[str, Any]]:
    os.environ["ENFORCER_TOKEN"] = "x"
    hub = PyFileConfigLoader("jupyterhub_config.py", str(directory)).load_config()
    return hub, tomllib.loads((directory / "enforcer.toml").read_text())


class Deployment(unittest.TestCase):
    def test_hub_and_enforcer_are_told_the_same(self) -> None:
        for directory in [HERE, HERE / "compose"]:
            with self.subTest(directory.name):
                hub, enforcer = load(directory)
                (name, network), = enforcer["networks"].items()
                self.assertEqual(hub.DockerSpawner.network_name, name)
                self.assertEqual(enforcer["hubs"]["course"]["networks"], [name])
                self.assertIn(hub.DockerSpawner.image, enforcer["guests"]["images"])
                port = network["hub"][0]["port"]
                self.assertEqual(hub.JupyterHub.hub_port, port)
                self.assertEqual(enforcer["hubs"]["course"]["api"], f"http://127.0.0.1:{port}/hub/api")
                self.assertTrue(hub.Authenticator.allow_all)
                scopes = {role["name"]: role["scopes"] for role in hub.JupyterHub.load_roles}
                self.assertEqual(scopes["enforcer"], ["read:users:groups", "admin:groups"])

    def test_guests_find_the_hub_where_enforcer_lets_them(self) -> None:
        hub, enforcer = load(HERE)
        self.assertEqual(hub.JupyterHub.hub_connect_ip, enforcer["networks"]["tutorials"]["gateway"])
        hub, enforcer = load(HERE / "compose")
        compose = (HERE / "compose" / "compose.yaml").read_text()
        self.assertIn(f"ipv4_address: {hub.JupyterHub.hub_connect_ip}\n", compose)
        name = enforcer["networks"]["tutorials"]["hub"][0]["container"]
        self.assertIn(f"container_name: {name}\n", compose)

    def test_the_hub_gets_its_gate_and_neither_the_engine_nor_the_directory(self) -> None:
        compose = (HERE / "compose" / "compose.yaml").read_text()
        self.assertEqual(re.findall(r"source: (\S+)", compose), ["/run/enforcer/gate/course.sock"])
        for path in [*HERE.glob("*.py"), *HERE.glob("*.service"), *HERE.glob("compose/*")]:
            self.assertNotIn("/var/run/docker.sock:", path.read_text(), path)
        unit = (HERE / "jupyterhub.service").read_text()
        self.assertIn("DOCKER_HOST=unix:///run/enforcer/gate/course.sock\n", unit)


if __name__ == "__main__":
    unittest.main()
