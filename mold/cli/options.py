"""The options, which may stand anywhere on the line, and the server they name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mold.cli.faults import Usage
from mold.cli.words import say

if TYPE_CHECKING:
    import click

    from mold.cli.client import Cloud

REQUEST_SECONDS = 60.0


class Options(NamedTuple):
    """The options of one call, and its plain words."""

    words: tuple[str, ...]
    output: str
    columns: str | None
    no_header: bool
    query: str | None
    filter: tuple[str, ...]
    sort_by: str | None
    paginate: bool
    wait: bool
    no_wait: bool
    timeout: float | None
    yes: bool
    dry_run: bool
    explain: bool
    profile: str | None
    url: str | None
    data_dir: str | None
    cacert: str | None
    insecure: bool
    debug: bool
    lang: str | None
    help: bool
    version: bool

    @property
    def chosen_columns(self) -> list[str]:
        return [name.strip() for name in (self.columns or "").split(",") if name.strip()]

    @property
    def wants_all(self) -> bool:
        """Whether every page is needed: filtering or sorting one page of several would mislead."""
        return self.paginate or bool(self.filter or self.sort_by)


def syntax(more: Sequence[click.Option] = (), *, loose: bool = False) -> click.Command:
    """The options, as click reads them, and `more` of them. A `loose` one leaves unknown options among the words."""
    import click

    from mold.cli.show import FORMS

    def option(
        *spellings: str, kind: click.ParamType[float] | click.ParamType[str] | None = None, **more: str
    ) -> click.Option:
        return click.Option(spellings, type=kind, **more)  # type: ignore[arg-type]

    def flag(*spellings: str) -> click.Option:
        return click.Option(spellings, is_flag=True)

    return click.Command(
        "mold",
        add_help_option=False,
        context_settings={"ignore_unknown_options": loose},
        params=[
            click.Argument(["words"], nargs=-1, type=click.UNPROCESSED),
            click.Option(["-o", "--output"], type=click.Choice(FORMS), default="table"),
            option("--columns"),
            flag("--no-header"),
            option("--query"),
            click.Option(["--filter"], multiple=True),
            option("--sort-by"),
            flag("--paginate"),
            flag("--wait"),
            flag("--no-wait"),
            option("--timeout", kind=click.FloatRange(min=0, min_open=True)),
            flag("-y", "--yes"),
            flag("--dry-run"),
            flag("--explain"),
            option("--profile"),
            option("--url"),
            option("--data-dir"),
            click.Option(["cacert", "--ca", "--cacert"]),
            flag("--insecure"),
            flag("--debug"),
            option("--lang", kind=click.Choice(["en", "ko"])),
            flag("-h", "--help"),
            flag("--version"),
            *more,
        ],
    )


def parse(command: click.Command, arguments: list[str]) -> dict[str, Any]:
    """The values of the options by their names. Raises Usage."""
    import click

    try:
        return command.make_context("mold", list(arguments)).params
    except click.ClickException as wrong:
        raise Usage(say("bad.option", text=wrong.format_message())) from wrong


def read(arguments: list[str], *, loose: bool = False) -> Options:
    """The options of a command line. Raises Usage."""
    return Options(**parse(syntax(loose=loose), arguments))


def open_cloud(options: Options) -> Cloud:
    """The server that the options, the environment and the profiles name. Raises Usage."""
    from mold.cli.client import Cloud
    from mold.cli.profiles import connection

    link = connection(
        profile=options.profile,
        url=options.url,
        data_dir=options.data_dir,
        cacert=options.cacert,
        insecure=options.insecure,
    )
    seconds = min(REQUEST_SECONDS, options.timeout or REQUEST_SECONDS)
    return Cloud(link, request_seconds=seconds, shows_requests=options.debug)
