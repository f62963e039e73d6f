"""The console's page by itself, served without a server behind it: what it makes of text, of its address, of silence."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from browserkit import DESKTOP, STATIC, window
from playwright.sync_api import Browser

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    """The built page on a port of its own; WebSockets are answered with 404."""
    assert (STATIC / "vnc.html").exists(), "the pages are not built: make gui"

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(STATIC)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def test_text_becomes_keys(browser: Browser, base: str) -> None:
    with window(browser, **DESKTOP) as (_, page):
        page.goto(f"{base}/vnc.html")

        def keys(text: str, toggle: bool = False) -> tuple[str, int]:
            told = page.evaluate(
                "async ([text, toggle]) => { const m = await import('./keys.js'); return m.keysFor(text, toggle); }",
                [text, toggle],
            )
            names = {0xFF31: "<한/영>", 0xFF0D: "<enter>", 0xFF09: "<tab>"}
            return "".join(names.get(k["keysym"]) or chr(k["keysym"]) for k in told["keys"]), told["skipped"]

        # Two-set keystrokes as any Korean keyboard has them, double consonants and vowels and finals among them.
        for text, typed in (
            ("안녕하세요", "dkssudgktpdy"), ("값", "rkqt"), ("뷁", "qnpfr"), ("꽃", "Rhc"), ("의", "dml"),
            ("힣", "glg"), ("가", "rk"), ("쌓다", "Tkgek"), ("읽었잖아", "dlfrdjTwksgdk"), ("ㅋㅋ ㅠㅠ", "zz bb"),
            ("ㄳㅄㅘㅢ", "rtqthkml"), ("예얘", "dPdO"),
        ):  # fmt: skip
            assert keys(text) == (typed, 0), text
        assert keys("가") == ("rk", 0), "the parts of a syllable, as some systems store them"
        plain = "".join(map(chr, range(0x20, 0x7F)))
        assert keys(plain) == (plain, 0), "every character of ASCII has a key"
        assert keys("a\r\nb\tc") == ("a<enter>b<tab>c", 0)
        assert keys("aé→b") == ("ab", 2)
        assert keys("ls 안녕, hi 봐", True) == ("ls <한/영>dkssud, <한/영>hi <한/영>qhk<한/영>", 0)
        shifted = page.evaluate(
            "async () => { const m = await import('./keys.js'); return m.keysFor('aA1!-_').keys.map((k) => [k.code, k.shift]); }"
        )
        assert shifted == [["KeyA", False], ["KeyA", True], ["Digit1", False], ["Digit1", True], ["Minus", False],
                           ["Minus", True]]  # fmt: skip


def test_a_hostile_address_changes_neither_the_page_nor_the_server(browser: Browser, base: str) -> None:
    title = "<img src=x onerror=alert(1)>\"'&</h1><script>alert(2)</script>" + "x" * 300
    for path in ("//evil.example/ws?token=abc", "https://evil.example/?token=abc", "../../x?token=abc", "?token=abc"):
        with window(browser, **DESKTOP) as (_, page):
            sockets: list[str] = []
            page.on("websocket", lambda socket, seen=sockets: seen.append(socket.url))
            page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
            page.goto(f"{base}/vnc.html?host=evil.example&port=1&path={quote(path, safe='')}&title={quote(title)}")
            page.wait_for_selector("#notice:not([hidden])")
            assert sockets == [f"{base.replace('http', 'ws')}/websockify?token=abc"]
            assert page.inner_text("h1") == title[:120] and page.title() == f"{title[:120]} · Console"
            assert page.locator("h1 *").count() == 0
            assert "broke" in page.inner_text("#what")


def test_the_browsers_language_is_spoken(browser: Browser, base: str) -> None:
    for locale, said in (
        ("ko-KR", "연결되지 않음"),
        ("ko", "연결되지 않음"),
        ("en-GB", "Not connected"),
        ("fr-FR", "Not connected"),
    ):
        with window(browser, locale=locale) as (_, page):
            page.goto(f"{base}/vnc.html")
            page.wait_for_selector("#again:enabled")
            assert page.inner_text("#status") == said
            assert page.evaluate("document.documentElement.lang") == ("ko" if locale.startswith("ko") else "en")
            page.click("#again")
            page.wait_for_selector("#again:enabled")
            assert page.inner_text("#why").count("Mold") == 1
