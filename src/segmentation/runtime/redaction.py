"""User names and passwords taken out of addresses before anything is stored, logged or shown."""

from __future__ import annotations

import os
import re

#: Stands where something was taken out; an address with it cannot be connected to.
MASK = "***"
_ADDRESS = re.compile(r"""[A-Za-z][\w+.-]*://[^\s'"]*""")


def masked_url(url: str) -> str:
    """An address without user, password and options, which may hold a password too.

    An address with nothing to hide comes back as it is.

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
        # Not escaped as it should be: where the password ends is anyone's guess.
        return f"{scheme}://{MASK}"
    place, option, _ = place.partition("?")
    return f"{scheme}://{MASK + at if at else ''}{place}{option + MASK if option else ''}"


def kept_url(url: str) -> str:
    """An address as a run may keep it: the environment variable that holds it, or masked.

    A variable is written ``${oc.env:NAME}``, which the config resolves again.

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
    """A message or command line with every address in it masked.

    Parameters
    ----------
    text : str
    url : str, optional
        An address known to be in it, which may hold blanks and quotes.
    """
    if url:
        text = text.replace(url, masked_url(url))
    return _ADDRESS.sub(lambda found: masked_url(found.group()), text)
