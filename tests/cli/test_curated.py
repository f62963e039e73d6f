"""Curated verbs: the table, what is sent for a line, what is said to a wrong one."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import stat
import sys
from pathlib import Path

import pytest
from small_cloud import Mold, SmallCloud, api, uid

from mold.cli import phrases
from mold.cli.verbs import NOUNS, VERBS

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "commands.json").read_text())
CREATE = ("vm", "create", "web9", "--image", "Debian 12", "--offering", "small", "--zone", "seoul")


# ---- the table


def test_the_table_says_what_the_server_has() -> None:
    """Every parameter of a row is one of its command's; every word has a meaning in both languages."""
    wrong = []
    for verb in VERBS.values():
        named = {*verb.takes, *verb.options.values(), *verb.sends}
        wanted = {found for text in named if (found := re.match(r"[a-z0-9]*", text).group())}  # type: ignore[union-attr]
        for command in verb.commands:
            known = set(GOLDEN[command]["params"]) if command in GOLDEN else wanted
            if verb.words == "forward show":
                known = known | {"id"}  # listPortForwardingRules says so as soon as there are rules to list
            wrong += [f"{verb.words}: {command} has no {name}" for name in sorted(wanted - known)]
        wrong += [f"{verb.words}: nobody says what --{name} is" for name in verb.options.keys() - phrases.ALSO.keys()]
        assert phrases.verb(verb.noun, verb.name)
    assert not wrong


def test_nouns_are_no_verbs_of_the_server() -> None:
    assert not set(NOUNS) & {re.match("[a-z0-9]*", name).group() for name in GOLDEN}  # type: ignore[union-attr]


# ---- what is sent


def test_a_machine_is_created(cloud: SmallCloud, signed: Mold) -> None:
    ran = signed(
        *CREATE, "--network", "net-1", "--network", "net-2", "--stopped", "--detail", "a=b", "--size", "5", "--wait"
    )
    assert ran.code == 0, ran.err
    sent = cloud.calls("deployVirtualMachine")[0].form
    assert sent["name"] == "web9" and sent["templateid"] == uid("debian") and sent["zoneid"] == uid("seoul")
    assert sent["networkids"] == f"{uid('net-1')},{uid('net-2')}" and sent["startvm"] == "false"
    assert sent["details[0].a"] == "b" and sent["size"] == "5"


def test_options_stand_anywhere_and_any_parameter_is_reached(cloud: SmallCloud, signed: Mold) -> None:
    ran = signed("-o", "json", *CREATE[:2], "--no-wait", *CREATE[3:], "name=by-word", "--startvm")
    assert ran.code == 0 and json.loads(ran.out)["jobid"] == uid("job-0")
    sent = cloud.calls("deployVirtualMachine")[0].form
    assert sent["name"] == "by-word" and sent["startvm"] == "true"


def test_lists_and_shows(cloud: SmallCloud, signed: Mold) -> None:
    ran = signed("vm", "list", "--state", "Running", "--tag", "env=prod", "--tag", "tier=web")
    assert ran.code == 0 and ran.out.splitlines()[0].split() == ["NAME", "STATE", "ZONENAME", "ACCOUNT", "ID"]
    sent = cloud.calls("listVirtualMachines")[0].query
    assert sent["listall"] == "true" and sent["tags[1].key"] == "tier" and sent["tags[1].value"] == "web"
    shown = signed("vm", "show", "web1", "-o", "json")
    assert json.loads(shown.out)["virtualmachine"]["name"] == "web1"
    assert signed("vm", "show", "nope").code == 2


def test_several_at_once(cloud: SmallCloud, signed: Mold) -> None:
    """All are sent before the first is waited for, and shown as one list."""
    ran = signed("vm", "stop", "web1", uid("web1-busan"), "--force", "-o", "json")
    assert ran.code == 0 and json.loads(ran.out)["count"] == 2
    order = [seen.command for seen in cloud.seen if seen.command in ("stopVirtualMachine", "queryAsyncJobResult")]
    assert order[:3] == ["stopVirtualMachine", "stopVirtualMachine", "queryAsyncJobResult"]
    assert all(seen.form["forced"] == "true" for seen in cloud.calls("stopVirtualMachine"))
    cloud.job_fails = {"errorcode": 530, "errortext": "No answer"}
    ran = signed("vm", "stop", "web1", uid("web1-busan"))
    assert ran.code == 5 and ran.err.count("No answer") == 2 and "2 of 2 failed" in ran.err


def test_the_only_zone_need_not_be_named(cloud: SmallCloud, signed: Mold) -> None:
    ran = signed("pod", "create", "p1")
    assert ran.code == 2 and "--zone: busan, seoul" in ran.err
    cloud.zones.pop()
    assert signed("pod", "create", "p1").code == 0
    assert cloud.calls("createPod")[0].form["zoneid"] == uid("seoul")


