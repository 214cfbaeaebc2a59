"""What a person does with Docker's SDK for Python, over the socket that DOCKER_HOST names.

Arguments: an image that may be used, what names of one's own images begin with, how many containers one may have, another person's container, network,
volume and image. Ends with a traceback where something is not as it is to be.
"""

import contextlib
import hashlib
import io
import os
import socket
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import docker
import websocket

IMAGE, MARK, ROOM, *OTHERS = sys.argv[1:]
ROOM = int(ROOM)
SOCKET = os.environ["DOCKER_HOST"]
client = docker.from_env()


@contextlib.contextmanager
def refused(rule, status=403):
    """The engine's shape of an error, with the rule in its words."""
    try:
        yield
    except docker.errors.APIError as error:
        assert error.response.status_code == status, error
        assert error.explanation.startswith("enforcer: "), error.explanation
        assert error.explanation.endswith(f"(rule {rule})"), error.explanation
    else:
        raise AssertionError(f"{rule}: not refused")


@contextlib.contextmanager
def missing():
    """What is another's is not there, in the engine's words."""
    try:
        yield
    except docker.errors.NotFound as error:
        assert error.status_code == 404 and "enforcer.user" not in str(error), error
    else:
        raise AssertionError("it is there")


def start(*command, **more):
    return client.containers.run(IMAGE, ["sh", "-c", *command], detach=True, **more)


def until(is_so):
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.1)


def frames(stream):
    """What comes over an attached stream without a terminal: (1 or 2, bytes)."""
    source = stream.makefile("rb")
    while header := source.read(8):
        kind, length = struct.unpack(">BxxxL", header)
        yield kind, source.read(length)


def system():
    assert client.ping() is True
    assert client.version()["ApiVersion"]
    assert client.info()["OSType"] == "linux"
    with contextlib.closing(docker.DockerClient(base_url=SOCKET, version="auto")) as other:
        assert other.ping() is True


def runs():
    assert client.containers.run(IMAGE, ["busybox", "echo", "hello"], remove=True) == b"hello\n"
    try:
        client.containers.run(IMAGE, ["sh", "-c", "echo why >&2; exit 3"], remove=True)
    except docker.errors.ContainerError as error:
        assert (error.exit_status, error.stderr) == (3, b"why\n"), error
    else:
        raise AssertionError("it did not fail")
    ended = start("for i in 1 2 3; do echo line $i; sleep 0.1; done; exit 7")
    assert b"".join(ended.logs(stream=True, follow=True)) == b"line 1\nline 2\nline 3\n"
    assert ended.wait(timeout=20)["StatusCode"] == 7
    assert ended.logs(tail=1) == b"line 3\n"
    ended.remove()


def containers():
    web = start("echo begun; sleep 1000", name="web", labels={"course": "7"}, mem_limit="64m", hostname="site")
    web.reload()
    assert web.status == "running" and web.attrs["HostConfig"]["Memory"] == 64 << 20
    assert client.containers.get("web").id == web.id == client.containers.get(web.short_id).id
    assert {one.name for one in client.containers.list()} == {"web", "jupyter-ann"}
    assert [one.name for one in client.containers.list(all=True, filters={"label": "course=7"})] == ["web"]
    assert web.logs() == b"begun\n"
    assert any("sleep" in " ".join(process) for process in web.top()["Processes"])
    assert web.stats(stream=False)["memory_stats"]["limit"] == 64 << 20
    assert next(web.stats(decode=True))["id"] == web.id
    web.rename("site")
    web.update(cpu_shares=512)
    web.restart(timeout=0)
    web.reload()
    assert (web.name, web.attrs["HostConfig"]["CpuShares"]) == ("site", 512)
    web.stop(timeout=0)
    web.start()
    web.kill()
    assert web.wait(timeout=20)["StatusCode"] == 137
    web.remove(v=True)
    with missing():
        web.reload()
    left = client.containers.create(IMAGE, ["busybox", "true"])
    assert client.containers.prune()["ContainersDeleted"] == [left.id]


