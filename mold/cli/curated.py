"""Carries out the curated verbs of `verbs.py`: `mold vm create web1 --image debian --offering small`.

What a person types becomes parameters of one command; from there on it is the same path as `mold deploy
virtualmachine …`.  Words like `name=value` are parameters of the command here too, so nothing is out of reach.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mold.cli.calls import Call, carry_out, list_jobs, present, send, watch
from mold.cli.faults import Refused, TimedOut, Unreachable, Usage
from mold.cli.model import Command, Model, Param
from mold.cli.options import Options, open_cloud, parse, syntax
from mold.cli.params import EVERYWHERE, FILTERS, check, lookup_command, read_words, resolve
from mold.cli.verbs import Verb, usual, verbs_of
from mold.cli.words import nearest, say

if TYPE_CHECKING:
    import click

    from mold.cli.client import Answer, Cloud

DESTRUCTIVE = frozenset(
    ["delete", "destroy", "expunge", "release", "reinstall", "revert", "remove-nic", "remove-rule", "remove-user", "remove-account"]
)
ALIKE = (("delete", "destroy", "remove", "rm"), ("create", "register", "upload", "add", "new", "deploy"))
"""What people say for one another."""
MAKES = frozenset({"create", "register", "upload", "add", "set", "allow", "deny"})
FILE_BYTES = 1024 * 1024
RESOURCE_TYPES = ["user_vm", "public_ip", "volume", "snapshot", "template", "project", "network", "vpc", "cpu", "memory", "primary_storage", "secondary_storage", "backup", "backup_storage", "bucket", "object_storage", "gpu"]
"""Names of what limits count, in the order of the API's numbers."""
NEARBY = ("zoneid", "podid", "clusterid", "physicalnetworkid")
"""What need not be said where there is only one."""
LEFT_OUT = ("listall", "templatefilter", "isofilter")
"""Not worth a word when asking whether to go on."""


class Spelled(NamedTuple):
    """One option of a verb: how it is spelled, which parameter it is for, in which form (see verbs.py)."""

    spelling: str
    param: str
    form: str
    is_named: bool


def known_verb(words: Sequence[str]) -> Verb | None:
    """The verb that the words begin with; None for a noun alone. Raises Usage for a verb the noun has not."""
    verbs = verbs_of(words[0])
    if len(words) < 2:
        return None
    found = verbs.get(words[1])
    if found is None:
        meant = [name for alike in ALIKE if words[1] in alike for name in verbs if name in alike]
        raise Usage(
            say(
                "bad.curated",
                noun=words[0],
                verb=words[1],
                suggest=say("suggest", names=", ".join(meant)) if meant else nearest(words[1], list(verbs)),
                names=", ".join(verbs),
            )
        )
    return found


def offered(verb: Verb, model: Model) -> Command | None:
    """The command of the server that the verb is; None when the server has none of them for this caller."""
    return next((found for name in verb.commands if (found := model.get(name)) is not None), None)


def spelled(verb: Verb, command: Command) -> list[Spelled]:
    """Every option of the verb: those of the table, then the rest of the command's parameters."""
    import click

    taken = {spelling for param in syntax().params if isinstance(param, click.Option) for spelling in param.opts}
    found: list[Spelled] = []
    covered = set(verb.takes)
    for name, target in verb.options.items():
        param = target.rstrip("*").partition("=")[0].partition("[")[0].partition("{")[0].partition("@")[0]
        form = target[len(param) :]
        if target.startswith("=") or command.param(param) is not None:
            found.append(Spelled(f"--{name}", param, form, True))
            covered |= {param} if form in ("", "*") else set()
            taken.add(f"--{name}")
    for known in command.params:
        name = known.name.lower()
        if known.type == "map" or known.refused:
            continue
        form = "*" if known.type == "list" else ""
        short = name.removesuffix("ids") if known.type == "list" else name.removesuffix("id")
        if known.related and short and short != name and name not in covered and f"--{short}" not in taken:
            taken.add(f"--{short}")
            found.append(Spelled(f"--{short}", name, form, name in ("domainid", "projectid")))
        if f"--{name}" not in taken:
            taken.add(f"--{name}")
            found.append(Spelled(f"--{name}", name, form, name == "account"))
    if command.param("projectid") is None and "--project" not in taken and not command.noun.startswith("project"):
        found.append(Spelled("--project", "projectid", "", False))
    return found


