"""Calling commands: grammar, checks, names, output, jobs, exit codes, help, completion."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from small_cloud import Mold, SmallCloud, api, uid

from mold.cli import words
from mold.cli.show import yaml_lines

DEPLOY = ("deploy", "virtualmachine", "zoneid=seoul", "templateid=Debian 12", "serviceofferingid=small")


# ---- grammar and checks


def test_both_grammars_send_the_same(cloud: SmallCloud, signed: Mold) -> None:
    first = signed("list", "zones", "available=true", "-o", "json")
    second = signed("-o", "json", "api", "listZones", "available=true")
    assert first.code == second.code == 0 and first.out == second.out
    sent = [
        {k: v for k, v in seen.query.items() if k not in ("signature", "expires")} for seen in cloud.calls("listZones")
    ]
    assert sent[0] == sent[1] and sent[0]["available"] == "true"
    assert json.loads(first.out) == {"count": 2, "zone": cloud.zones}


def test_nouns_and_parameters_take_any_case(cloud: SmallCloud, signed: Mold) -> None:
    assert signed("list", "virtualMachines", "zoneId=seoul").code == 0
    assert cloud.calls("listVirtualMachines")[0].query["zoneid"] == uid("seoul")


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (("list", "zonez"), "zones"),
        (("lst", "zones"), "list"),
        (("list",), "needs a noun"),
        (("list", "zones", "avialable=true"), "available"),
        (("list", "zones", "available=yes"), "true or false"),
        (("list", "zones", "page=one"), "a number"),
        (("list", "zones", "seoul"), "name=value"),
        (("list", "zones", "name=a", "NAME=b"), "twice"),
        (("list", "zones", "response=xml"), "-o"),
        (("create", "zone", "name="), "may not be empty"),
        (("deploy", "virtualmachine", "name=a"), "serviceofferingid, templateid, zoneid"),
        ((*DEPLOY, "details=x"), "details[0].FIELD"),
        ((*DEPLOY, "details[a].b=c"), "number in the brackets"),
        ((*DEPLOY, "name[0].b=c"), "plain value"),
        (("list", "zones", "-o", "xml"), "xml"),
        (("list", "zones", "--nonsense"), "--nonsense"),
    ],
)
def test_wrong_calls_are_told_before_anything_is_sent(
    cloud: SmallCloud, signed: Mold, call: tuple[str, ...], told: str
) -> None:
    ran = signed(*call)
    assert ran.code == 2 and told in ran.err and ran.out == ""
    assert {seen.command for seen in cloud.seen} <= {"listApis"}


def test_a_parameter_called_like_an_option_is_the_servers(cloud: SmallCloud, signed: Mold) -> None:
    assert signed("issue", "power", "timeout=5").code == 0
    assert cloud.calls("issuePower")[0].form["timeout"] == "5"


# ---- names


def test_names_become_ids(cloud: SmallCloud, signed: Mold) -> None:
    assert signed(*DEPLOY, "networkids=net-7,net-1100", "--no-wait").code == 0
    sent = cloud.calls("deployVirtualMachine")[0].form
    assert sent["zoneid"] == uid("seoul") and sent["templateid"] == uid("debian")
    assert sent["serviceofferingid"] == uid("small")
    assert sent["networkids"] == f"{uid('net-7')},{uid('net-1100')}"
    assert all(seen.query["zoneid"] == uid("seoul") for seen in cloud.calls("listNetworks"))


def test_ids_are_sent_without_asking(cloud: SmallCloud, signed: Mold) -> None:
    assert signed("start", "virtualmachine", f"id={uid('web1')}", "--no-wait").code == 0
    assert not cloud.calls("listVirtualMachines") and not cloud.calls("listVnfAppliances")


def test_the_list_of_the_own_noun_is_asked(cloud: SmallCloud, signed: Mold) -> None:
    assert signed("start", "virtualmachine", "id=web1", "--no-wait").code == 0
    assert cloud.calls("startVirtualMachine")[0].form["id"] == uid("web1")
    assert cloud.calls("listVirtualMachines")[0].query["listall"] == "true"
    assert not cloud.calls("listVnfAppliances")


def test_an_ambiguous_name_names_its_meanings(cloud: SmallCloud, signed: Mold) -> None:
    ran = signed("stop", "virtualmachine", "id=twin")
    assert ran.code == 2
    assert uid("web1-busan") in ran.err and uid("web1-seoul") in ran.err and "busan" in ran.err
    assert not cloud.calls("stopVirtualMachine")


def test_part_of_a_name_is_not_the_name(cloud: SmallCloud, signed: Mold) -> None:
    ran = signed("stop", "virtualmachine", "id=web")
    assert ran.code == 2 and "Nothing is called 'web'" in ran.err
    assert signed("stop", "virtualmachine", "id=42").code == 4  # maybe an internal number: the server says


def test_domains_by_path_and_what_lies_inside_others(cloud: SmallCloud, signed: Mold) -> None:
    ran = signed("add", "accounttoproject", "projectid=p", "projectroleid=ops", "domainid=/b/dev")
    assert ran.code == 0, ran.err
    sent = cloud.calls("addAccountToProject")[0].form
    assert sent["domainid"] == uid("ROOT/b/dev")
    assert sent["projectid"] == uid("p-b")  # two are called p, one of them is in the domain
    assert sent["projectroleid"] == uid("role" + uid("p-b"))
    assert signed("add", "accounttoproject", "projectid=p", "domainid=dev").code == 2
    assert signed("add", "accounttoproject", "projectid=p", "domainid=ROOT", "account=b").code == 0
    assert cloud.calls("addAccountToProject")[1].form["projectid"] == uid("p-b")
    assert signed("list", "virtualmachines", "projectid=p").code == 2
    assert signed("list", "virtualmachines", f"projectid={uid('p-a')}").code == 0


# ---- output


def test_the_table_has_sensible_columns_and_no_colour_in_a_pipe(signed: Mold) -> None:
    ran = signed("list", "virtualmachines")
    lines = ran.out.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "ZONENAME", "ACCOUNT", "CREATED", "ID"]
    assert lines[1].split() == ["web1", "Running", "seoul", "admin", "2026-01-02T03:04:05+0000", uid("web1")]
    assert "\x1b" not in ran.out + ran.err and ran.err == ""
    assert "NAME" not in signed("list", "virtualmachines", "--no-header").out


def test_filter_and_columns_choose(cloud: SmallCloud, signed: Mold) -> None:
    ran = signed("list", "virtualmachines", "filter=id,name", "state=Running")
    assert [line.split() for line in ran.out.splitlines()] == [["ID", "NAME"], [uid("web1"), "web1"]]
    assert "filter" not in cloud.calls("listVirtualMachines")[0].query
    ran = signed("list", "virtualmachines", "--columns", "name,nic.ipaddress", "-o", "csv")
    assert ran.out.splitlines()[:2] == ["name,nic.ipaddress", "web1,10.0.0.5"]
    ran = signed("list", "virtualmachines", "--columns", "name", "-o", "json", "name=web1")
    assert json.loads(ran.out) == {"count": 1, "virtualmachine": [{"name": "web1"}]}
    ran = signed("list", "virtualmachines", "--columns", "name,nope")
    assert ran.code == 0 and "nope" in ran.err


def test_wide_has_more_columns(signed: Mold) -> None:
    assert "CPUNUMBER" in signed("list", "virtualmachines", "-o", "wide").out.splitlines()[0]


def test_name_text_and_csv(cloud: SmallCloud, signed: Mold) -> None:
    assert signed("list", "zones", "-o", "name").out == "seoul\nbusan\n"
    assert signed("list", "zones", "-o", "text").out.split("\n\n")[0] == (
        f"id = {uid('seoul')}\nname = seoul\nallocationstate = Enabled"
    )
    cloud.zones[0]["name"] = 'a,"b\n한국'
    rows = list(csv.DictReader(io.StringIO(signed("list", "zones", "-o", "csv").out)))
    assert [row["name"] for row in rows] == ['a,"b 한국', "busan"]


def test_yaml(signed: Mold) -> None:
    assert signed("list", "zones", "name=seoul", "-o", "yaml").out == (
        f"count: 1\nzone:\n- id: {json.dumps(uid('seoul')) if uid('seoul')[0].isdigit() else uid('seoul')}\n"
        "  name: seoul\n  allocationstate: Enabled\n"
    )
    value = {
        "a": "yes",
        "b": "1",
        "c": 1,
        "d": True,
        "e": None,
        "f": [],
        "g": ["x: y", {"h": "é\n\x7f😀"}],
        "": {},
        "i": 1e-7,
    }
    assert yaml_lines(value) == [  # type: ignore[arg-type]
        'a: "yes"', 'b: "1"', "c: 1", "d: true", "e: null", "f: []", "g:", '- "x: y"', '- h: "é\\n\\U0000007f😀"', '"": {}', "i: 1.0e-07",
    ]  # fmt: skip


def test_one_object_is_shown_line_by_line(signed: Mold) -> None:
    ran = signed("create", "zone", "name=jeju")
    assert [line.split() for line in ran.out.splitlines()][1:] == [["name", "jeju"], ["allocationstate", "Disabled"]]
    assert "cloudstackversion" in signed("list", "capabilities").out


def test_an_empty_list_is_empty(signed: Mold) -> None:
    ran = signed("list", "zones", "name=none")
    assert ran == (0, "", "")
    assert json.loads(signed("list", "zones", "name=none", "-o", "json").out) == {"count": 0}


def test_wide_characters_keep_columns_straight(cloud: SmallCloud, signed: Mold) -> None:
    cloud.zones[0]["name"] = "서울"
    lines = signed("list", "zones", "--columns", "name,allocationstate").out.splitlines()
    assert lines[1] == "서울   Enabled" and lines[2] == "busan  Enabled"


# ---- errors and exit codes


def test_the_servers_refusal_is_one_clear_line(signed: Mold) -> None:
    ran = signed("delete", "zone", "id=seoul", "--yes")
    assert ran == (4, "", "mold: deleteZone: The zone is in use by \\x1b[31mpods\\x1b[0m (errorcode 536)\n")


def test_errors_are_json_when_json_was_asked_for(signed: Mold) -> None:
    ran = signed("delete", "zone", "id=seoul", "-o", "json", "--yes")
    error = json.loads(ran.err)
    assert ran.code == 4 and ran.out == ""
    assert (error["errorcode"], error["cserrorcode"], error["exitcode"], error["command"]) == (
        536,
        4375,
        4,
        "deleteZone",
    )
    assert error["errortext"].startswith("The zone is in use")
    assert json.loads(signed("list", "zonez", "--output=json").err)["exitcode"] == 2


def test_a_role_without_the_command_is_no_sign_in_problem(cloud: SmallCloud, signed: Mold) -> None:
    cloud.problem = lambda seen, cookie: "The given command 'x' either does not exist, is not available for user."  # type: ignore[method-assign]
    assert signed("api", "listZones").code == 4


def test_exit_codes_of_the_program(cloud: SmallCloud, program: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    env = {"MOLD_URL": cloud.url, "MOLD_API_KEY": "KEY-1", "MOLD_SECRET_KEY": cloud.keys["KEY-1"]}
    done = program("list", "zones", "-o", "name", **env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "seoul\nbusan\n", "")
    assert program("list", "zonez", **env).returncode == 2
    assert program("list", "zones", **env | {"MOLD_SECRET_KEY": "no"}).returncode == 3
    assert program("delete", "zone", f"id={uid('seoul')}", **env).returncode == 2  # no terminal to ask on
    assert program("delete", "zone", f"id={uid('seoul')}", "--yes", **env).returncode == 4
    cloud.job_fails = {"errorcode": 533, "errortext": "No capacity"}
    done = program("start", "virtualmachine", "id=web1", **env)
    assert (done.returncode, done.stdout) == (5, "") and "No capacity (errorcode 533)" in done.stderr
    cloud.never_ends = True
    done = program("start", "virtualmachine", "id=web1", "--timeout", "0.3", **env)
    assert done.returncode == 6 and "mold job watch" in done.stderr


def test_a_reader_that_leaves_is_no_error(cloud: SmallCloud) -> None:
    env = os.environ | {"MOLD_URL": cloud.url, "MOLD_API_KEY": "KEY-1", "MOLD_SECRET_KEY": cloud.keys["KEY-1"]}
    line = [sys.executable, "-m", "mold.cli.main", "list", "networks", "-o", "json"]
    run = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    assert run.stdout is not None and run.stderr is not None
    run.stdout.close()
    assert run.stderr.read() == b"" and run.wait(30) == 0
    run.stderr.close()


# ---- jobs


def test_a_job_is_waited_for_with_progress_on_stderr(cloud: SmallCloud, signed: Mold) -> None:
    ran = signed(*DEPLOY, "-o", "json")
    assert ran.code == 0 and json.loads(ran.out)["virtualmachine"]["state"] == "Running"
    assert ran.err.splitlines() == [f"mold: Job {uid('job-0')} 50% step boot"]
    assert len(cloud.calls("queryAsyncJobResult")) == 2


def test_no_wait_prints_the_job(cloud: SmallCloud, signed: Mold) -> None:
    ran = signed(*DEPLOY, "--no-wait")
    assert ran == (0, uid("job-0") + "\n", "")
    assert not cloud.calls("queryAsyncJobResult")
    assert json.loads(signed(*DEPLOY, "--no-wait", "-o", "json").out) == {"id": uid("new"), "jobid": uid("job-1")}


def test_a_failed_job(cloud: SmallCloud, signed: Mold) -> None:
    cloud.job_fails = {"errorcode": 533, "errortext": "No host has room"}
    ran = signed("start", "virtualmachine", "id=web1", "-o", "json")
    error = json.loads(ran.err.splitlines()[-1])
    assert (ran.code, error["errorcode"], error["errortext"]) == (5, 533, "No host has room")
    assert error["jobid"] == uid("job-0")


def test_jobs_can_be_watched_and_listed(signed: Mold) -> None:
    ran = signed("job", "watch", uid("job-9"), "-o", "name")
    assert ran.code == 0 and ran.out == "web1\n"
    ran = signed("job", "list")
    assert ran.out.splitlines()[0].split() == ["CMD", "JOBSTATUS", "CREATED", "ACCOUNT", "JOBID"]
    assert ran.out.splitlines()[1].split()[:2] == ["StartVMCmdByAdmin", "failed"]
    assert signed("query", "asyncjobresult", f"jobid={uid('job-9')}", "-o", "json").code == 0


def test_waiting_survives_a_server_that_is_away_for_a_moment(
    cloud: SmallCloud, signed: Mold, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mold.cli.client import Cloud
    from mold.cli.faults import Unreachable

    real, failures = Cloud.call, []

    def shaky(self: Cloud, command: str, *rest: object, **more: object) -> object:
        if command == "queryAsyncJobResult" and len(failures) < 2:
            failures.append(command)
            raise Unreachable("away")
        return real(self, command, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Cloud, "call", shaky)
    ran = signed("start", "virtualmachine", "id=web1", "-o", "name")
    assert ran.code == 0 and ran.out == "web1\n" and ran.err.count("still waiting") == 2


def test_ctrl_c_says_that_the_job_goes_on(cloud: SmallCloud) -> None:
    cloud.never_ends = True
    env = os.environ | {"MOLD_URL": cloud.url, "MOLD_API_KEY": "KEY-1", "MOLD_SECRET_KEY": cloud.keys["KEY-1"]}
    line = [sys.executable, "-m", "mold.cli.main", "start", "virtualmachine", f"id={uid('web1')}"]
    run = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    assert run.stderr is not None
    assert "50%" in run.stderr.readline()
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=30)
    assert run.returncode == 130 and out == ""
    assert f"mold job watch {uid('job-0')}" in err and "goes on" in err


# ---- terminals


def on_a_terminal(cloud: SmallCloud, typed: bytes, *call: str) -> tuple[int, str]:
    """Run the program on a terminal of its own, type `typed` once it asks; exit code and what was on the screen."""
    env = {"MOLD_URL": cloud.url, "MOLD_API_KEY": "KEY-1", "MOLD_SECRET_KEY": cloud.keys["KEY-1"], "TERM": "xterm"}
    ours, theirs = pty.openpty()
    line = [sys.executable, "-m", "mold.cli.main", *call]
    run = subprocess.Popen(line, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | env)
    os.close(theirs)
    screen, end = b"", time.monotonic() + 30
    try:
        while time.monotonic() < end:
            if not select.select([ours], [], [], 0.5)[0]:
                continue
            try:
                part = os.read(ours, 4096)
            except OSError:
                break  # the other side is closed
            if not part:
                break
            screen += part
            if screen.endswith((b"[y/N] ", b"name: ", b"Password: ")) and typed:
                line_end = typed.index(b"\n") + 1
                os.write(ours, typed[:line_end])
                typed = typed[line_end:]
        return run.wait(10), screen.decode()
    finally:
        run.kill()
        os.close(ours)


def test_destruction_is_confirmed_on_a_terminal(cloud: SmallCloud) -> None:
    code, screen = on_a_terminal(cloud, b"n\n", "destroy", "virtualmachine", "id=web1")
    assert code == 2 and "destroy virtualmachine id=web1" in screen
    assert not cloud.calls("destroyVirtualMachine")
    assert on_a_terminal(cloud, b"y\n", "destroy", "virtualmachine", "id=web1")[0] == 0
    assert len(cloud.calls("destroyVirtualMachine")) == 1
    code, screen = on_a_terminal(cloud, b"", "destroy", "virtualmachine", "id=web1", "--yes", "--no-wait")
    assert code == 0 and "[y/N]" not in screen
    assert len(cloud.calls("destroyVirtualMachine")) == 2


def test_login_asks_on_a_terminal_and_shows_no_password(cloud: SmallCloud, home: Path) -> None:
    call = ("login", "lab", f"url={cloud.url}", "username=", "apikey=", "secretkey=", "--lang", "en")
    code, screen = on_a_terminal(cloud, b"admin\npass word&1\n", *call)
    assert code == 0 and "Signed in" in screen and "pass word" not in screen
    assert cloud.logins == 1 and "lab" in (home / "config/mold/config.toml").read_text()


def test_a_password_is_asked_for(cloud: SmallCloud) -> None:
    cloud.apis.append(api("createUser", "Makes a user", ("username", "string", True, ""), ("password", "string", True, "")))
    code, screen = on_a_terminal(cloud, b"geheim\n", "user", "create", "kim")
    assert code == 0 and "geheim" not in screen
    assert cloud.calls("createUser")[0].form["password"] == "geheim"


def test_a_terminal_gets_colour_and_a_table_that_fits(cloud: SmallCloud) -> None:
    cloud.machines[0]["name"] = "a-very-long-name-" * 8
    code, screen = on_a_terminal(cloud, b"", "list", "virtualmachines")
    assert code == 0 and "\x1b[32mRunning" in screen and "\x1b[31mError" in screen and "…" in screen


# ---- model cache, help, completion


def test_the_model_is_fetched_once_and_again_when_old_or_insufficient(
    cloud: SmallCloud, signed: Mold, home: Path
) -> None:
    signed("list", "zones")
    signed("list", "zones")
    assert len(cloud.calls("listApis")) == 1
    cloud.apis.append(api("listMoons", "Lists moons"))
    assert signed("list", "moons").code == 0
    assert len(cloud.calls("listApis")) == 2
    (kept,) = (home / "cache" / "mold").glob("model-*")
    two_days_ago = time.time() - 172_800
    os.utime(kept, (two_days_ago, two_days_ago))
    assert signed("list", "zones").code == 0
    assert len(cloud.calls("listApis")) == 3
    assert signed("sync").code == 0
    assert len(cloud.calls("listApis")) == 4
    kept.write_text('{"format": 2, "comm')  # cut short
    assert signed("list", "zones").code == 0
    assert len(cloud.calls("listApis")) == 5


def test_a_cache_that_cannot_be_written_is_said_and_done_without(cloud: SmallCloud, signed: Mold, home: Path) -> None:
    (home / "cache").write_text("in the way")
    ran = signed("list", "zones", "-o", "name")
    assert ran.code == 0 and ran.out == "seoul\nbusan\n" and "model-" in ran.err


def test_each_caller_has_a_model_of_its_own(cloud: SmallCloud, signed: Mold, monkeypatch: pytest.MonkeyPatch) -> None:
    signed("list", "zones")
    cloud.keys["KEY-2"] = "other"
    monkeypatch.setenv("MOLD_API_KEY", "KEY-2")
    monkeypatch.setenv("MOLD_SECRET_KEY", "other")
    assert signed("list", "zones").code == 0
    assert len(cloud.calls("listApis")) == 2


def test_help_comes_from_the_cache(cloud: SmallCloud, signed: Mold) -> None:
    signed("sync")
    cloud.seen.clear()
    root = signed("--help")
    assert root.code == 0 and "list (12)" in root.out and "--no-wait" in root.out
    nouns = signed("list", "--help")
    assert "virtualmachines" in nouns.out and "Lists machines" in nouns.out
    one = signed("deploy", "virtualmachine", "--help").out
    assert "mold deploy virtualmachine serviceofferingid=SERVICEOFFERING templateid=TEMPLATE zoneid=ZONE" in one
    assert one.index("templateid=  ") < one.index("Optional parameters") < one.index("details[0].FIELD=")
    assert "id or name" in one and "--no-wait" in one
    assert signed("api", "deployVirtualMachine", "-h").out == one
    assert not cloud.seen


def test_help_without_any_server(mold: Mold) -> None:
    ran = mold("--help")
    assert ran.code == 0 and "mold login" in ran.out
    assert mold("profile", "--help").code == 0
    assert mold("list", "zones").code == 2


def test_korean(cloud: SmallCloud, signed: Mold, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "사용법" in signed("--help", "--lang", "ko").out
    monkeypatch.setenv("LC_ALL", "ko_KR.UTF-8")
    assert "매개변수" in signed("list", "zones", "seoul").err
    assert "Usage" in signed("--help", "--lang", "en").out


def test_both_languages_say_the_same_things() -> None:
    from string import Formatter

    def places(text: str) -> set[str]:
        return {name for _, name, _, _ in Formatter().parse(text) if name}

    assert words.EN.keys() == words.KO.keys()
    assert {key: places(text) for key, text in words.EN.items()} == {
        key: places(text) for key, text in words.KO.items()
    }


def test_dry_run_sends_nothing_that_changes(cloud: SmallCloud, signed: Mold) -> None:
    ran = signed(*DEPLOY, "password=hunter2", "--dry-run", "-o", "json")
    shown = json.loads(ran.out)
    assert shown["command"] == "deployVirtualMachine" and shown["zoneid"] == uid("seoul") and shown["password"] == "***"
    assert not cloud.calls("deployVirtualMachine")


# ---- the program


def test_start_up_loads_nothing_heavy(
    cloud: SmallCloud, signed: Mold, program: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    signed("sync")
    line = [sys.executable, "-X", "importtime", "-m", "mold.cli.main", "list", "--help"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True)
    loaded = {row.rsplit("|", 1)[1].strip() for row in done.stderr.splitlines() if row.startswith("import time:")}
    assert "click" in loaded and "mold.cli.manual" in loaded
    heavy = {
        "httpx",
        "rich",
        "msgspec",
        "ssl",
        "http.client",
        "urllib.request",
        "asyncio",
        "sqlalchemy",
        "mold.base.errors",
    }
    assert not loaded & heavy


def test_other_programs_are_handed_their_words(mold: Mold, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mold.cli import main as entry

    (home / "other_program.py").write_text("def main(argv):\n    print(argv)\n    return 7\n")
    monkeypatch.syspath_prepend(str(home))
    monkeypatch.setitem(entry.PROGRAMS, "agent", "other_program")
    assert mold("agent", "--port", "1", "-h") == (7, "['--port', '1', '-h']\n", "")
    monkeypatch.setitem(entry.PROGRAMS, "agent", "not_there_at_all")
    ran = mold("agent")
    assert ran.code == 2 and "not_there_at_all" in ran.err


def test_version(mold: Mold) -> None:
    assert mold("version").out.startswith("mold ") and mold("--version").code == 0
