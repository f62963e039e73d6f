"""Answers travel under the names that clients know: the envelope, the key inside, the shape, whether there is a job.

`tests/golden/wire_facts.tsv` holds what is known of each command of the API.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mold.api.command import COMMANDS
from mold.features.identity.activity import classes
from mold.server.app import load

load()
LINES = (Path(__file__).parent.parent / "golden" / "wire_facts.tsv").read_text().splitlines()[1:]
FACTS = {name: rest for name, *rest in (line.split("\t") for line in LINES)}
DIFFERENT = {
    ("updateImageStore", "envelope"): "the known one is that of its errors; its successes end in response",
    ("getSPMetadata", "key"): "an object has no key of its own there: it is answered as XML",
    ("listAndSwitchSamlAccount", "key"): "it lists when it does not switch",
    ("listAndSwitchSamlAccount", "shape"): "it lists when it does not switch",
    ("listIdps", "shape"): "it is a list, whatever the facts say of its class",
}
"""(command, what) -> why it is not as known."""


@pytest.mark.parametrize("name", sorted(set(COMMANDS) & set(FACTS)))
def test_a_command_answers_as_it_is_known(name: str) -> None:
    made = COMMANDS[name]
    envelope, key, shape, job, creates = FACTS[name]
    found = {
        "envelope": (made.envelope, f"{name.lower()}response" if envelope == "-" else envelope),
        "async": (made.job, job == "job"),
        "creates": (made.creates, creates == "creates"),
    }
    if made.shape in ("list", "object"):
        found["key"] = (made.key, key)
    if shape in ("list", "object", "success") and made.shape != "flat":
        found["shape"] = (made.shape, shape)
    for what, (mine, known) in found.items():
        if (name, what) in DIFFERENT:
            assert mine != known, f"{name} does not differ in {what} any more"
        else:
            assert mine == known, f"{name}: {what}"


def test_every_job_of_the_api_has_the_name_that_clients_know() -> None:
    jobs = {name for name, facts in FACTS.items() if facts[3] == "job"}
    assert jobs <= set(classes()), "in classes.tsv"