def click_options(options: Sequence[Spelled], command: Command) -> list[click.Option]:
    """The same for click; option number n is called `_n`."""
    import click

    made = []
    for number, (spelling, name, form, _) in enumerate(options):
        param = command.param(name)
        if form.startswith("=") and name:
            made.append(click.Option([f"_{number}", spelling], is_flag=True, default=None))
        elif not form and param is not None and param.type == "boolean":
            made.append(click.Option([f"_{number}", f"{spelling}/--no-{spelling[2:]}"], default=None))
        else:
            made.append(click.Option([f"_{number}", spelling], multiple=form in ("*", "[]", "{}")))
    return made


def run(options: Options, words: list[str], arguments: list[str]) -> int:
    """Carry out one line; `options` and `words` are its first reading, `arguments` the line itself."""
    from mold.cli.model import fetch, kept, load

    verb = known_verb([word for word in words[:2] if not word.startswith("-")])
    if verb is None:
        found = None
        try:
            found = kept(open_cloud(options))
        except Usage:
            if not options.help:
                raise
        from mold.cli import manual

        print(manual.noun(words[0], found[0] if found else None))
        if options.help:
            return 0
        raise Usage(say("bad.noun.verb", noun=words[0]))
    cloud = open_cloud(options)
    model, is_new = load(cloud)
    command = offered(verb, model)
    if command is None and not is_new:
        try:
            model = fetch(cloud)
        except (Unreachable, TimedOut) as problem:
            print("mold: " + say("stale", why=problem.text), file=sys.stderr)
        command = offered(verb, model)
    if command is None:
        raise Usage(say("not.offered", words=verb.words, url=cloud.connection.url, command=" / ".join(verb.commands)))
    choices = spelled(verb, command)
    if options.help:
        from mold.cli import manual

        print(manual.curated(verb, command, model, choices))
        return 0
    values = parse(syntax(click_options(choices, command)), arguments)
    given = {
        choice: value for number, choice in enumerate(choices) if (value := values.pop(f"_{number}")) not in (None, ())
    }
    options = Options(**values)
    line = Line(options, cloud, model, verb, command, choices)
    return line.carry_out(list(options.words)[2:], given)


