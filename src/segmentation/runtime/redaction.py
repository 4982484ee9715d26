"""Remove user names and passwords from addresses before anything is stored, logged or shown."""

from __future__ import annotations

import os
import re

#: Replaces what was removed; an address that contains it cannot be used to connect.
MASK = "***"
_ADDRESS = re.compile(r"""[A-Za-z][\w+.-]*://[^\s'"]*""")


def masked_url(url: str) -> str:
    """Return an address without user, password and options, which may hold a password too.

    An address with nothing to hide is returned unchanged.

    Parameters
    ----------
    url : str
        ``scheme://user:password@host:port/path?options``, well-formed or not.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return MASK
    user, at, place = rest.rpartition("@")
    if re.search(r"""[/?#@\s'"]""", user):
        # Not escaped as it should be: the end of the password cannot be determined.
        return f"{scheme}://{MASK}"
    place, option, _ = place.partition("?")
    return f"{scheme}://{MASK + at if at else ''}{place}{option + MASK if option else ''}"


def kept_url(url: str) -> str:
    """Return an address as a run may store it: the environment variable that holds it, or masked.

    A variable is written as ``${oc.env:NAME}``, which the config resolves again.

    Parameters
    ----------
    url : str
    """
    hidden = masked_url(url)
    if hidden == url:
        return url
    name = next((name for name, value in sorted(os.environ.items()) if value == url), None)
    return hidden if name is None else f"${{oc.env:{name}}}"


def masked(text: str, url: str | None = None) -> str:
    """Return a message or command line with every address in it masked.

    Parameters
    ----------
    text : str
    url : str, optional
        An address known to be in the text, which may contain blanks and quotes.
    """
    if url:
        text = text.replace(url, masked_url(url))
    return _ADDRESS.sub(lambda found: masked_url(found.group()), text)
