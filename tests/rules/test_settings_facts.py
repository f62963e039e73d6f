"""Settings are what clients and operators of the API know under their names: type, default, category, scopes, options.

`tests/golden/settings_facts.tsv` holds what is known of each; where Mold differs, it is said here why.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mold.features.infra.settings import GROUPS, group_of
from mold.server.app import load
from mold.store.settings import KINDS, SETTINGS

load()
COLUMNS = ("type", "default", "category", "scope", "options", "csv", "parent", "secret")


def _facts() -> dict[str, dict[str, str]]:
    lines = (Path(__file__).parent.parent / "golden" / "settings_facts.tsv").read_text().splitlines()[1:]
    cells = [line.split("\t") + [""] * len(COLUMNS) for line in lines]
    return {c[0]: dict(zip(COLUMNS, c[1:], strict=False)) for c in cells}


FACTS = _facts()

OURS = {
    "webhook.allowed.internal.sites": "webhooks of tenants do not reach private networks unless an operator says so",
    "session.timeout": "in a file of the server there, a setting here",
    "consoleproxy.session.ticket.seconds": "consoles are opened with tickets",
    "power.report.grace.seconds": "hosts' reports are believed after a while",
    "vm.stop.grace.seconds": "how long a guest may take to shut down",
    "host.connect.timeout": "addHost waits for the agent",
    "host.reserved.mem.mb": "a key of the agent's own file there",
    "signin.failures.per.minute": "users are locked out there, addresses are not slowed down",
    "ldap.connection.security": "StartTLS is not spoken there",
}
"""Settings that nobody else has, and why there is one."""
DIFFERENT: dict[tuple[str, str], str] = {
    ("cluster.threshold.enabled", "default"): "a cloud of one host is to be filled; who keeps room asks for it",
    ("alert.smtp.useAuth", "scope"): "all managers send through the same mail server",
    ("ping.interval", "default"): "a dead host is to be noticed within a minute",
    ("vm.network.throttling.rate", "default"): "nothing is held back that nobody asked to hold back",
    ("storage.stats.interval", "type"): "a number, although it is kept as a text there",
    ("user.2fa.issuer", "default"): "what people see in their authenticator",
    ("saml2.default.idpid", "default"): "an identity provider of others is nobody's default",
    ("saml2.idp.metadata.url", "default"): "an identity provider of others is nobody's default",
    ("saml2.sigalg", "default"): "SHA-1 is broken",
    ("saml2.sp.contact.email", "default"): "our own",
    ("saml2.sp.contact.person", "default"): "our own",
    ("saml2.sp.id", "default"): "our own",
    ("saml2.sp.org.name", "default"): "our own",
    ("saml2.sp.org.url", "default"): "our own",
    ("vm.password.length", "default"): "6 characters are guessed in an afternoon",
    ("vm.allocation.algorithm", "scope"): "also for a cluster",
    ("vm.allocation.algorithm", "options"): "the two that a planner of its own does there",
}
"""(name, what) -> why it is not as known."""


def _scopes(declared: Any) -> str:
    return ",".join(sorted({"storage": "storagepool"}.get(s, s) for s in declared.scopes)) or "global"


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_a_setting_is_as_it_is_known(name: str) -> None:
    declared, facts = SETTINGS[name], FACTS.get(name)
    if facts is None:
        assert name in OURS, f"{name} is not known: say in OURS why there is such a setting, or mend its name"
        return
    assert name not in OURS
    found: dict[str, Any] = {
        "type": declared.shape,
        "default": declared.default,
        "category": declared.category,
        "scope": _scopes(declared),
        "options": ",".join(declared.choices),
        "csv": "csv" if declared.many else "",
        "parent": declared.parent,
        "secret": "secret" if declared.secret else "",
    }
    for what, known in facts.items():
        mine, theirs = found[what], known
        if what == "default" and known == "-":
            continue
        if what == "options" and not known:
            continue
        if what == "default":
            theirs = declared.read(known)
        if (name, what) in DIFFERENT:
            assert mine != theirs, f"{name} does not differ in {what} any more"
        else:
            assert mine == theirs, f"{name}: {what}"


def test_exceptions_are_of_settings_that_there_are() -> None:
    assert {n for n, _ in DIFFERENT} | set(OURS) <= set(SETTINGS)


def test_every_setting_has_a_group_scopes_that_exist_and_a_unit_if_it_counts() -> None:
    for s in SETTINGS.values():
        group, subgroup = group_of(s)
        assert subgroup in GROUPS[group][1], s.name
        assert set(s.scopes) <= set(KINDS), s.name
        assert not s.parent or s.parent in SETTINGS, s.name
        words = s.name.split(".")
        if {"interval", "delay", "timeout", "wait", "period", "minutes", "seconds", "size"} & set(words):
            assert s.unit or s.default is False or "page" in words, f"{s.name} counts something: give its unit"
