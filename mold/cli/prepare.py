"""What a fresh Debian 12 machine needs before Mold can run on it: `python3 mold/cli/prepare.py host test`.

The rule that would surprise: this file runs on the system's own Python before any virtual environment exists, so it
imports the standard library alone — not even `mold.base` — and has its own refusal, `NotPrepared`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

INSTALL_SECONDS = 1800.0
LIBVIRT_URI = "qemu:///system"

PYTHON = ("python3", "python3-venv", "ca-certificates")
LDAP = ("libldap-dev", "libsasl2-dev", "gcc", "libc6-dev", "python3-dev")
"""The LDAP library for Python is compiled on the machine."""
SAML = ("xmlsec1",)
"""The program that checks and makes XML signatures."""
PACKAGES: dict[str, tuple[str, ...]] = {
    # The manager alone: SQLite comes with Python, PostgreSQL's client library with psycopg.
    "manager": PYTHON,
    # A host: libvirt and QEMU, networks, and what the tiny template and the router are made of.
    "host": (
        *PYTHON,
        "libvirt-daemon-system", "libvirt-clients", "qemu-system-x86", "qemu-utils", "ovmf",
        "libvirt-dev", "pkg-config", "gcc", "libc6-dev", "python3-dev",  # libvirt-python is compiled on the machine
        "dnsmasq-base", "nftables", "iproute2", "kmod", "procps", "util-linux", "openssh-client",
        "linux-image-cloud-amd64", "busybox-static", "dropbear-bin", "qemu-guest-agent", "grub-pc-bin", "grub-common",
        "e2fsprogs",
    ),
    # What the tests need on top.
    "test": ("postgresql", "openssh-server", "tini", "chromium", "fonts-noto-cjk", "slapd", *LDAP, *SAML),
    # A manager that signs people in with a directory, or through a SAML identity provider.
    "ldap": (*PYTHON, *LDAP),
    "saml": (*PYTHON, *SAML),
    # A host whose agent a manager installs over SSH, with its libraries: nothing is compiled and no image built there.
    "agent": (
        "python3", "libvirt-daemon-system", "qemu-system-x86", "qemu-utils", "ovmf",
        "dnsmasq-base", "nftables", "iproute2", "kmod", "procps", "util-linux", "e2fsprogs",
    ),
}  # fmt: skip


class NotPrepared(Exception):
    """The machine lacks something. The text says what, and the command that helps."""


def packages_for(role: str) -> tuple[str, ...]:
    """The Debian packages of a role: `manager`, `host`, `test`, `agent`, `ldap` or `saml`. Raises `NotPrepared` for another word."""
    if role not in PACKAGES:
        raise NotPrepared(f"There is no role {role!r}. The roles are: {', '.join(PACKAGES)}.")
    return PACKAGES[role]


def missing(*roles: str) -> list[str]:
    """The packages of these roles that are not installed, each once, in the table's order."""
    wanted = list(dict.fromkeys(package for role in roles for package in packages_for(role)))
    if not wanted:
        return []
    if shutil.which("dpkg-query") is None:
        raise NotPrepared(
            "This machine has no dpkg-query, so it is not a Debian. "
            f"Install what corresponds to these packages by other means: {' '.join(wanted)}"
        )
    # It fails when one of them is unknown to it, and still lists the others.
    asked = _ask("dpkg-query", "--show", "--showformat=${binary:Package} ${db:Status-Status}\n", *wanted)
    lines = (line.split() for line in asked.stdout.splitlines())
    installed = {fields[0].partition(":")[0] for fields in lines if fields[1:] == ["installed"]}
    return [package for package in wanted if package not in installed]


def ensure(*roles: str) -> list[str]:
    """Installs what these roles lack and returns the packages it installed.

    Raises `NotPrepared`, which names the packages and the command, for everybody but root and where apt-get fails.
    """
    lacking = missing(*roles)
    if not lacking:
        return []
    by_hand = f"apt-get install --no-install-recommends {' '.join(lacking)}"
    if os.geteuid() != 0:
        raise NotPrepared(f"These Debian packages are missing and only root can install them. Run: sudo {by_hand}")
    if _install(lacking):
        _apt_get("update", "--quiet")  # the lists may be old or, on a fresh machine, not there at all
        if ended := _install(lacking):
            raise NotPrepared(f"apt-get ended with {ended} and said why above. To try by hand: {by_hand}")
    if still := missing(*roles):
        raise NotPrepared(f"apt-get was content, yet these packages are not installed: {' '.join(still)}")
    return lacking


