"""What a reader sees of a page."""

import base64
import html
import re

BLANK_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJRU5ErkJggg=="
)
"""A picture of one pixel, for pages whose figures do not matter."""


def read_text(page):
    """Visible text in one line, images omitted."""
    text = re.sub(r"<style.*?</style>|<script.*?</script>|<[^>]*>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(text))


def list_headings(page):
    return [read_text(text) for text in re.findall(r"<h2[^>]*>(.*?)</h2>", page, re.DOTALL)]


def list_warnings(page):
    found = re.findall(r'<p class="warning">(.*?)</p>', page, re.DOTALL)
    return [read_text(text).strip() for text in found]


def list_captions(page):
    found = re.findall(r"<figcaption>(.*?)</figcaption>", page, re.DOTALL)
    return [read_text(text).strip() for text in found]