def test_files_and_stdin(cloud: SmallCloud, signed: Mold, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "init.yaml").write_text("#cloud-config\n")
    assert signed("userdata", "register", "web", "--file", "init.yaml").code == 0
    assert base64.b64decode(cloud.calls("registerUserData")[0].form["userdata"]) == b"#cloud-config\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from stdin")))
    assert signed("userdata", "register", "web", "--file", "-").code == 0
    assert base64.b64decode(cloud.calls("registerUserData")[1].form["userdata"]) == b"from stdin"
    assert "cannot be used" in signed("userdata", "register", "web", "--file", "nowhere").err


def test_a_key_is_saved_and_not_shown(cloud: SmallCloud, signed: Mold, home: Path) -> None:
    ran = signed("key", "create", "me", "--save", "me.pem")
    assert ran.code == 0 and "HALF" not in ran.out + ran.err
    assert (home / "me.pem").read_text() == "PRIVATE\nHALF\n" and stat.S_IMODE(
        os.stat(home / "me.pem").st_mode
    ) == 0o600
    assert signed("key", "create", "me", "--save", "me.pem").code == 2  # an old key is never overwritten
    assert len(cloud.calls("createSSHKeyPair")) == 1
    assert "HALF" in signed("key", "create", "me").out


def test_a_file_is_uploaded_where_the_server_says(cloud: SmallCloud, signed: Mold, home: Path) -> None:
    from python_multipart import parse_form

    content = os.urandom(3 << 20)
    (home / 'a"b.qcow2').write_bytes(content)
    line = ("image", "upload", "mine", "--file", 'a"b.qcow2', "--hypervisor", "KVM", "--zone", "seoul")
    assert signed(*line).code == 0
    headers, body = cloud.uploads[0]
    assert (headers["x-signature"], headers["x-metadata"], headers["x-expires"]) == ("S", "M", "E")
    files = []
    parse_form({"Content-Type": headers["content-type"].encode(), "Content-Length": b"%d" % len(body)}, io.BytesIO(body), lambda field: None, files.append)  # fmt: skip
    files[0].file_object.seek(0)
    assert files[0].field_name == b"file" and files[0].file_object.read() == content
    cloud.upload_status = 507
    ran = signed(*line)
    assert ran.code == 4 and "The disk is full." in ran.err
    assert signed("image", "upload", "mine", "--hypervisor", "KVM", "--zone", "seoul").code == 2
    assert signed("image", "upload", "mine", "--file", "nowhere", "--hypervisor", "KVM", "--zone", "seoul").code == 2


def test_limits_by_name(cloud: SmallCloud, signed: Mold) -> None:
    assert signed("limit", "set", "memory", "1024", "--account", "kim", "--domain", "/a/dev").code == 0
    sent = cloud.calls("updateResourceLimit")[0].form
    assert (sent["resourcetype"], sent["max"], sent["account"], sent["domainid"]) == (
        "9",
        "1024",
        "kim",
        uid("ROOT/a/dev"),
    )
    assert signed("limit", "set", "nonsense", "1").code == 2


def test_tags_by_noun_and_name(cloud: SmallCloud, signed: Mold) -> None:
    assert signed("tag", "add", "vm", "web1", "--tag", "env=prod").code == 0
    sent = cloud.calls("createTags")[0].form
    assert (sent["resourceids"], sent["tags[0].key"], sent["tags[0].value"]) == (uid("web1"), "env", "prod")


# ---- what is said


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("vm", "needs a verb"),
        ("vm crate", "Did you mean create"),
        ("vm delete web1", "Did you mean destroy?"),
        ("network rm net1", "Did you mean delete?"),
        ("vm migrate web1", "is not offered"),
        ("vm create web1", "--offering, --image"),
        ("vm create web1 web2", "one word too many"),
        ("vm start", "needs VM"),
        ("vm create web1 --nonsense", "--nonsense"),
        ("vm create web1 --detail x", "KEY=VALUE"),
        ("vm create web1 --size many --image a --offering b --zone c", "a number"),
        ("vm stop twin", "more than one thing"),
        ("vm destroy web1", "--yes"),
        ("vm list --filter state", "is no filter"),
        ("vm list --query [", "is no JMESPath"),
    ],
)
def test_wrong_lines_end_with_2_and_change_nothing(cloud: SmallCloud, signed: Mold, line: str, told: str) -> None:
    ran = signed(*line.split())
    assert ran.code == 2 and told in ran.err, ran.err
    assert all(seen.method == "GET" for seen in cloud.seen)


