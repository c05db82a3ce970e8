"""Malicious output folders, pages, terminals and servers."""
# ruff: noqa: E501 (a table: one attack, one entry)

import dataclasses
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from speechssl.cli import main
from speechssl.cli._gather import Texts, from_output
from speechssl.convert import download
from speechssl.data.corpus import open_corpus
from speechssl.errors import SpeechSSLError
from speechssl.extract.job import ModelSpec
from speechssl.extract.merge import Output
from speechssl.extract.outputs import read_units, verify
from speechssl.extract.run import Options, run_units
from speechssl.report.page import Failure, render
from tests.battery.attack import Attack
from tests.battery.readers_models import contents
from tests.convert.server import FileServer, serving
from tests.extract.helpers import corpus
from tests.report.pages import Document, page, recording
from tests.units.test_model import mfcc_model

PRECIOUS = "../../outside/precious"  # as seen from OUT
_made: dict[str, bytes] = {}


def folder(home: Path) -> None:
    """home/OUT: a finished output folder; audio/ and model/, of which it was made, lie beside home for all attacks."""
    if not (home.parent / "audio").exists():
        corpus(home.parent / "audio", 2, seconds=0.1)
        mfcc_model(4).save(home.parent / "model")
        again(home)
        _made.clear()
        _made.update({name: data for name, data in contents(home / "OUT").items() if not name.startswith("lock")})
    for name, data in _made.items():
        path = home / "OUT" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def again(home: Path) -> None:
    """The command that makes OUT, or goes on with it."""
    audio, model = home.parent / "audio", ModelSpec(str(home.parent / "model"))
    run_units(open_corpus(audio), home / "OUT", model, outputs=[Output("jsonl", True)],
              shard_size=1, options=Options(workers=0, quiet=True))  # fmt: skip


def every_use(home: Path) -> None:
    """Verified, read, shown, gone on with: the last refusal is what came of it."""
    refused = None
    out = home / "OUT"
    uses: list[Callable[[], object]] = [
        lambda: verify(out), lambda: list(read_units(out)), lambda: render(from_output(out, Texts("title"), num=1)),
        lambda: again(home),
    ]  # fmt: skip
    for use in uses:
        try:
            use()
        except SpeechSSLError as error:
            refused = error
        except OSError as error:  # the system refused to follow a link
            refused = SpeechSSLError(str(error))
    if refused:
        raise refused


