"""Which server and as whom: profiles, login, environment, quickstart, CloudMonkey's file."""

from __future__ import annotations

import json
import os
import stat
import tomllib
from pathlib import Path

import pytest
from small_cloud import Mold, SmallCloud

KEY = ("apikey=KEY-1", "secretkey=S3cret/+key~")


def config(home: Path) -> Path:
    return home / "config" / "mold" / "config.toml"


def test_login_tries_and_keeps(cloud: SmallCloud, mold: Mold, home: Path) -> None:
    ran = mold("login", f"url={cloud.url}", "username=admin", "password=wrong")
    assert ran.code == 3 and not config(home).exists()
    ran = mold("login", f"url={cloud.url}", "username=admin", "password=pass word&1", "domain=/")
    assert ran.code == 0 and "pass word" not in ran.out + ran.err
    assert stat.S_IMODE(config(home).stat().st_mode) == 0o600
    assert mold("list", "zones", "-o", "name").out == "seoul\nbusan\n"
    kept = tomllib.loads(config(home).read_text())
    assert kept["current"] == "default" and kept["profiles"]["default"]["password"] == "pass word&1"


def test_login_takes_a_secret_from_stdin(
    cloud: SmallCloud, mold: Mold, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.StringIO("pass word&1\n"))
    assert mold("login", "lab", f"url={cloud.url}", "username=admin", "password=-").code == 0
    assert tomllib.loads(config(home).read_text())["current"] == "lab"


def test_a_login_elsewhere_takes_no_secret_along(cloud: SmallCloud, mold: Mold, home: Path) -> None:
    assert mold("login", f"url={cloud.url}", *KEY).code == 0
    other = SmallCloud()
    try:
        assert mold("login", f"url={other.url}").code == 3
        assert other.seen == []
        assert tomllib.loads(config(home).read_text())["profiles"]["default"]["url"] == cloud.url
        assert mold("list", "zones", "--url", other.url).code == 3
        assert other.seen == []
        assert mold("list", "zones", "--url", other.url, "--profile", "default").code == 0
    finally:
        other.close()


def test_profiles_are_added_used_listed_and_removed(cloud: SmallCloud, mold: Mold, home: Path) -> None:
    bare = cloud.url.removesuffix("/client/api")
    assert mold("profile", "add", "lab", f"url={bare}", *KEY).code == 0
    assert mold("profile", "add", "far", "url=https://far.example", "username=kim", "password=geheim").code == 0
    ran = mold("profile", "list", "-o", "csv")
    assert ran.out.splitlines() == [
        "name,current,url,signin,username",
        f"lab,true,{cloud.url},apikey,",
        "far,false,https://far.example/client/api,password,kim",
    ]
    assert "geheim" not in ran.out and "S3cret" not in mold("profile", "list", "-o", "json").out
    assert mold("list", "zones").code == 0
    assert mold("profile", "use", "far").code == 0
    assert mold("list", "zones", "--profile", "lab").code == 0
    os.environ["MOLD_PROFILE"] = "lab"
    try:
        assert mold("list", "zones").code == 0
    finally:
        del os.environ["MOLD_PROFILE"]
    ran = mold("profile", "use", "labb")
    assert ran.code == 2 and "lab" in ran.err
    assert mold("profile", "remove", "far").code == 0
    assert mold("list", "zones").code == 0  # the only one left
    assert mold("profile", "add", "../x", "url=https://h").code == 2
    assert mold("profile", "add", "x", "url=ftp://h").code == 2
    assert mold("profile", "add", "x", "ulr=https://h").code == 2
    assert stat.S_IMODE(config(home).stat().st_mode) == 0o600


def test_a_profile_that_goes_takes_its_session_along(cloud: SmallCloud, mold: Mold, home: Path) -> None:
    assert mold("login", "lab", f"url={cloud.url}", "username=admin", "password=pass word&1").code == 0
    assert {path.name.split("-")[0] for path in (home / "cache" / "mold").iterdir()} == {"session", "model"}
    assert mold("profile", "remove", "lab").code == 0
    assert not list((home / "cache" / "mold").iterdir())


