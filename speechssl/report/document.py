"""What all pages share: one HTML file that opens from disk, asks the network for nothing and runs only its own script.

A content security policy in the page names the hashes of its one style sheet and its one script: whatever an id, a
transcript or an error message may hold, nothing else can run or load. Texts are to be escaped besides.
"""

import base64
import hashlib
import html
from importlib import resources


def document(title: str, body: str, *, style: str = "", script: str = "") -> str:
    """The page: `title` as text, `body` as markup; `style` comes behind the rules that all pages share."""
    style = asset("page.css") + style
    policy = (
        f"default-src 'none'; img-src data:; media-src data:; style-src '{_hash(style)}'; "
        f"script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    )
    end = f"<script>{script}</script>" if script else ""
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<meta name="generator" content="speechssl"><meta name="referrer" content="no-referrer">
<title>{html.escape(title)}</title><style>{style}</style></head><body>
{body}{end}</body></html>
"""


def asset(name: str) -> str:
    """A style sheet or script of the package."""
    return resources.files("speechssl").joinpath("assets", "report", name).read_text(encoding="utf-8")


def duration(seconds: float) -> str:
    """In hours, minutes or seconds."""
    if seconds >= 3600:
        return f"{seconds / 3600:.2f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.1f} s"


def plural(count: int, noun: str) -> str:
    """`count` and the noun."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