def outputs() -> Iterator[Attack]:
    """Folders that somebody else gave us, to verify, to show or to go on with."""

    def attack(name: str, change: Callable[[Path], object]) -> Attack:
        def make(home: Path) -> None:
            folder(home)
            change(home / "OUT")

        return Attack("output folders", name, make, every_use)

    for name in ("shards", "journal.jsonl", "lock", "lock.0of1", "lock.job", "lock.of1", "lock.merge", "job.json", "units.json",
                 "report.json", "sha256sums", "failures.tsv", "units.jsonl"):  # fmt: skip
        for kind, target in {"a file outside": PRECIOUS, "a folder outside": "../../outside", "nothing": "../../outside/new",
                             "zeros": "/dev/zero", "itself": name}.items():  # fmt: skip
            yield attack(f"{name} links to {kind}", lambda out, n=name, t=target: _link(out, n, t))  # type: ignore[misc]
        yield attack(f"{name} is a FIFO", lambda out, n=name: _fifo(out, n))  # type: ignore[misc]
    for shard in ("units_0_2.npy", "units_0_2.jsonl"):
        yield attack(f"shards/{shard} links outside", lambda out, n=shard: _link(out / "shards", n, "../" + PRECIOUS))  # type: ignore[misc]
    yield attack("scratch that links outside", lambda out: (out / ".tmp-0of1-1-x").symlink_to("../../outside"))
    yield attack(
        "scratch in shards that links outside",
        lambda out: (out / "shards/.tmp-0of1-1-x").symlink_to("../../../outside"),
    )
    for names in ({PRECIOUS: "0" * 64}, {"../" + PRECIOUS: "0" * 64}, {"/etc/passwd": "0" * 64}, {"../job.json": "0" * 64}, {"": "x"},
                  {"units_0_2.npy": "0" * 64, "../" + PRECIOUS: "0" * 64}, {"..": "0"}, {"x\0y": "0"}, {"units_1_2.npy": "0" * 64}):  # fmt: skip
        yield attack(f"journal names {list(names)}", lambda out, f=names: _journal(out, files=f))  # type: ignore[misc]
    for change in ({"shard": 10**9}, {"shard": -1}, {"rows": 10**18}, {"frames": 10**400}, {"seconds": 1e308}, {"ok": -5},
                   {"failures": {"\x1b]0;evil\x07": 1}}, {"notes": {"<script>": 10**18}}):  # fmt: skip
        yield attack(f"journal says {str(change)[:40]}", lambda out, c=change: _journal(out, **c))  # type: ignore[misc]
    for path, value in {
        "num_shards": 10**15, "shard_size": 10**15, "store": "../../evil", "kind": "features", "model.num_units": 1 << 60,
        "model.rate_hz": 1e-300, "model.sample_rate": 0, "manifest.utterances": 10**15, "model.name": "<script>evil()</script>",
        "long_audio.window_s": -1.0, "version": "\x1b[2J", "device": "os.system", "model.layer": 1 << 60,
    }.items():  # fmt: skip
        yield attack(
            f"job.json: {path} = {str(value)[:24]!r}", lambda out, p=path, v=value: _edit(out / "job.json", p, v)
        )  # type: ignore[misc]
    for source in (
        "-",
        "/",
        "/etc",
        "/dev/zero",
        PRECIOUS,
        "cat x |",
        "http://127.0.0.1:9/",
        "s3://x/y",
        "*",
        "~",
        "/proc/self/fd",
    ):
        yield attack(
            f"sidecar says the recordings are {source}",
            lambda out, s=source: _edit(out / "units.json", "input.source", s),
        )  # type: ignore[misc]
    for name, value in {"outputs": [{"format": "../../evil", "merged": True}], "input": "x", "files": {PRECIOUS: "0" * 64},
                        "model": {"x": "<script>evil()</script>"}, "seconds": "\x1b[2J"}.items():  # fmt: skip
        yield attack(
            f"sidecar: {name} = {str(value)[:24]}", lambda out, n=name, v=value: _edit(out / "units.json", n, v)
        )  # type: ignore[misc]
    for name, value in {"files": [PRECIOUS, "/etc/passwd", 5], "problems": "x", "speed": "fast", "hours": "\x1b[2J", "failures": 7,
                        "notes": [1], "shards_done": 10**400}.items():  # fmt: skip
        yield attack(
            f"report: {name} = {str(value)[:24]}", lambda out, n=name, v=value: _edit(out / "report.json", n, v)
        )  # type: ignore[misc]
    for name in (
        PRECIOUS,
        "/etc/passwd",
        "/dev/zero",
        "shards/../../x",
        "..",
        "a/b/c",
        "shards/",
        "",
        "\x1b]0;evil\x07",
    ):
        yield attack(f"sha256sums names {name!r}", lambda out, n=name: _sums(out, n))  # type: ignore[misc]
    for row in ({"id": PRECIOUS, "frames": 10**15, "samples": 1}, {"id": 5}, {"id": "u", "frames": -1, "samples": -1}, [1], "x", None,
                {"id": "u", "code": 1, "error": []}, {"id": "u", "frames": 1, "samples": 1, "notes": "x"}):  # fmt: skip
        yield attack(
            f"row {str(row)[:40]}",
            lambda out, r=row: (out / "shards" / "units_0_2.jsonl").write_text(json.dumps(r) + "\n"),
        )  # type: ignore[misc]


def _link(out: Path, name: str, target: str) -> None:
    path = out / name
    if path.is_dir():
        path.rename(out / f".{name}")
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def _fifo(out: Path, name: str) -> None:
    _link(out, name, "x")
    (out / name).unlink()
    os.mkfifo(out / name)


def _journal(out: Path, **change: Any) -> None:
    """Change the first line; the hashes of the folder go, so that it counts as unfinished."""
    first, *rest = (out / "journal.jsonl").read_text().splitlines()
    (out / "journal.jsonl").write_text("\n".join([json.dumps({**json.loads(first), **change}), *rest]) + "\n")
    (out / "sha256sums").unlink()


def _edit(path: Path, key: str, value: Any) -> None:
    whole = json.loads(path.read_text())
    inner, *keys = whole, *key.split(".")
    for name in keys[:-1]:
        inner = inner[name]
    inner[keys[-1]] = value
    path.write_text(json.dumps(whole))