def test_odd_values_survive_the_file(mold: Mold, home: Path) -> None:
    odd = 'a"b\\c\t#é\x7f = [x]'
    assert (
        mold(
            "profile", "add", "a.b", "url=https://h:8443/client/api", f"password={odd}", "username=u", "insecure=true"
        ).code
        == 0
    )
    assert mold("profile", "use", "a.b").code == 0
    kept = tomllib.loads(config(home).read_text())["profiles"]["a.b"]
    assert kept == {"url": "https://h:8443/client/api", "password": odd, "username": "u", "insecure": True}


def test_an_open_file_with_secrets_is_warned_of(cloud: SmallCloud, mold: Mold, home: Path) -> None:
    mold("profile", "add", "lab", f"url={cloud.url}", *KEY)
    config(home).chmod(0o644)
    assert "chmod 600" in mold("list", "zones").err


def test_a_broken_file_is_named(mold: Mold, home: Path) -> None:
    config(home).parent.mkdir(parents=True)
    config(home).write_text("current = ")
    ran = mold("list", "zones")
    assert ran.code == 2 and str(config(home)) in ran.err


def test_cloudmonkeys_profiles_are_imported(cloud: SmallCloud, mold: Mold, home: Path) -> None:
    (home / ".cmk").mkdir()
    (home / ".cmk" / "config").write_text(
        "prompt = 🐱\n"
        if False
        else "[core]\nprofile = lab\noutput = json\nverifycert = false\n\n"
        f"[lab]\nurl = {cloud.url}\nusername = admin\npassword = 100%\ndomain = /\napikey = KEY-1\n"
        "secretkey = `S3cret/+key~`\n\n[old one]\nurl = http://old:8080/client/api\nusername = kim\npassword = pw\ndomain = /a\n"
    )
    ran = mold("profile", "import")
    assert ran.code == 0 and "lab, old-one" in ran.err
    assert mold("list", "zones").code == 0
    kept = tomllib.loads(config(home).read_text())
    assert kept["current"] == "lab"
    assert kept["profiles"]["lab"] == {"url": cloud.url, "apikey": "KEY-1", "secretkey": "S3cret/+key~"}
    assert kept["profiles"]["old-one"]["domain"] == "/a"
    assert "left as it is" in mold("profile", "import-cloudmonkey").err
    assert mold("profile", "import-cloudmonkey", str(home / "none")).code == 2


def test_a_quickstart_is_found(cloud: SmallCloud, mold: Mold, home: Path) -> None:
    facts = {"url": cloud.url, "username": "admin", "password": "pass word&1", "apikey": "KEY-1", "secretkey": "S3cret/+key~", "integrationport": 1}  # fmt: skip
    for place in (home / "elsewhere", home / "data", home / ".local/share/mold"):
        place.mkdir(parents=True)
        (place / "quickstart.json").write_text(json.dumps(facts))
        words = ["--data-dir", str(place)] if place.name == "elsewhere" else []
        assert mold("list", "zones", *words).code == 0
        assert "apikey" in cloud.seen[-1].params
        (place / "quickstart.json").unlink()
    assert mold("list", "zones").code == 2
    assert mold("list", "zones", "--data-dir", str(home)).code == 2
    del facts["apikey"]
    (home / "data/quickstart.json").write_text(json.dumps(facts))
    assert mold("list", "zones").code == 3  # half a key pair
    del facts["secretkey"]
    (home / "data/quickstart.json").write_text(json.dumps(facts))
    assert mold("list", "zones").code == 0 and cloud.logins == 1


def test_environment_credentials_replace_those_of_the_profile(
    cloud: SmallCloud, mold: Mold, monkeypatch: pytest.MonkeyPatch
) -> None:
    mold("profile", "add", "lab", f"url={cloud.url}", "apikey=KEY-1", "secretkey=wrong")
    assert mold("list", "zones").code == 3
    monkeypatch.setenv("MOLD_USERNAME", "admin")
    monkeypatch.setenv("MOLD_PASSWORD", "pass word&1")
    assert mold("list", "zones").code == 0