def streams():
    box = start("sleep 1000", name="box")
    assert box.exec_run(["busybox", "pwd"], workdir="/tmp") == (0, b"/tmp\n")
    assert box.exec_run(["sh", "-c", "echo $A; exit 4"], environment={"A": "b"}) == (4, b"b\n")
    code, (out, err) = box.exec_run(["sh", "-c", "echo to; echo fro >&2"], demux=True)
    assert (code, out, err) == (0, b"to\n", b"fro\n")
    assert b"".join(box.exec_run(["busybox", "seq", "20000"], stream=True).output).endswith(b"20000\n")
    box.exec_run(["sh", "-c", "echo > /tmp/done"], detach=True)
    until(lambda: box.exec_run(["ls", "/tmp/done"]).exit_code == 0)
    # Those that are never started stay with the engine until their container ends.
    with refused("quota.commands"):
        for _ in range(65):
            client.api.exec_create(box.id, ["true"])
    box.restart(timeout=0)
    assert box.exec_run(["busybox", "true"]).exit_code == 0

    # What goes in comes out, to the byte, and ends when its half is closed.
    payload = bytes(range(256)) * 4000
    _, raw = box.exec_run(["busybox", "md5sum"], stdin=True, socket=True)
    raw._sock.sendall(payload)
    raw._sock.shutdown(socket.SHUT_WR)
    said = b"".join(part for _, part in frames(raw._sock)).decode()
    assert said.split()[0] == hashlib.md5(payload).hexdigest(), said
    raw._sock.close()
    box.remove(force=True)

    told = start("echo begun; sleep 1; echo over")
    assert b"".join(told.attach(logs=True, stream=True)) == b"begun\nover\n"
    told.remove(force=True)
    words = {"stdin": 1, "stdout": 1, "stream": 1}
    with echo() as cat:
        raw = cat.attach_socket(params=words)
        cat.start()
        raw._sock.sendall(b"there and back\n")
        assert next(frames(raw._sock)) == (1, b"there and back\n")
        raw._sock.close()
    with echo() as cat:
        cat.start()
        web = attach_web_socket(cat, words)
        web.send("there and back\n")
        assert web.recv() in ("there and back\n", b"there and back\n")
        web.close()


@contextlib.contextmanager
def echo():
    cat = client.containers.create(IMAGE, ["busybox", "head", "-n", "1"], stdin_open=True)
    try:
        yield cat
    finally:
        cat.remove(force=True)


def attach_web_socket(container, words):
    """The library opens web sockets over TCP alone: its part here is the path, the rest is the one that it uses."""
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(SOCKET.removeprefix("unix://"))
    query = "&".join(f"{key}={value}" for key, value in words.items())
    path = f"/v{client.api.api_version}/containers/{container.id}/attach/ws?{query}"
    return websocket.create_connection("ws://docker" + path, socket=stream)


def volumes_and_networks():
    volume = client.volumes.create("data", labels={"course": "7"})
    assert (volume.name, client.volumes.get("data").name) == ("data", "data")
    keep = {"data": {"bind": "/data", "mode": "rw"}}
    client.containers.run(IMAGE, ["sh", "-c", "echo kept > /data/x"], volumes=keep, remove=True)
    assert client.containers.run(IMAGE, ["cat", "/data/x"], volumes=keep, remove=True) == b"kept\n"
    assert [one.name for one in client.volumes.list()] == ["data"]
    volume.remove()
    client.volumes.create("more")
    client.volumes.prune()

    app = client.networks.create("app", driver="bridge", check_duplicate=True, attachable=True)
    assert client.networks.list(names=["app"]) == [app]
    db = start("sleep 1000", name="db", network="app")
    cache = start("sleep 1000", name="cache")
    app.connect(cache, aliases=["store"])
    app.reload()
    assert set(app.containers) == {db, cache}
    cache.reload()
    assert "store" in cache.attrs["NetworkSettings"]["Networks"]["app"]["Aliases"]
    app.disconnect(cache)
    for one in (db, cache):
        one.remove(force=True)
    app.remove()
    idle = client.networks.create("idle")
    assert client.networks.prune()["NetworksDeleted"] == ["idle"]
    with missing():
        idle.reload()