def _sums(out: Path, name: str) -> None:
    with (out / "sha256sums").open("a") as sums:
        sums.write(f"{'0' * 64}  {name}\n")


MARKUP = (
    "<script>evil()</script>", "</script><script>evil()</script>", '"><img src=x onerror=evil()>', "javascript:evil()", "<svg/onload=evil()>",
    "</title></style><script>evil()</script>", "' autofocus onfocus='evil()", "<!--", "--><script>evil()</script>", "<base href=//x>",
    "<iframe srcdoc='<script>evil()</script>'>", "&lt;script&gt;", "<math><mi xlink:href='data:x,<script>evil()</script>'>", "]]><script>",
    "<meta http-equiv=refresh content='0;url=//x'>", "\\u003cscript\\u003e", "{{constructor.constructor('evil()')()}}", "<link rel=stylesheet href=//x>",
    "<object data=//x>", "<form action=//x><button>", "\x00<script>", "<scr\x00ipt>", "＜script＞", "<a href='java\nscript:evil()'>",
)  # fmt: skip


def pages() -> Iterator[Attack]:
    """Markup in everything that a page shows: the page's tags stay those of a page of harmless words."""

    def tags(word: str) -> list[tuple[str, tuple[str, ...]]]:
        one = recording(word, text=word, labels=[(0.0, 0.5, word)], notes=[word])
        made = page(one, failures=[Failure(word, word, word)], banner=word, source=[word], card={word: word, "config": {word: word}},
                    sidecar={"x": {word: [word]}})  # fmt: skip
        document = Document(render(dataclasses.replace(made, title=word, subtitle=word)))
        if document.handlers() or any(not url.startswith(("data:", "#")) for url in document.urls()):
            raise RuntimeError("the page runs or loads something")
        return [(tag, tuple(attributes)) for tag, attributes, _ in document.tags]

    def show(word: str) -> None:
        if tags(word) != tags("harmless"):
            raise RuntimeError("it became markup")

    for word in MARKUP:
        yield Attack("pages", word, lambda home: None, lambda home, w=word: show(w))  # type: ignore[misc]


CHARACTERS = ("\x1b]0;evil\x07", "\x1b[2J\x1b[H", "\x9b31m", "\x1b]52;c;ZXZpbA==\x07", "\x1bP$q\x1b\\", "a\rspeechssl: all is well", "\x08" * 9, "\u202egnp.evil",
            "\x1b]8;;http://x\x07y", "\x7f", "\x85", "\x1b[8m", "\udcff")  # fmt: skip


class Terminal(io.StringIO):
    """Where a command prints for a person."""

    def isatty(self) -> bool:
        return True