def test_what_the_server_has_not_is_hidden(cloud: SmallCloud, signed: Mold) -> None:
    signed("sync")
    told = signed("vm", "--help").out
    assert "start" in told and "migrate" not in told
    assert "\n  vm " in signed("--help").out and "\n  vpc " not in signed("--help").out
    cloud.apis.append(
        api("migrateVirtualMachine", "Moves", ("virtualmachineid", "uuid", True, "listVirtualMachines"), isasync=True)
    )
    assert signed("vm", "migrate", "web1").code == 0  # the list of commands is fetched again


def test_help(signed: Mold) -> None:
    told = signed("vm", "create", "--help").out
    assert "mold vm create web1 --image debian" in told and "--image VALUE" in told and "id or name" in told
    assert "가상 머신" in signed("vm", "create", "--help", "--lang", "ko").out
    assert signed("vm", "stop", "--help").code == 0


# ---- answers


def test_filters_and_order(cloud: SmallCloud, signed: Mold) -> None:
    for number, machine in enumerate(cloud.machines):
        machine["memory"] = str(10**number)
    assert signed("vm", "list", "--filter", "state!=Running", "--filter", "zonename~bus", "-o", "name").out == "twin\n"
    assert signed("vm", "list", "--filter", "memory>=10", "--sort-by", "-memory", "--columns", "memory", "--no-header").out.split() == ["100", "10"]  # fmt: skip
    assert signed("list", "virtualmachines", "--sort-by", "account,-memory", "-o", "csv", "--columns", "account,memory").out.split() == ["account,memory", "admin,10", "admin,1", "kim,100"]  # fmt: skip
    assert signed("network", "list", "--filter", "name=net-1199", "-o", "name").out == "net-1199\n"  # on the third page


def test_queries(signed: Mold) -> None:
    assert signed("vm", "list", "--query", "virtualmachine[?state=='Running'].name").out == "web1\n"
    assert json.loads(signed("vm", "list", "-o", "json", "--query", "length(virtualmachine)").out) == 3
    table = signed("list", "virtualmachines", "--query", "virtualmachine[].{n: name, s: state}", "-o", "csv").out
    assert table.splitlines()[:2] == ["n,s", "web1,Running"]
    assert signed("vm", "list", "--query", "nothing").out == ""


# ---- plans


def test_dry_run_shows_the_call_and_the_verdict(cloud: SmallCloud, signed: Mold) -> None:
    ran = signed(*CREATE, "--dry-run", "-o", "json")
    told = json.loads(ran.out)
    assert told["command"] == "deployVirtualMachine" and told["templateid"] == uid("debian")
    assert told["deploymentplan"]["accepted"] == 1 and "limits" not in told
    assert not cloud.calls("deployVirtualMachine")
    assert signed("vm", "destroy", "web1", "--dry-run").code == 0  # nothing to ask about
    assert not cloud.calls("destroyVirtualMachine")


def test_explain_says_why(cloud: SmallCloud, signed: Mold) -> None:
    told = signed(*CREATE, "--explain").out
    assert "1 hosts can take it, 1 cannot." in told
    assert "h2: cannot: 4096 MiB memory are needed, 512 MiB are free, it is Down" in told
    assert "does not fit the account's limits: 2 of 2 machines" in told
    assert "메모리 4096 MiB" in signed(*CREATE, "--explain", "--lang", "ko").out
    assert not cloud.calls("deployVirtualMachine")


# ---- the live stream

FIRST = (
    b'retry: 1\nid: 1\nevent: hello\ndata: {"heartbeat": 15}\n\n'
    b'id: 2\nevent: job\ndata: {"id": "j", "cmd": "startVirtualMachine", "pct": 40, "step": "boot", "status": 0}\n\n'
    b"id: 3\n: heartbeat\n\n"
)
SECOND = b'id: 4\nevent: reset\ndata: {}\n\nid: 5\nevent: resource\ndata: {"type": "virtualmachine", "id": "v", "op": "set", "state": "Running", "changed": ["state"]}\n\n'


def test_the_stream_is_followed_and_resumed(cloud: SmallCloud, signed: Mold) -> None:
    cloud.streams = [FIRST, SECOND]
    ran = signed("events", "-f")
    assert ran.code == 4 and "no live stream" in ran.err  # the third time nothing is there any more
    assert cloud.last_event_ids == ["", "3", "5"]
    lines = [line.split(None, 1)[1] for line in ran.out.splitlines()]
    assert lines == ["job       startVirtualMachine j 40% boot", "virtualmachine v set Running state"]
    assert "no longer knows" in ran.err


def test_the_stream_as_json_and_filtered(cloud: SmallCloud, signed: Mold) -> None:
    cloud.streams = [FIRST, SECOND]
    ran = signed("events", "-f", "-o", "json", "--filter", "event=resource")
    assert [json.loads(line)["state"] for line in ran.out.splitlines()] == ["Running"]
    cloud.keys.clear()
    assert signed("events", "-f").code == 3