def ensure_libvirtd(*, seconds: float = 60.0) -> None:
    """Makes libvirt answer: starts its daemon if nobody has, and waits at most `seconds`.

    Uses systemd where that runs the machine, else starts `virtlogd` and `libvirtd` directly. Raises `NotPrepared`.
    """
    if shutil.which("virsh") is None or _find("libvirtd") is None:
        raise NotPrepared(f"libvirt is not installed. Run: python3 {__file__} host")
    if _libvirt_complaint() is None:
        return
    if os.geteuid() != 0:
        raise NotPrepared(f"libvirt does not answer ({_libvirt_complaint()}) and only root can start it.")
    if Path("/run/systemd/system").is_dir():
        commands = [["systemctl", "start", "libvirtd"]]
    else:
        commands = [[_find(daemon) or daemon, "-d"] for daemon in ("virtlogd", "libvirtd") if not _runs(daemon)]
    for command in commands:
        started = _ask(*command)
        if started.returncode != 0:
            raise NotPrepared(f"`{' '.join(command)}` ended with {started.returncode}: {_last_line(started.stderr)}")
    until = time.monotonic() + seconds
    while (complaint := _libvirt_complaint()) is not None:
        if time.monotonic() > until:
            raise NotPrepared(f"libvirtd was started but does not answer after {seconds:.0f} seconds: {complaint}")
        time.sleep(0.3)


def _libvirt_complaint() -> str | None:
    """What virsh says against the system's libvirt; None when it answers."""
    try:
        asked = _ask("virsh", "-c", LIBVIRT_URI, "version")
    except subprocess.TimeoutExpired as late:
        return f"no answer within {late.timeout:.0f} seconds"
    return None if asked.returncode == 0 else _last_line(asked.stderr)


def _runs(daemon: str) -> bool:
    """True while a process of that name holds the daemon's own pid file."""
    try:
        pid = int(Path(f"/run/{daemon}.pid").read_text())
        return Path(f"/proc/{pid}/comm").read_text().strip() == daemon
    except (OSError, ValueError):
        return False


def _install(packages: Iterable[str]) -> int:
    return _apt_get("install", "--quiet", "--yes", "--no-install-recommends", *packages)


def _apt_get(*arguments: str) -> int:
    """Runs apt-get with its output shown, asking nobody anything; gives its exit status."""
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "APT_LISTCHANGES_FRONTEND": "none"}
    command = ["apt-get", "-o", "DPkg::Lock::Timeout=300", *arguments]
    print(f"$ {' '.join(command)}", flush=True)
    try:
        ended = subprocess.run(
            command, env=quiet, stdin=subprocess.DEVNULL, timeout=INSTALL_SECONDS, check=False
        )
    except FileNotFoundError:
        raise NotPrepared("This machine has no apt-get, so it is not a Debian.") from None
    except subprocess.TimeoutExpired:
        raise NotPrepared(f"apt-get did not finish within {INSTALL_SECONDS:.0f} seconds.") from None
    return ended.returncode


def _ask(*command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of this file to its end, within a minute, and gives its status and output."""
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )


def _find(daemon: str) -> str | None:
    """Where a daemon lies; the system folders count even where a person's PATH leaves them out."""
    return shutil.which(daemon, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no reason given"


def main(arguments: list[str]) -> int:
    """`prepare.py ROLE…` installs, `prepare.py --check ROLE…` only says what is missing."""
    roles = [word for word in arguments if word != "--check"]
    if not roles or any(role.startswith("-") for role in roles):
        print(f"Usage: python3 {__file__} [--check] ROLE…    roles: {', '.join(PACKAGES)}", file=sys.stderr)
        return 2
    try:
        if "--check" in arguments:
            lacking = missing(*roles)
            print("\n".join(lacking) if lacking else "Nothing is missing.")
            return 1 if lacking else 0
        if installed := ensure(*roles):
            print(f"Installed: {' '.join(installed)}")
    except NotPrepared as refusal:
        print(refusal, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