def terminals() -> Iterator[Attack]:
    """Control characters in names, ids, cards and sums, through the commands that print them."""

    def printed(*words: str) -> None:
        out, err = Terminal(), Terminal()
        with redirect_stdout(out), redirect_stderr(err):
            main(words)
        shown = out.getvalue() + err.getvalue()
        if "this is a bug" in shown:
            raise RuntimeError(shown[-400:])
        bad = [c for c in shown if c not in "\n\t" and (ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u202e\udcff")]
        if bad or not shown:
            raise RuntimeError(f"the terminal got {bad[:9]!r}")

    def path(home: Path, word: str) -> str:
        return str(home / word.replace("/", "_"))

    for word in CHARACTERS:
        yield Attack(
            "terminals", f"absent file {word!r}", lambda home: None, lambda home, w=word: printed("info", path(home, w))
        )  # type: ignore[misc]
        yield Attack(
            "terminals", f"verify {word!r}", lambda home: None, lambda home, w=word: printed("verify", path(home, w))
        )  # type: ignore[misc]
        yield Attack(
            "terminals",
            f"table with {word!r}",
            lambda home, w=word: _table(home, w),
            lambda home: printed("data", "check", str(home / "d")),
        )  # type: ignore[misc]
        yield Attack("terminals", f"manifest with {word!r}", lambda home, w=word: (home / "x.jsonl").write_text(json.dumps({"id": w, "audio": w}) * 2),  # type: ignore[misc]
                     lambda home: printed("data", "check", str(home / "x.jsonl")))  # fmt: skip
        yield Attack(
            "terminals",
            f"card with {word!r}",
            lambda home, w=word: _card(home, w),
            lambda home: printed("info", str(home)),
        )  # type: ignore[misc]


def _table(home: Path, word: str) -> None:
    (home / "d").mkdir()
    (home / "d" / "wav.scp").write_bytes(f"a{word} {word}\n".encode(errors="surrogateescape"))
    (home / "d" / os.fsencode(f"x{word}".replace("/", "_")).decode(errors="surrogateescape")).write_text(
        "nobody knows\n"
    )


def _card(home: Path, word: str) -> None:
    mfcc_model(4).save(home)
    card = json.loads((home / "card.json").read_text())
    card |= {"name": word, "licence": word, "training": {word: [word]}}
    (home / "card.json").write_text(json.dumps(card))


def servers() -> Iterator[Attack]:
    """Addresses and servers. The one that may be called is on this machine."""
    for url in ("file:///etc/passwd", "ftp://127.0.0.1/x", "http://192.0.2.1/x", "http://example.org@192.0.2.1/x", "https://", "https://[",
                "http://127.0.0.1.example.org/x", "gopher://x", "data:text/plain,x", "https://x:notaport/y", "http://127.0.0.1:9 x/y", "HTTP://192.0.2.1/",
                "https:///etc/passwd", "http://localhost@192.0.2.1/", "jar:http://127.0.0.1/x", "https://x\n/y", "//192.0.2.1/x", "\\\\192.0.2.1\\x"):  # fmt: skip
        yield Attack(
            "servers", f"address {url!r}", lambda home: None, lambda home, u=url: _fetch(home, lambda server: u)
        )  # type: ignore[misc]
    for target in (
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "http://192.0.2.1/x",
        "http://example.org/x",
        "data:text/plain,x",
        "//192.0.2.1/x",
        "gopher://127.0.0.1/",
    ):
        yield Attack(
            "servers",
            f"redirect to {target}",
            lambda home: None,
            lambda home, t=target: _fetch(home, lambda server: _redirecting(server, t)),
            True,
        )  # type: ignore[misc]
    yield Attack(
        "servers",
        "redirects in a circle",
        lambda home: None,
        lambda home: _fetch(home, lambda server: _redirecting(server, f"{server.url}/a")),
        True,
    )
    yield Attack(
        "servers",
        "another file than pinned",
        lambda home: None,
        lambda home: _fetch(home, _evil, sha256="0" * 64),
        True,
    )
    for name in (
        "..%2f..%2foutside%2fprecious",
        "%2e%2e",
        ".bashrc",
        "%00",
        "lock",
        "%0d%0aX-Evil:%201",
        "x" * 300,
        "a.etag",
        "a.part",
    ):
        yield Attack(
            "servers",
            f"file name {name[:30]}",
            lambda home: None,
            lambda home, n=name: _fetch(home, lambda server: _evil(server, n)),
            True,
        )  # type: ignore[misc]
    for header, value in {
        "ETag": '"\x1b]0;evil"',
        "Content-Range": "bytes 5-9/99999999999",
        "Location": "file:///etc/passwd",
    }.items():
        yield Attack(
            "servers",
            f"header {header}",
            lambda home: None,
            lambda home, h=header, v=value: _fetch(home, lambda server: _heading(server, h, v)),
            True,
        )  # type: ignore[misc]


def _fetch(home: Path, make: Callable[[FileServer], str], sha256: str = "") -> None:
    before = {name: os.environ.get(name) for name in ("SPEECHSSL_CACHE", "no_proxy")}
    os.environ |= {"SPEECHSSL_CACHE": str(home / "cache"), "no_proxy": "127.0.0.1"}
    try:
        with serving() as server:
            got = download.fetch_url(make(server), sha256=sha256)
            if not got.path.resolve().is_relative_to(home) or b"evil" not in got.path.read_bytes():
                raise RuntimeError(f"it came from elsewhere or went elsewhere: {got.path}")
    except OSError as error:
        raise SpeechSSLError(str(error)) from error
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _evil(server: FileServer, name: str = "model.pt") -> str:
    server.files[f"/{name}"] = b"evil"
    return f"{server.url}/{name}"


def _redirecting(server: FileServer, target: str) -> str:
    server.redirects["/a"] = target
    return f"{server.url}/a"


def _heading(server: FileServer, header: str, value: str) -> str:
    server.headers[header] = value
    return _evil(server)


def attacks() -> Iterator[Attack]:
    for group in (outputs, pages, terminals, servers):
        yield from group()


CONTROLS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "output folder": (folder, every_use),
    "server": (lambda home: None, lambda home: _fetch(home, _evil)),
}
