"""--dry-run and --explain: what would be sent, what the server says to it, and how much of the limits is left.

Nothing that changes anything is sent.  The verdict on a machine is the server's `findDeploymentPlan`; for other
commands there is none, and the calls alone are shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mold.cli.client import masked
from mold.cli.faults import Refused
from mold.cli.show import clean, show, yaml_lines
from mold.cli.words import has, say

if TYPE_CHECKING:
    from mold.cli.calls import Call
    from mold.cli.client import Cloud, Json
    from mold.cli.model import Model
    from mold.cli.options import Options

PLANS = {"deployVirtualMachine": "findDeploymentPlan"}
NEEDS: Mapping[str, tuple[str, ...]] = {
    # What a command takes of the limits of an account, as listAccounts calls them.
    "deployVirtualMachine": ("vm", "cpu", "memory", "volume", "primarystorage"),
    "createVolume": ("volume", "primarystorage"),
    "createSnapshot": ("snapshot", "secondarystorage"),
    "registerTemplate": ("template", "secondarystorage"),
    "createNetwork": ("network",),
    "createVPC": ("vpc", "network"),
    "associateIpAddress": ("ip",),
    "createProject": ("project",),
}
SHOWN_HOSTS = 20


def tell(options: Options, cloud: Cloud, calls: Sequence[Call], model: Model | None) -> int:
    """Show what would happen; the exit code is that of a success also when it would not go well."""
    entries = []
    for call in calls:
        entry: dict[str, Json] = {"command": call.name, **masked(call.params)}
        plan = verdict(cloud, call, model)
        if plan is not None:
            entry["deploymentplan"] = plan
        if options.explain:
            limits: dict[str, Json] = {**left(cloud, call, model)}
            entry["limits"] = limits
        entries.append(entry)
    if options.output in ("json", "yaml"):
        found: Json = entries[0] if len(entries) == 1 else [*entries]
        print(
            json.dumps(found, indent=2, ensure_ascii=False)
            if options.output == "json"
            else "\n".join(yaml_lines(found))
        )
        return 0
    for number, entry in enumerate(entries):
        if number:
            print()
        told, limits_told = entry.pop("deploymentplan", None), entry.pop("limits", None)
        if not options.explain:
            show(entry, form=options.output)
        lines = in_words(told) if isinstance(told, dict) else []
        if options.explain and not lines:
            lines.append(say("plan.none", command=calls[number].name))
        if isinstance(limits_told, dict):
            lines += [say("limit.left", resource=name, left=text) for name, text in limits_told.items()]
        for line in lines:
            print(clean(line))
    return 0


def verdict(cloud: Cloud, call: Call, model: Model | None) -> dict[str, Json] | None:
    """What the server's plan says about the call; None when it offers none for it."""
    command = model.get(PLANS.get(call.name, "")) if model else None
    if command is None:
        return None
    takes = {param.name.lower() for param in command.params if not param.refused}
    question = {name: value for name, value in call.params.items() if name.partition("[")[0] in takes}
    try:
        answer = cloud.call(command.name, question, reads=True)
    except Refused as no:
        return {"accepted": 0, "refused": str(no.facts.get("errortext", no.text))}
    found = next((value for value in answer.values() if isinstance(value, dict)), None)
    return found


def in_words(plan: Mapping[str, Json]) -> list[str]:
    """The plan as sentences: where it fits, why it does not fit elsewhere, what the limits say."""
    if "refused" in plan:
        return [say("plan.refused", why=plan["refused"])]
    accepted, rejected = plan.get("accepted", 0), plan.get("rejected", 0)
    lines = [say("plan.count", accepted=accepted, rejected=rejected)]
    candidates = [entry for entry in _list(plan.get("candidate")) if isinstance(entry, dict)]
    for entry in candidates[:SHOWN_HOSTS]:
        name = entry.get("hostname") or entry.get("hostid")
        if entry.get("accepted") is True:
            lines.append(say("plan.yes", host=name, score=entry.get("score", "")))
        else:
            why = ", ".join(reason(part) for part in _list(entry.get("reason")) if isinstance(part, dict))
            lines.append(say("plan.no", host=name, why=why))
    if len(candidates) > SHOWN_HOSTS:
        lines.append(say("plan.more", count=len(candidates) - SHOWN_HOSTS))
    counts = plan.get("reasons")
    if not candidates and isinstance(counts, dict):
        lines += [say("plan.lack", count=count, why=reason({"code": code})) for code, count in counts.items()]
    quota = plan.get("quota")
    if isinstance(quota, dict):
        fits = quota.get("fits") is True
        lines.append(say("quota.fits") if fits else say("quota.over", why=quota.get("reason", "")))
    return lines


def reason(part: Mapping[str, Json]) -> str:
    """One reason why a host will not do."""
    code = str(part.get("code", ""))
    if not has(f"why.{code}"):
        return code
    if "needed" not in part:
        return say(f"whys.{code}") if has(f"whys.{code}") else code
    return say(f"why.{code}", needed=part.get("needed", ""), available=part.get("available", ""))


def left(cloud: Cloud, call: Call, model: Model | None) -> dict[str, str]:
    """What is left of the limits that the call counts against: "17 of 20" by resource."""
    params = call.params
    if params.get("projectid"):
        name, key, question = "listProjects", "project", {"id": params["projectid"]}
    elif params.get("account"):
        name, key = "listAccounts", "account"
        question = {word: params[word] for word in ("domainid",) if word in params} | {
            "name": params["account"],
            "listall": "true",
        }
    else:
        name, key, question = "listAccounts", "account", {}
    if model is None or model.get(name) is None:
        return {}
    rows = [row for row in _list(cloud.call(name, question, reads=True).get(key)) if isinstance(row, dict)]
    wanted = params.get("account")
    row = next((row for row in rows if wanted is None or row.get("name") == wanted), None)
    if row is None:
        return {}
    kinds = NEEDS.get(call.name) or tuple(word.removesuffix("available") for word in row if word.endswith("available"))
    return {
        kind: say("limit.none")
        if str(row[f"{kind}available"]) == "Unlimited"
        else say("limit.of", left=row[f"{kind}available"], most=row.get(f"{kind}limit", ""))
        for kind in kinds
        if f"{kind}available" in row
    }


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
