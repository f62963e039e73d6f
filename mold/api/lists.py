"""Lists: paging, filters, visibility and order, the same for every resource.

A list command is declared with its resource and a function that adds the filters which are special to it.
The rest (id, ids, name, keyword, account, domainid, projectid, isrecursive, listall, tags, page, pagesize and
every column declared with `filter`) is made here.  A page is found by its row numbers first, in an index, and
only then read; nothing grows with what is not on the page but the count.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any, get_type_hints

import sqlalchemy as sa

from mold.api.answer import view
from mold.api.command import COMMANDS, WORDS, Command, Ctx, Kind, Param, _docs, _param, refused_param
from mold.api.permit import EVERYONE, Caller, Owned, RoleType, below, condition, find
from mold.base.errors import Invalid, NotFound
from mold.store import REGISTRY, Resource, Tx

MAX_ROWS = 100_000
"""Rows of a list that everything is asked of (pagesize=-1)."""


class Query:
    """A list query being built."""

    def __init__(self, ctx: Ctx, kind: type[Resource]) -> None:
        self.ctx = ctx
        self.tx = ctx.tx
        self.kind = kind
        self.t = kind.table
        self.c = kind.c
        self.wheres: list[Any] = []
        self.order: list[Any] = [kind.c.number]
        self.details: frozenset[str] | None = None
        self.only_count = False
        self.owned: Any = None
        """Of a list with `for_whom`: which rows are the named account's, domain's or project's; None when none is named."""
        self.holders: tuple[str, ...] = ()
        """Of a list with `for_whom`: the ids of the named account or project."""

    def where(self, *clauses: Any) -> None:
        """Only rows that also meet these conditions."""
        self.wheres.extend(clauses)

    def search(self, word: str, *others: Any) -> None:
        """Only rows with this text in a column that `keyword` searches, or that meet one of the other conditions."""
        columns = [self.c[n] for n, s in self.kind.columns.items() if s.keyword or n == "name"]
        pattern = "%" + escaped(word.lower()) + "%"
        if columns or others:
            self.where(sa.or_(*(sa.func.lower(c).like(pattern, escape="\\") for c in columns), *others))

    def ids(self) -> Any:
        """A subselect of the ids found."""
        return sa.select(self.c.id).where(*self.wheres)

    def run(self, page: int | None, pagesize: int | None) -> dict[str, Any]:
        """Count and one page of answers."""
        ctx, tx = self.ctx, self.tx
        if self.only_count:
            count = self._count()
            return {"count": count} if count else {}
        found: list[Resource]
        offset, limit = window(page, pagesize)
        found = self._rows(limit, offset)
        full = len(found) == limit or (offset and not found)
        count = self._count() if full else offset + len(found)
        if not count:
            return {}
        answer: dict[str, Any] = {"count": count}
        if found:
            answer[ctx.command.key] = view(self.kind).page(tx, found, ctx.caller, self.details)
        return answer

    def _rows(self, limit: int, offset: int) -> list[Resource]:
        pick = sa.select(self.c.number).where(*self.wheres).order_by(*self.order)
        pick = pick.limit(sa.literal_column(str(limit))).offset(sa.literal_column(str(offset)))
        if offset < 1000:
            query = sa.select(*self.light).where(*self.wheres).order_by(*self.order)
            query = query.limit(sa.literal_column(str(limit)))
            if offset:
                query = query.offset(sa.literal_column(str(offset)))
            return [self.kind.from_light(r) for r in self.tx.execute(query)]
        numbers = list(self.tx.execute(pick).scalars())
        if not numbers:
            return []
        found = self.tx.execute(sa.select(*self.light).where(self.tx.any_of(self.c.number, numbers)))
        rows = {r.number: r for r in map(self.kind.from_light, found)}
        return [rows[n] for n in numbers if n in rows]

    @property
    def light(self) -> list[Any]:
        return [self.c[n] for n in self.kind.light]

    def _count(self) -> int:
        return self.tx.count(self.kind, *self.wheres)


