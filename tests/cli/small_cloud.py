"""A small cloud behind real HTTP that checks what clients send, with its own reading of the wire format."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

UNRESERVED = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-*_"


def java_encoded(value: str) -> str:
    """URL encoding byte by byte, as Java forms do it, with %20 for space."""
    return "".join(chr(b) if chr(b) in UNRESERVED else f"%{b:02X}" for b in value.encode())


def server_signature(params: dict[str, str], secret: str) -> str:
    """What the server holds against a request."""
    names = sorted((n for n in params if n.lower() != "signature"), key=lambda n: n.encode())
    text = "&".join(n + "=" + java_encoded(params[n]) for n in names).lower()
    return base64.encodebytes(hmac.digest(secret.encode(), text.encode(), "sha1")).strip().decode()


def uid(word: str) -> str:
    """A stable uuid for `word`."""
    return str(uuid.UUID(hashlib.md5(word.encode()).hexdigest()))


def api(
    name: str, description: str, *params: tuple[str, str, bool, str], isasync: bool = False, fields: str = ""
) -> dict:
    """One entry of listApis; a param is name, type, required, related."""
    return {
        "name": name,
        "description": description,
        "isasync": isasync,
        "related": "",
        "params": [
            {"name": n, "type": t, "required": r, "description": f"the {n}", "length": 255, "related": rel}
            for n, t, r, rel in params
        ],
        "response": [{"name": f, "type": "string", "description": f} for f in fields.split()] + [{}],
    }


PAGES = (("page", "integer", False, ""), ("pagesize", "integer", False, ""), ("keyword", "string", False, ""))
VMS = "listVirtualMachines,deployVirtualMachine,listVnfAppliances,startVirtualMachine"
ZONES = "createZone,listZones,updateZone"
APIS = [
    api("listApis", "Lists the commands", ("name", "string", False, "")),
    api("listZones", "Lists zones", ("id", "uuid", False, ZONES), ("name", "string", False, ""), ("available", "boolean", False, ""), *PAGES, fields="id name allocationstate"),
    api("listVirtualMachines", "Lists machines", ("id", "uuid", False, VMS), ("name", "string", False, ""), ("state", "string", False, ""), ("zoneid", "uuid", False, ZONES), ("listall", "boolean", False, ""), ("tags", "map", False, ""), ("details", "list", False, ""), *PAGES, fields="id name state"),
    api("listVnfAppliances", "Lists appliances", ("name", "string", False, ""), *PAGES),
    api("deployVirtualMachine", "Creates and starts a machine", ("details", "map", False, ""), ("name", "string", False, ""), ("startvm", "boolean", False, ""), ("networkids", "list", False, "listNetworks"), ("size", "long", False, ""), ("serviceofferingid", "uuid", True, "listServiceOfferings"), ("templateid", "uuid", True, "listTemplates,listIsos"), ("zoneid", "uuid", True, ZONES), ("password", "string", False, ""), isasync=True),
    api("startVirtualMachine", "Starts a machine", ("id", "uuid", True, VMS), isasync=True),
    api("stopVirtualMachine", "Stops a machine", ("id", "uuid", True, VMS), ("forced", "boolean", False, ""), isasync=True),
    api("destroyVirtualMachine", "Destroys a machine", ("id", "uuid", True, VMS), isasync=True),
    api("listServiceOfferings", "Lists offerings", ("name", "string", False, ""), *PAGES),
    api("listNetworks", "Lists networks", ("zoneid", "uuid", False, ZONES), *PAGES),
    api("listTemplates", "Lists templates", ("templatefilter", "string", True, ""), ("name", "string", False, ""), *PAGES),
    api("listDomains", "Lists domains", ("name", "string", False, ""), *PAGES),
    api("listProjects", "Lists projects", ("name", "string", False, ""), *PAGES),
    api("listProjectRoles", "Lists roles", ("projectid", "uuid", True, "listProjects"), *PAGES),
    api("addAccountToProject", "Adds an account", ("projectid", "uuid", True, "listProjects"), ("projectroleid", "uuid", False, "listProjectRoles"), ("domainid", "uuid", False, "listDomains"), ("account", "string", False, "")),
    api("createZone", "Makes a zone", ("name", "string", True, "")),
    api("deleteZone", "Deletes a zone", ("id", "uuid", True, ZONES)),
    api("createTags", "Tags things", ("resourceids", "list", True, ""), ("resourcetype", "string", True, ""), ("tags", "map", True, ""), isasync=True),
    api("issuePower", "Has a parameter called timeout", ("timeout", "long", False, "")),
    api("queryAsyncJobResult", "Asks for a job", ("jobid", "uuid", True, "")),
    api("listAsyncJobs", "Lists jobs", *PAGES),
    api("listCapabilities", "What the cloud can"),
    api("logout", "Ends the session"),
    api("createSSHKeyPair", "Makes a key", ("name", "string", True, "")),
    api("deleteSSHKeyPair", "Deletes a key", ("name", "string", True, "")),
    api("registerUserData", "Keeps user data", ("name", "string", True, ""), ("userdata", "string", True, "")),
    api("createPod", "Makes a pod", ("name", "string", True, ""), ("zoneid", "uuid", True, ZONES), ("gateway", "string", False, "")),
    api("updateResourceLimit", "Sets a limit", ("resourcetype", "integer", True, ""), ("max", "long", False, ""), ("account", "string", False, ""), ("domainid", "uuid", False, "listDomains")),
    api("getUploadParamsForTemplate", "Takes a file", ("name", "string", True, ""), ("format", "string", True, ""), ("hypervisor", "string", True, ""), ("zoneid", "uuid", True, ZONES)),
    api("findDeploymentPlan", "Says where", ("serviceofferingid", "uuid", True, "listServiceOfferings"), ("templateid", "uuid", True, "listTemplates"), ("zoneid", "uuid", True, ZONES)),
]  # fmt: skip


class Ran(NamedTuple):
    """What a call left behind."""

    code: int
    out: str
    err: str


Mold = Callable[..., Ran]


class Seen(NamedTuple):
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    form: dict[str, str]

    @property
    def params(self) -> dict[str, str]:
        return self.query | self.form

    @property
    def command(self) -> str:
        return self.params.get("command", "")


class SmallCloud:
    """Zones, machines and jobs in memory; refuses wrong signatures, sessions and methods like the real one."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.apis = list(APIS)
        self.keys = {"KEY-1": "S3cret/+key~"}
        self.users = {("admin", "pass word&1"): "/"}
        self.sessions: dict[str, str] = {}
        self.logins = 0
        self.polls_per_job = 2
        self.job_fails: dict | None = None
        self.never_ends = False
        self.polls: dict[str, int] = {}
        self.redirect: str | None = None
        self.broken: tuple[int, str, bytes] | None = None
        self.refuses: set[str] = set()
        self.streams: list[bytes] = []  # what each live stream says before it ends; none left: it is not there
        self.last_event_ids: list[str] = []
        self.uploads: list[tuple[dict[str, str], bytes]] = []
        self.upload_status = 200
        self.zones = [{"id": uid(n), "name": n, "allocationstate": "Enabled"} for n in ("seoul", "busan")]
        self.machines = [
            {"id": uid("web1"), "name": "web1", "state": "Running", "zonename": "seoul", "account": "admin", "created": "2026-01-02T03:04:05+0000", "nic": [{"ipaddress": "10.0.0.5", "macaddress": "02:00:00:00:00:01"}], "cpunumber": 2},
            {"id": uid("web1-busan"), "name": "twin", "state": "Stopped", "zonename": "busan", "account": "admin", "zone": "busan"},
            {"id": uid("web1-seoul"), "name": "twin", "state": "Error", "zonename": "seoul", "account": "kim", "zone": "seoul"},
        ]  # fmt: skip
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                cloud.serve(self, {})

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                if self.path == "/upload":
                    cloud.uploads.append(({name.lower(): value for name, value in self.headers.items()}, self.rfile.read(length)))
                    self.send_response(cloud.upload_status)
                    body = b'{"uploadresponse": {"errortext": "The disk is full."}}' if cloud.upload_status != 200 else b""
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                    return
                cloud.serve(self, dict(parse_qsl(self.rfile.read(length).decode(), keep_blank_values=True)))

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/client/api"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def calls(self, command: str) -> list[Seen]:
        """The requests for `command`."""
        return [seen for seen in self.seen if seen.command == command]

    def serve(self, handler: BaseHTTPRequestHandler, form: dict[str, str]) -> None:
        parts = urlsplit(handler.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        seen = Seen(handler.command, parts.path, query, form)
        self.seen.append(seen)
        headers: list[tuple[str, str]] = []
        kind = "application/json; charset=UTF-8"
        if parts.path == "/client/events":
            problem = self.problem(seen, handler.headers.get("Cookie") or "")
            self.last_event_ids.append(handler.headers.get("Last-Event-ID") or "")
            status, kind, body = 404, "text/plain", b"no"
            if problem:
                status, answer = self.error("errorresponse", 401, problem)
                kind, body = "application/json", json.dumps(answer).encode()
            elif self.streams:
                status, kind, body = 200, "text/event-stream; charset=utf-8", self.streams.pop(0)
        elif self.broken is not None:
            status, kind, body = self.broken
        else:
            status, answer = self.answer(seen, handler.headers.get("Cookie") or "", headers)
            body = json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()
        if self.redirect is not None:
            status, headers = 302, [("Location", self.redirect)]
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    def error(self, key: str, code: int, text: str, cs: int | None = None) -> tuple[int, dict]:
        body: dict = {"uuidList": [], "errorcode": code, "errortext": text}
        return code, {key: body | ({"cserrorcode": cs} if cs is not None else {})}

    def answer(self, seen: Seen, cookie: str, headers: list[tuple[str, str]]) -> tuple[int, dict]:
        params, command = seen.params, seen.command
        key = f"{command.lower()}response"
        if params.get("response") != "json":
            return 500, {"xml": {}}
        if command == "login":
            if seen.method != "POST" or "password" in seen.query:
                return self.error(key, 405, "Please use HTTP POST")
            domain = self.users.get((params.get("username", ""), params.get("password", "")))
            if domain is None or params.get("domain", "/") != domain:
                return self.error(
                    key, 531, "Failed to authenticate user x in domain 1; please provide valid credentials"
                )
            self.logins += 1
            session, secret = f"NODE{self.logins}", f"sess-key-{self.logins}"
            self.sessions[session] = secret
            headers += [("Set-Cookie", f"JSESSIONID={session};Path=/client"), ("Set-Cookie", f"sessionkey={secret};HttpOnly;SameSite=Lax")]  # fmt: skip
            return 200, {key: {"username": "admin", "userid": uid("admin"), "sessionkey": secret, "type": "1"}}
        problem = self.problem(seen, cookie)
        if problem:
            return self.error(key, 401, problem)
        if seen.method != "POST" and not command.startswith(("list", "get", "query", "find")):
            return self.error(key, 400, f"State changing command {command} needs to be sent using POST request")
        known = next((entry for entry in self.apis if entry["name"] == command), None)
        if known is None:
            return self.error("errorresponse", 432, f"Unknown API command: {command}", 9999)
        for param in known["params"]:
            if param["type"] == "uuid" and param["name"] in params:
                try:
                    uuid.UUID(params[param["name"]])
                except ValueError:
                    return self.error(key, 431, f"Unable to execute API command {command.lower()} due to invalid value. Invalid parameter {param['name']}", 9999)  # fmt: skip
        return self.run(command, key, params, known)

    def problem(self, seen: Seen, cookie: str) -> str | None:
        params = seen.params
        if "apikey" in params:
            wrong = "unable to verify user credentials and/or request signature"
            secret = self.keys.get(params["apikey"])
            if secret is None or params.get("signatureversion") != "3" or "expires" not in params:
                return wrong
            expires = datetime.strptime(params["expires"], "%Y-%m-%dT%H:%M:%S%z")
            ahead = (expires - datetime.now(UTC)).total_seconds()
            if not 0 < ahead <= 900:
                return wrong
            return None if server_signature(params, secret) == params.get("signature") else wrong
        cookies = dict(part.strip().split("=", 1) for part in cookie.split(";") if "=" in part)
        secret = self.sessions.get(cookies.get("JSESSIONID", ""))
        if not secret or cookies.get("sessionkey") != secret or params.get("sessionkey") != secret:
            return "unable to verify user credentials"
        return None

    def page(self, params: dict[str, str], key: str, name: str, rows: list[dict]) -> tuple[int, dict]:
        if not rows:
            return 200, {key: {}}
        part = rows
        if "page" in params:
            size = int(params["pagesize"])
            part = rows[(int(params["page"]) - 1) * size :][:size]
        return 200, {key: {"count": len(rows), **({name: part} if part else {})}}

    def run(self, command: str, key: str, params: dict[str, str], known: dict) -> tuple[int, dict]:
        if command == "listApis":
            return 200, {key: {"count": len(self.apis), "api": self.apis}}
        if command == "queryAsyncJobResult":
            return 200, {key: self.poll(params["jobid"])}
        if command == "listZones":
            return self.page(params, key, "zone", [z for z in self.zones if params.get("name", z["name"]) == z["name"]])
        if command == "listVirtualMachines":
            rows = [m for m in self.machines if params.get("name", m["name"]) in m["name"] and params.get("state", m["state"]) == m["state"] and params.get("zoneid", uid(str(m["zonename"]))) == uid(str(m["zonename"]))]  # fmt: skip
            return self.page(params, key, "virtualmachine", rows)
        if command == "listTemplates":
            rows = [{"id": uid("debian"), "name": "Debian 12"}] if params.get("templatefilter") == "executable" else []
            return self.page(params, key, "template", rows)
        if command == "listServiceOfferings":
            return self.page(params, key, "serviceoffering", [{"id": uid("small"), "name": "small"}, {"id": uid("smaller"), "name": "smaller"}])  # fmt: skip
        if command == "listNetworks":
            rows = [{"id": uid(f"net-{n}"), "name": f"net-{n}"} for n in range(1200)]
            return self.page(params, key, "network", rows)
        if command == "listDomains":
            rows = [{"id": uid(path), "name": path.rpartition("/")[2], "path": path} for path in ("ROOT", "ROOT/a/dev", "ROOT/b/dev")]  # fmt: skip
            return self.page(
                params, key, "domain", [row for row in rows if params.get("name", row["name"]) == row["name"]]
            )
        if command == "listProjects":
            rows = [{"id": uid(f"p-{d}"), "name": "p", "domainid": uid(f"ROOT/{d}/dev"), "account": d} for d in "ab"]
            return self.page(params, key, "project", rows)
        if command == "listProjectRoles":
            return self.page(params, key, "projectrole", [{"id": uid("role" + params["projectid"]), "name": "ops"}])
        if command == "listAsyncJobs":
            rows = [{"cmd": "org.apache.cloudstack.api.command.admin.vm.StartVMCmdByAdmin", "jobstatus": 2, "jobid": uid("job"), "account": "admin", "created": "2026-01-02T03:04:05+0000"}]  # fmt: skip
            return self.page(params, key, "asyncjobs", rows)
        if command == "listCapabilities":
            return 200, {key: {"capability": {"cloudstackversion": "4.23.0.0", "securitygroupsenabled": False}}}
        if command == "createZone":
            return 200, {
                key: {"zone": {"id": uid(params["name"]), "name": params["name"], "allocationstate": "Disabled"}}
            }
        if command == "deleteZone":
            return self.error(key, 536, "The zone is in use by \x1b[31mpods\x1b[0m", 4375)
        if command == "createSSHKeyPair":
            return 200, {key: {"keypair": {"name": params["name"], "fingerprint": "aa:bb", "privatekey": "PRIVATE\nHALF"}}}
        if command == "getUploadParamsForTemplate":
            post = self.url.replace("/client/api", "/upload")
            return 200, {key: {"getuploadparams": {"id": uid("up"), "postURL": post, "metadata": "M", "expires": "E", "signature": "S"}}}  # fmt: skip
        if command == "findDeploymentPlan":
            reasons = [{"code": "Memory", "needed": 4096, "available": 512}, {"code": "HostState", "needed": "Up", "available": "Down"}]
            hosts = [{"hostname": "h1", "accepted": True, "score": 70, "reason": []}, {"hostname": "h2", "accepted": False, "score": 0, "reason": reasons}]  # fmt: skip
            return 200, {key: {"deploymentplan": {"accepted": 1, "rejected": 1, "quota": {"fits": False, "reason": "2 of 2 machines"}, "candidate": hosts}}}  # fmt: skip
        if command in self.refuses:
            return self.error(key, 530, f"{command} failed")
        if known["isasync"]:
            job = uid(f"job-{len(self.polls)}")
            self.polls[job] = 0
            return 200, {key: {"id": uid("new"), "jobid": job}}
        return 200, {key: {"success": True}}

    def poll(self, job: str) -> dict:
        self.polls[job] = self.polls.get(job, 0) + 1
        done = self.polls[job]
        facts: dict = {"jobid": job, "jobprocstatus": 0, "jobresultcode": 0, "cmd": "a.b.StartVMCmd"}
        if self.never_ends or done < self.polls_per_job:
            steps = [{"name": "choose", "state": "done"}, {"name": "boot", "state": "running"}, {"name": "say", "state": "waiting"}]  # fmt: skip
            return facts | {"jobstatus": 0, "jobprogress": 50, "jobsteps": steps}
        if self.job_fails is not None:
            return facts | {"jobstatus": 2, "jobresultcode": self.job_fails["errorcode"], "jobresult": self.job_fails}
        machine = {"id": uid("new"), "name": "web1", "state": "Running"}
        return facts | {"jobstatus": 1, "jobresulttype": "object", "jobresult": {"virtualmachine": machine}}
