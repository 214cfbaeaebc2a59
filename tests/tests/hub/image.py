"""Prints what this Python needs to run elsewhere, one path a line: itself, its library, its packages, and the shared
objects that these are linked with; and the same of the programs that it is given."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

LEFT_OUT = {"test", "idlelib", "tkinter", "turtledemo", "ensurepip", "pip", "setuptools", "debugpy"}
LEFT_OUT |= {f"config-3.{sys.version_info.minor}-x86_64-linux-gnu"}


def below(top: Path, left_out: set[str]) -> list[Path]:
    files = []
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if name not in left_out]
        files += [Path(folder, name) for name in names]
    return files


def with_links(path: str) -> set[str]:
    """A path, and all that it leads through."""
    found = set()
    at = Path("/")
    for part in Path(path).parts[1:]:
        at /= part
        if at.is_symlink():
            found.add(str(at))
            target = Path(os.path.normpath(at.parent / os.readlink(at)))
            return found | with_links(str(target.joinpath(*Path(path).parts[len(at.parts):])))
    return found | {str(at)}


library = Path(sysconfig.get_path("stdlib"))
packages = Path(sysconfig.get_path("purelib"))
files = below(library, LEFT_OUT | {"site-packages", "dist-packages"})
files += below(packages, LEFT_OUT)
files += [Path(sys.prefix, "pyvenv.cfg"), *below(Path(sys.prefix, "bin"), set())]
files += below(Path(sys.prefix, "share", "jupyter"), set())
files += below(Path(sys.prefix, "etc"), set())
files = [path for path in files if not path.name.startswith("_tkinter")]
objects = [str(path) for path in files if ".so" in path.name]
executable = os.path.realpath(sys.executable)
linked = subprocess.run(
    ["ldd", executable, *objects, *sys.argv[1:]], capture_output=True, text=True, check=False
).stdout
words = {word for line in linked.splitlines() for word in line.split() if word.startswith("/")}
shared = {os.path.normpath(word.rstrip(":")) for word in words}
paths = set()
for path in [*map(str, files), executable, *shared, *sys.argv[1:]]:
    if os.path.exists(path):
        paths |= with_links(path)
print("\n".join(sorted(paths)))