class Line:
    """One curated line that is being carried out."""

    def __init__(
        self, options: Options, cloud: Cloud, model: Model, verb: Verb, command: Command, choices: Sequence[Spelled]
    ) -> None:
        self.options = options
        self.cloud = cloud
        self.model = model
        self.verb = verb
        self.command = command
        self.choices = choices
        self.extra: dict[str, str] = {}

    def carry_out(self, words: Sequence[str], given: Mapping[Spelled, object]) -> int:
        """Everything from the words and the options on; the exit code."""
        verb, options = self.verb, self.options
        plain, params = self._words(words)
        for choice, value in given.items():
            self._put(params, choice, value)
        typed = [{**params, **these} for these in self._taken(plain, params)]
        if verb.way == "tag":
            typed = [self._tagged(each) for each in typed]
        if verb.way == "upload" and not self.extra.get("file"):
            raise Usage(say("curated.missing", words=verb.words, names="--file", example=self.example()))
        for each in typed:
            self._ask_password(each)
            self._demand(each, {*verb.sends, *NEARBY})
        full = [self._complete(each) for each in typed]
        for each in full:
            self._check(each)
        if verb.way == "jobs":
            return list_jobs(options, self.cloud, full[0])
        if verb.way == "watch":
            return watch(options, self.cloud, full[0]["jobid"])
        pages = self.command.param("page") is not None
        calls = [
            Call(
                self.command.name,
                resolve(self.command, each, self.model, self.ask),
                self._shown(each),
                self.command.reads,
                pages,
            )
            for each in full
        ]
        if verb.way and verb.way != "tag" and not (options.dry_run or options.explain):
            from mold.cli import ways

            return ways.WAYS[verb.way](self, calls)
        confirm = verb.name in DESTRUCTIVE or (verb.noun, verb.name) in {("tag", "remove")}
        return carry_out(options, self.cloud, calls, self.model, columns=usual(verb), confirm=confirm)

    def show(self, answer: Answer, call: Call) -> None:
        """Print an answer with the verb's columns."""
        present(self.options, answer, call, columns=usual(self.verb))

    def send(self, calls: Sequence[Call]) -> list[Answer]:
        """Send and wait."""
        return send(self.options, self.cloud, calls, confirm=False)

    def ask(self, lookup: Command, question: Mapping[str, str]) -> Answer:
        """One reading question."""
        return self.cloud.call(lookup.name, question, reads=lookup.reads)

    # ---- what was typed

    def _words(self, words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """Plain words, and parameters from `name=value` ones."""
        plain: list[str] = []
        pairs: list[str] = []
        for word in words:
            head = word.partition("=")[0].partition("[")[0].lower()
            is_param = "=" in word and (self.command.param(head) is not None or head in EVERYWHERE)
            (pairs if is_param else plain).append(word)
        return plain, read_words(pairs)

    def _put(self, params: dict[str, str], choice: Spelled, value: object) -> None:
        """One option's value as parameters. Raises Usage for what is said twice, no pair, or no readable file."""
        name, form = choice.param, choice.form
        many = [str(entry) for entry in value] if isinstance(value, tuple) else [str(value)]
        if not name:  # the verb itself does something with it
            self.extra[form.removeprefix("=")] = many[0]
            return
        if form in ("[]", "{}"):
            start = sum(1 for key in params if key.startswith(f"{name}["))
            for at, entry in enumerate(many, start):
                key, equals, text = entry.partition("=")
                if not equals or not key:
                    raise Usage(say("bad.pair", option=choice.spelling, value=entry))
                if form == "{}":
                    params[f"{name}[0].{key}"] = text
                else:
                    params |= {f"{name}[{at}].key": key, f"{name}[{at}].value": text}
            return
        if name in params:
            raise Usage(say("bad.param.twice", name=name))
        if form.startswith("="):
            params[name] = form[1:]
        elif form.startswith("@"):
            params[name] = read_file(many[0], as_base64=form == "@64")
        elif isinstance(value, bool):
            params[name] = "true" if value else "false"
        elif name in ("password", "currentpassword") and many[0] == "-":
            params[name] = sys.stdin.readline().rstrip("\r\n")
        else:
            params[name] = ",".join(many)

    def _taken(self, plain: Sequence[str], params: Mapping[str, str]) -> list[dict[str, str]]:
        """Parameters from the plain words: one set for each call. Raises Usage for words too many."""
        takes = [name for name in self.verb.takes if name not in params]
        if len(takes) == 1 and self.verb.name not in MAKES and self._is_about(takes[0]):
            return [{takes[0]: word} for word in plain] or [{}]
        *firsts, last = takes or [""]
        param = self.command.param(last) if last else None
        if len(plain) > len(takes) and not (param is not None and param.type == "list"):
            raise Usage(say("too.many", words=self.verb.words, word=plain[len(takes)], example=self.example()))
        found = dict(zip(firsts, plain, strict=False))
        rest = plain[len(firsts) :]
        if rest:
            found[last] = ",".join(rest)
        return [found]

    def _is_about(self, name: str) -> bool:
        """Whether the plain word says which thing the verb is about, so that several may be named."""
        return self.verb.way not in ("show", "ssh", "console", "watch") and not self.command.reads and name != "value"

    def _shown(self, params: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in params.items() if name not in LEFT_OUT}

    # ---- what was not typed

    def _ask_password(self, params: dict[str, str]) -> None:
        """Ask for a password that is required and was not given, where there is somebody to ask."""
        param = self.command.param("password")
        if (
            param is None
            or not param.required
            or "password" in params
            or not (sys.stdin.isatty() and sys.stderr.isatty())
        ):
            return
        from getpass import getpass

        params["password"] = getpass(say("ask.password"), stream=sys.stderr)

    def _complete(self, typed: Mapping[str, str]) -> dict[str, str]:
        """What is sent unless given otherwise, and the only zone, pod, … that there is."""
        params = dict(typed)
        for name, value in self.verb.sends.items():
            if name in params or self.command.param(name) is None or (name == "zoneid" and "zoneids" in params):
                continue
            if value == "?only":
                params |= self._only(name, params, say_which=False)
            elif value == "?hypervisor":
                params |= self._hypervisor(params)
            elif value.startswith("?"):
                params |= {name: params[value[1:]]} if value[1:] in params else {}
            else:
                params[name] = value
        if params.get("clusterid") and self.command.param("podid") and not {"podid", "zoneid"} <= params.keys():
            params = {**self._around(params), **params}
        for param in self.command.params:
            name = param.name.lower()
            if param.required and name not in params and name in NEARBY:
                params |= self._only(name, params, say_which=True)
        if (
            params.get("account")
            and self.command.param("domainid")
            and "domainid" not in params
            and self.verb.noun != "account"
        ):
            params |= self._domain_of(params["account"])
        return params

    def _only(self, name: str, params: Mapping[str, str], *, say_which: bool) -> dict[str, str]:
        """The only one that there is. With several, Usage lists them when `say_which`, else nothing is chosen."""
        param = self.command.param(name)
        lookup = lookup_command(self.command, param, self.model) if param else None
        if param is None or lookup is None:
            return {}
        scope = {key: params[key] for key in ("zoneid",) if key in params and lookup.param(key)}
        if "zoneid" in scope:
            scope = resolve(lookup, scope, self.model, self.ask)
        rows = [
            row
            for value in self.ask(lookup, scope).values()
            if isinstance(value, list)
            for row in value
            if isinstance(row, dict)
        ]
        if len(rows) == 1:
            return {name: str(rows[0]["id"])}
        if say_which and rows:
            option = next((choice.spelling for choice in self.choices if choice.param == name), name)
            raise Usage(say("say.which", option=option, names=", ".join(sorted(str(row.get("name")) for row in rows))))
        return {}

    def _around(self, params: Mapping[str, str]) -> dict[str, str]:
        """The pod and the zone that a cluster lies in."""
        lookup = self.model.get("listClusters")
        if lookup is None:
            return {}
        known = {name: params[name] for name in ("zoneid", "clusterid") if name in params}
        id = resolve(self.command, known, self.model, self.ask)["clusterid"]
        rows = self.ask(lookup, {"id": id}).get("cluster")
        row = rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], dict) else {}
        return {name: str(row[name]) for name in ("podid", "zoneid") if row.get(name)}

    def _hypervisor(self, params: Mapping[str, str]) -> dict[str, str]:
        """The hypervisor of the zone, or of the only zone, when it has only one."""
        lookup = self.model.get("listHypervisors")
        if lookup is None:
            return {}
        zone = (
            {"zoneid": params["zoneid"]}
            if params.get("zoneid", "-1") != "-1"
            else self._only("zoneid", {}, say_which=False)
        )
        if lookup.param("zoneid") is None:
            zone = {}
        rows = self.ask(lookup, resolve(lookup, zone, self.model, self.ask)).get("hypervisor")
        names = {str(row.get("name")) for row in rows if isinstance(row, dict)} if isinstance(rows, list) else set()
        return {"hypervisor": names.pop()} if len(names) == 1 else {}

    def _domain_of(self, account: str) -> dict[str, str]:
        """The domain of an account that only one domain has, for commands that want both. Raises Usage for several."""
        lookup = self.model.get("listAccounts")
        rows = self.ask(lookup, {"name": account, "listall": "true"}).get("account") if lookup else None
        found = (
            {
                str(row["domainid"]): str(row.get("domainpath") or row.get("domain"))
                for row in rows
                if isinstance(row, dict) and row.get("name") == account
            }
            if isinstance(rows, list)
            else {}
        )
        if len(found) > 1:
            raise Usage(say("say.which", option="--domain", names=", ".join(sorted(found.values()))))
        return {"domainid": next(iter(found))} if found else {}

    def _tagged(self, params: dict[str, str]) -> dict[str, str]:
        """A tag's `vm web1` as the API says it: UserVm and an id."""
        from mold.cli.ways import TAGGED

        word = params.get("resourcetype", "")
        if word not in TAGGED:
            return params
        kind, list_name = TAGGED[word]
        lookup = self.model.get(list_name)
        if lookup is None or "resourceids" not in params:
            return {**params, "resourcetype": kind}
        fake = Command("", "", False, True, (Param("id", "uuid", True, "", (list_name,)),), ())
        ids = [resolve(fake, {"id": one}, self.model, self.ask)["id"] for one in params["resourceids"].split(",")]
        return {**params, "resourcetype": kind, "resourceids": ",".join(ids)}

    # ---- what is wrong

    def _check(self, params: dict[str, str]) -> None:
        """Raise Usage, in the words of the options, for what lacks; and turn a limit's name into its number."""
        kind = self.command.param("resourcetype")
        if kind is not None and kind.type in ("integer", "long") and params.get("resourcetype") in RESOURCE_TYPES:
            params["resourcetype"] = str(RESOURCE_TYPES.index(params["resourcetype"]))
        refused = [(name, param.refused) for name in params if (param := self.command.param(name)) and param.refused]
        for name, why in refused:
            raise Usage(say("param.refused", name=self._spelling(name), why=why))
        self._demand(params, ())
        check(self.command, params)

    def _demand(self, params: Mapping[str, str], later: Collection[str]) -> None:
        """Raise Usage for what is required and neither here nor to come `later`."""
        here = {name.partition("[")[0] for name in params} | set(later)
        missing = [
            param.name.lower() for param in self.command.params if param.required and param.name.lower() not in here
        ]
        missing += [name for name in self.verb.takes if name not in here | self.verb.may and name not in missing]
        if missing:
            names = ", ".join(self._spelling(name) for name in missing)
            raise Usage(
                say("curated.missing", words=self.verb.words, names=names, example=self.example()), missing=missing
            )

    def _spelling(self, name: str) -> str:
        """How a parameter is given: as a plain word, an option or name=value."""
        if name in self.verb.takes:
            return placeholder(name, self.verb.noun)
        return next((choice.spelling for choice in self.choices if choice.param == name), f"{name}=")

    def example(self) -> str:
        return example(self.verb, self.command, self.choices)


