"""What a terminal would obey is shown instead."""

import io
import sys

import pytest

from speechssl.cli._terminal import Escaping, escape, escaping


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;evil\x07", "\\x1b]0;evil\\x07"),
        ("a\x9b31m\x7f\x08", "a\\x9b31m\\x7f\\x08"),
        ("\u202egnp.x", "\\u202egnp.x"),
        ("name \udcff", "name \\udcff"),
        ("a\rb", "a\\rb"),
        ("\r12/40 utterances  ", "\r12/40 utterances  "),
        ("\r    \r", "\r    \r"),
        ("tab\tand line\n", "tab\tand line\n"),
        ("日本語 é 😀", "日本語 é 😀"),
    ],
)
def test_control_characters_are_shown_and_the_rest_stays(text: str, shown: str) -> None:
    assert escape(text) == shown
    stream = io.StringIO()
    assert Escaping(stream).write(text) == len(text)
    assert stream.getvalue() == shown


def test_ids_go_into_a_file_or_a_program_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with escaping():
        print("\x1b[2J")  # standard output, which is no terminal here
        print("\x1b[2J", file=sys.stderr)
    found = capsys.readouterr()
    assert (found.out, found.err) == ("\x1b[2J\n", "\\x1b[2J\n")