def lists(
    name: str,
    kind: type[Resource],
    *,
    key: str = "",
    roles: frozenset[RoleType] = EVERYONE,
    envelope: str = "",
    refused: dict[str, str] | None = None,
    id_param: bool = True,
    everyones: bool = False,
    for_whom: bool = False,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Declare a list command; the function gets the query and the special filters, and narrows the query.

    `everyones`: without account, domain or project the list is of all that the caller may see, not of the caller's own.
    `for_whom`: account, domain and project say for whom things are listed, not whose they are: the function narrows by
    `Query.owned` and `Query.holders` itself.
    """

    def keep(function: Callable[..., None]) -> Callable[..., None]:
        doc, words = _docs(function)
        made = Command(
            name,
            lambda ctx, **given: _list(
                ctx, kind, function, {**given, "listall": True} if everyones else given, for_whom=for_whom
            ),
            roles=roles,
            answers=kind,
            key=key or kind.kind,
            shape="list",
            envelope=envelope or f"{name.lower()}response",
            reads=True,
            doc=doc,
            source=function,
        )
        params = made.params

        def add(spec: Param) -> None:
            params.setdefault(spec.name, spec)

        special = _special(function).items()
        hints = get_type_hints(function, globalns=function.__globals__, include_extras=True)
        for pname, p in special:
            params[pname] = _param(pname, hints[pname], p.default, words, "see")
        if id_param:
            add(Param("id", "uuid", resource=kind, access="see", doc=f"the id of the {kind.title}"))
        if "name" in kind.columns and kind.columns["name"].api in (None, "name"):
            add(Param("name", doc=WORDS["name"]))
        for column, spec in kind.columns.items():
            if spec.filter and not spec.refers:
                api = spec.api or column.replace("_", "")
                plain = kind.hints[column]
                shape: Kind = "boolean" if plain is bool else "long" if plain is int else "string"
                add(Param(api, shape, doc=spec.doc or WORDS.get(api, "")))
            if spec.filter and spec.refers:
                target = REGISTRY[spec.refers]
                api = column.replace("_", "")
                add(Param(api, "uuid", resource=target, access="see", doc=WORDS.get(api, f"id of the {target.title}")))
        add(Param("keyword", doc=WORDS["keyword"]))
        add(Param("page", "integer", low=1, doc=WORDS["page"]))
        add(Param("pagesize", "integer", low=-1, doc=WORDS["pagesize"]))
        if issubclass(kind, Owned):
            add(Param("account", doc=WORDS["account"]))
            add(Param("domainid", "uuid", resource=REGISTRY["domain"], access="see", doc=WORDS["domainid"]))
            add(Param("projectid", "uuid", resource=REGISTRY["project"], access="see", doc=WORDS["projectid"]))
            add(Param("isrecursive", "boolean", doc=WORDS["isrecursive"]))
            add(Param("listall", "boolean", doc=WORDS["listall"]))
        for text, reason in (refused or {}).items():
            refusal = refused_param(text, reason)
            params[refusal.name] = refusal
        if name in COMMANDS:
            raise TypeError(f"two functions are the command {name}")
        COMMANDS[name] = made
        return function

    return keep


NARROWS: dict[str, dict[str, Callable[[Any], Any]]] = {}
"""Filters that rooms above add to a list: command -> parameter -> condition for the row that it names."""


def narrows(name: str, param: str, kind: type[Resource]) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Add a filter to the list of a lower room; the function turns the row that `param` names into a condition."""

    def keep(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        COMMANDS[name].params[param] = Param(
            param, "uuid", resource=kind, access="see", doc=WORDS.get(param, f"id of the {kind.title}")
        )
        NARROWS.setdefault(name, {})[param] = function
        return function

    return keep


@cache
def _special(function: Callable[..., None]) -> dict[str, inspect.Parameter]:
    """The parameters of a list that are its own: all but the query."""
    return dict([*inspect.signature(function).parameters.items()][1:])


def _list(
    ctx: Ctx, kind: type[Resource], function: Callable[..., None], given: dict[str, Any], *, for_whom: bool = False
) -> dict[str, Any]:
    page, pagesize = given.pop("page", None), given.pop("pagesize", None)
    window(page, pagesize)
    query = Query(ctx, kind)
    special = _special(function)
    one = given.get("id") if "id" not in special else None
    if one is not None:
        query.where(kind.c.id == one.id)
    if "ids" in given and "ids" not in special:
        query.where(ctx.tx.any_of(kind.c.id, [r.id for r in given.pop("ids")]))
        one = one or True
    if issubclass(kind, Owned) and for_whom:
        query.where(condition(kind, ctx.caller, "see"))
        _for_whom(query, given)
    elif issubclass(kind, Owned):
        scope(query, given, narrowed=one is not None)
    else:
        query.where(condition(kind, ctx.caller, "see"))
        if given.get("projectid") == "-1":
            del given["projectid"]  # all projects: no filter where things belong to none, or only to projects
    word = given.pop("keyword", None) if "keyword" not in special else None
    if word:
        query.search(word)
    for column, spec in kind.columns.items():
        api = (spec.api or column.replace("_", "")) if not spec.refers else column.replace("_", "")
        if (spec.filter or column == "name") and api in given and api not in special:
            wanted = given[api]
            wanted = wanted.id if isinstance(wanted, Resource) else wanted
            query.where(kind.c[column] == wanted)
    for param, above in NARROWS.get(ctx.command.name, {}).items():
        if (row := given.pop(param, None)) is not None:
            query.where(above(row))
    tags = given.get("tags")
    if isinstance(tags, dict) and tags and "tags" not in special:  # an offering's `tags` are a word of its own
        query.where(tagged(kind, tags))
    function(query, **{n: given.get(n, p.default) for n, p in special.items()})
    if given.get("showicon"):
        query.details = (frozenset({"all"}) if query.details is None else query.details) | {"icon"}
    return query.run(page, pagesize)


def paged(key: str, rows: list[Any], page: int | None, pagesize: int | None) -> dict[str, Any]:
    """One page of a list that is made in memory; refuses what `listX` of rows refuses."""
    offset, limit = window(page, pagesize)
    if not rows:
        return {}
    return {"count": len(rows), key: rows[offset : offset + limit]}


def window(page: int | None, pagesize: int | None) -> tuple[int, int]:
    """(offset, limit) of a page; Invalid when page and pagesize do not go together."""
    if page is not None and pagesize is None:
        raise Invalid('"pagesize" parameter is required when "page" is specified', parameter="pagesize")
    if pagesize == -1 and page is not None:
        raise Invalid("pagesize=-1 (everything) must not be combined with page", parameter="page")
    if pagesize is not None and pagesize != -1 and page is None:
        raise Invalid('"page" parameter is required when "pagesize" is specified', parameter="page")
    if pagesize == 0 or (pagesize is not None and pagesize < -1):
        raise Invalid("pagesize must be at least 1, or -1 for everything", parameter="pagesize")
    if page is not None and page < 1:
        raise Invalid("page must be at least 1", parameter="page")
    if page is None or pagesize is None:
        return 0, MAX_ROWS
    return (page - 1) * pagesize, pagesize


def tagged(kind: type[Resource], tags: dict[str, str]) -> Any:
    """Rows with any of these tags."""
    tag = REGISTRY["tag"].table
    pairs = sa.or_(*(sa.and_(tag.c.key == k, tag.c.value == v) for k, v in tags.items()))
    return kind.c.id.in_(sa.select(tag.c.resource_id).where(tag.c.resource_kind == kind.kind, pairs))


def escaped(word: str) -> str:
    """A text that LIKE takes letter by letter, with the backslash as its escape."""
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def scope(query: Query, given: dict[str, Any], *, narrowed: bool) -> None:
    """Whose rows: account, domain, project, all or own."""
    caller: Caller = query.ctx.caller
    c = query.c
    account, domain, project = given.pop("account", None), given.pop("domainid", None), given.pop("projectid", None)
    recursive, everything = given.pop("isrecursive", False), given.pop("listall", False)
    query.where(condition(query.kind, caller, "see"))
    if project == "-1":
        return
    if project is not None:
        query.where(c.project_id == project.id)
        return
    if account is not None:
        if domain is None:
            if account != caller.account:
                raise Invalid(
                    "account needs domainid: the same name may exist in several domains.", parameter="domainid"
                )
            query.where(c.account_id == caller.account_id)
            return
        query.where(c.account_id == _account(query, account, domain))
        return
    if domain is not None:
        query.where(below(domain.trail, c.domain_id) if recursive else c.domain_id == domain.id)
        if not narrowed:
            query.where(c.project_id.is_(None))
        return
    if narrowed:
        return
    if everything or caller.internal:
        if caller.role is not RoleType.ADMIN or not caller.internal:
            query.where(c.project_id.is_(None))
        return
    if recursive and caller.role is not RoleType.USER:
        query.where(below(caller.domain_trail, c.domain_id), c.project_id.is_(None))
        return
    query.where(c.account_id == caller.account_id)


def _account(query: Query, name: str, domain: Any) -> str:
    """The id of the account of that name in the domain. NotFound when there is none that the caller may see."""
    kind = REGISTRY["account"]
    found = query.tx.first(
        kind, kind.c.name == name, kind.c.domain_id == domain.id, condition(kind, query.ctx.caller, "see")
    )
    if found is None:
        raise NotFound(f"There is no account {name} in this domain, or you may not see it.", account=name)
    return str(found.id)


def _for_whom(query: Query, given: dict[str, Any]) -> None:
    """Whom account, domain or project name: kept on the query as a condition and as ids."""
    c, caller = query.c, query.ctx.caller
    account, domain, project = given.pop("account", None), given.pop("domainid", None), given.pop("projectid", None)
    recursive = given.pop("isrecursive", False)
    if project is not None and project != "-1":
        query.owned, query.holders = c.project_id == project.id, (project.id,)
    elif account is not None:
        if domain is None and account != caller.account:
            raise Invalid("account needs domainid: the same name may exist in several domains.", parameter="domainid")
        id = _account(query, account, domain) if domain is not None else caller.account_id
        query.owned, query.holders = c.account_id == id, (id,)
    elif domain is not None:
        query.owned = below(domain.trail, c.domain_id) if recursive else c.domain_id == domain.id


def permitted(tx: Tx, kind: type[Resource], caller: Caller, value: str) -> Any:
    """The row with this id that the caller may see, or NotFound."""
    found = find(tx, kind, caller, value, "see")
    if found is None:
        raise NotFound(f"There is no {kind.title} {value}, or you may not see it.", id=value)
    return found