def placeholder(name: str, noun: str) -> str:
    """What stands for a plain word in help."""
    if name == "id":
        return noun.upper()
    return {"virtualmachineid": "VM", "ipaddressid": "IP"}.get(
        name, name.removesuffix("ids").removesuffix("id").upper() or name.upper()
    )


def example(verb: Verb, command: Command, choices: Iterable[Spelled]) -> str:
    """One line that would work with other names."""
    if verb.example:
        return f"mold {verb.words} {verb.example}"
    words = [f"mold {verb.words}", *(placeholder(name, verb.noun) for name in verb.takes)]
    done = {*verb.takes, *verb.sends, "zoneid", "podid"}
    for choice in choices:
        param = command.param(choice.param)
        if param is not None and param.required and choice.param not in done:
            done.add(choice.param)
            words.append(f"{choice.spelling} {placeholder(choice.param, verb.noun)}")
    return " ".join(words)


def read_file(path: str, *, as_base64: bool) -> str:
    """The text of a file, `-` for stdin; in base64 when wanted. Raises Usage."""
    try:
        if path == "-":
            raw = sys.stdin.buffer.read(FILE_BYTES + 1)
        else:
            with Path(path).expanduser().open("rb") as file:
                raw = file.read(FILE_BYTES + 1)
        if len(raw) > FILE_BYTES:
            raise Usage(say("bad.file", path=path, why=say("too.large")))
        return base64.b64encode(raw).decode() if as_base64 else raw.decode().strip()
    except OSError as problem:
        raise Usage(say("bad.file", path=path, why=problem.strerror or problem)) from problem
    except UnicodeDecodeError as problem:
        raise Usage(say("bad.file", path=path, why=say("no.text"))) from problem


def only_row(line: Line, call: Call) -> Answer:
    """The one row that a list answers for an id; of images, what is not ready yet too. Raises Refused for none."""
    which = next((key for key in FILTERS if key in call.params), None)
    for kind in ("executable", "self") if which else ("",):
        params = {**call.params, **({which: kind} if which else {})}
        answer = line.cloud.call(call.name, params, reads=True)
        rows = [row for value in answer.values() if isinstance(value, list) for row in value if isinstance(row, dict)]
        wanted = call.params.get("name")
        rows = [row for row in rows if wanted is None or row.get("name") == wanted]
        if rows:
            key = next(key for key, value in answer.items() if isinstance(value, list))
            return {key: rows[0]}
    raise Refused(
        say("name.none", value=next(iter(call.typed.values()), ""), name=line.verb.noun, command=line.command.words)
    )
