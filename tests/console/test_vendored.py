"""Vendored files are unchanged, and the templates keep the page's policy."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from relay.console.console import HERE

VENDOR = HERE / "static" / "vendor"


def test_every_vendored_file_has_the_hash_from_the_list() -> None:
    listed = dict(re.findall(r"\| ([\w.-]+\.js) \|.*`([0-9a-f]{64})`", (VENDOR / "README.md").read_text()))
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.glob("*.js")}
    assert listed == found


def test_no_template_has_inline_scripts_or_styles_or_event_handlers() -> None:
    for path in (HERE / "templates").glob("*.html"):
        text = path.read_text()
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text), path.name
        for tag in re.findall(r"<script[^>]*>", text):
            assert 'nonce="{{ nonce }}"' in tag, (path.name, tag)
            assert "src=" in tag, (path.name, tag)


def test_every_htmx_attribute_has_the_nonce_of_the_page() -> None:
    for path in (HERE / "templates").glob("*.html"):
        for tag in re.findall(r"<\w+[^>]*\shx-[^>]*>", path.read_text()):
            assert 'hx-nonce="{{ nonce }}"' in tag, (path.name, tag)


def test_nothing_is_loaded_from_elsewhere() -> None:
    for path in [*(HERE / "templates").glob("*.html"), *(HERE / "static").glob("*.*")]:
        text = Path(path).read_text().replace("http://www.w3.org/2000/svg", "")
        text = text.replace("http://localhost:", "")  # the page's address in a text
        assert not re.search(r"https?://|//cdn", text), path.name
