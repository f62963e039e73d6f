"""Unpacks Ansible's CloudStack collection, which the tests run, out of the `ansible` distribution: 70 files of its 40,000.

The rule that would surprise: `ansible` itself is never installed. Its wheel is fetched with the hashes of
requirements.lock, the one folder is taken out of it, and the rest is thrown away.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

FOLDER = "ansible_collections/ngine_io/cloudstack/"


def locked(lock: str, name: str) -> str:
    """The lines of the lock for `name`: its version and its hashes."""
    found: list[str] = []
    for line in lock.splitlines():
        if line.startswith(f"{name}==") or (found and line.startswith(" ")):
            found.append(line)
        elif found:
            break
    if not found:
        raise SystemExit(f"requirements.lock has no {name}; make lock writes it.")
    return "\n".join(found) + "\n"


def main(lock: Path, target: Path) -> None:
    """Fetch the wheel that `lock` names and unpack the collection into `target`."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "requirements.txt"
        wanted.write_text(locked(lock.read_text(), "ansible"))
        fetch = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*fetch, "--only-binary", ":all:", "--require-hashes", "-r", wanted, "-d", folder], check=True)
        (wheel,) = Path(folder).glob("ansible-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.startswith(FOLDER) and "/tests/" not in name]
            archive.extractall(target, names)
    print(f"{target / FOLDER}: {len(names)} files")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