def images():
    assert IMAGE + ":latest" in client.images.get(IMAGE).tags
    own = MARK + "sdk"
    # By its name: an id is for images of one's own alone.
    assert client.api.tag(IMAGE, own, "1") is True
    assert own + ":1" in [tag for image in client.images.list() for tag in image.tags]
    client.images.remove(own + ":1")
    dockerfile = f"FROM {IMAGE}\nRUN echo built > /built\nCMD [\"cat\", \"/built\"]\n".encode()
    image, log = client.images.build(fileobj=io.BytesIO(dockerfile), tag=own, rm=True)
    assert any("Successfully built" in line.get("stream", "") for line in log)
    assert client.containers.run(own, remove=True) == b"built\n"
    assert image.history()
    client.images.remove(own)
    with missing():
        client.images.get(own)


def events():
    since = int(time.time())
    done = start("true", name="short")
    done.wait(timeout=20)
    told = client.events(since=since, until=int(time.time()) + 1, decode=True)
    assert {"create", "start", "die"} <= {one["Action"] for one in told if one["Type"] == "container"}
    done.remove()


def refusals():
    run = lambda **more: client.containers.run(IMAGE, ["busybox", "true"], **more)
    for rule, more in {
        "host-config.privileged": {"privileged": True},
        "host-config.binds": {"volumes": {"/etc": {"bind": "/x", "mode": "ro"}}},
        "host-config.network-mode": {"network_mode": "host"},
        "host-config.pid-mode": {"pid_mode": "host"},
        "host-config.cap-add": {"cap_add": ["SYS_ADMIN"]},
        "host-config.devices": {"devices": ["/dev/sda:/dev/sda"]},
        "host-config.security-opt": {"security_opt": ["seccomp=unconfined"]},
    }.items():
        with refused(rule):
            run(**more)
    with refused("container.image"):
        client.containers.create("unknown:1")
    box = start("sleep 1000", name="box")
    with refused("route.archive"):
        box.get_archive("/etc/passwd")
    with refused("route.archive"):
        box.put_archive("/tmp", b"\0" * 1024)
    for rule, call in {
        "route.commit": lambda: box.commit("mine", "1"),
        "route.pause": box.pause,
        "route.export": lambda: list(box.export()),
        "route.changes": box.diff,
        "route.system-df": client.df,
        "route.push": lambda: client.images.push(IMAGE),
        "route.load": lambda: client.images.load(b"\0" * 1024),
        "route.search": lambda: client.images.search("x"),
        "route.swarm": lambda: client.swarm,
        "exec.privileged": lambda: box.exec_run("true", privileged=True),
        "own.notebook": client.containers.get("jupyter-ann").stop,
    }.items():
        with refused(rule):
            call()
    box.remove(force=True)


def others():
    container, network, volume, image = OTHERS
    for collection, name in (
        (client.containers, container),
        (client.networks, network),
        (client.volumes, volume),
        (client.images, image),
    ):
        with missing():
            collection.get(name)
    for call in ("start", "stop", "kill", "restart", "remove_container", "logs", "top", "wait"):
        with missing():
            getattr(client.api, call)(container)
    with missing():
        client.api.exec_create(container, ["true"])
    assert container not in {one.name for one in client.containers.list(all=True)}
    assert network not in {one.name for one in client.networks.list()}
    assert volume not in {one.name for one in client.volumes.list()}


def quotas():
    """Twenty at once, with room for ROOM: creates of one user are judged one after the other."""

    def create(_):
        try:
            return docker.from_env().containers.create(IMAGE, ["busybox", "true"])
        except docker.errors.APIError as error:
            assert "(rule quota.containers)" in error.explanation, error
            return None

    with ThreadPoolExecutor(20) as pool:
        made = [one for one in pool.map(create, range(20)) if one]
    assert len(made) == ROOM == len(client.containers.list(all=True)) - 1, made
    assert len(client.containers.prune()["ContainersDeleted"]) == ROOM


for part in (system, runs, containers, streams, volumes_and_networks, images, events, refusals, others, quotas):
    begun = time.monotonic()
    part()
    print(f"{part.__name__}: {time.monotonic() - begun:.1f} s")
