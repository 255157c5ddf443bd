"""Where notifications go: addresses of Apprise, which are secrets: they are written, tried and hashed, never shown."""

import hashlib
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from pydantic import SecretStr

from mltrainer_pipelines.settings import Settings

WIKI = "https://github.com/caronc/apprise/wiki"


class AddressError(ValueError):
    """An address that Apprise does not understand: names its place in the list, never the address."""


@dataclass(frozen=True)
class Address:
    """An address of Apprise, with the name of its service for people, and a short hash for the records."""

    url: SecretStr
    service: str
    source: str

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.url.get_secret_value().encode()).hexdigest()[:8]


def addresses(settings: Settings) -> list[Address]:
    """Those of `MLTRAINER_NOTIFY`, then those saved on the System page; raises `AddressError`."""
    given = settings.mltrainer_notify.get_secret_value() if settings.mltrainer_notify else ""
    path = _file(settings)
    saved = path.read_text() if path.exists() else ""
    every = [*_parsed(given, "MLTRAINER_NOTIFY"), *_parsed(saved, "System page")]
    return list({one.fingerprint: one for one in every}.values())


def save(settings: Settings, text: str) -> None:
    """Keep addresses in a file that only its owner can read, in the place of those before; none where it is empty.

    Raises
    ------
    AddressError
        And nothing is changed.
    """
    _parsed(text, "System page")
    path = _file(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text.strip())
    draft.replace(path)


def send(address: Address, title: str, body: str) -> str | None:
    """Send one message; None where it was taken, else why not, without the address."""
    _quieten()
    import apprise

    target = apprise.Apprise.instantiate(address.url.get_secret_value())
    if target is None:
        return "Apprise does not understand the address"
    with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as log:
        if target.notify(body=body, title=title, body_format=apprise.NotifyFormat.TEXT):
            return None
        reason = " ".join(log.getvalue().split())
    return _without_secrets(reason or "it was not taken", address)[:300]


def _parsed(text: str, source: str) -> list[Address]:
    if not text.strip():
        return []
    _quieten()
    import apprise
    from apprise.utils.parse import parse_urls

    found = []
    for number, url in enumerate(parse_urls(text), start=1):
        target = apprise.Apprise.instantiate(url)
        if target is None:
            raise AddressError(f"address {number} of {source} is none that Apprise understands; {WIKI} shows how each is written")
        found.append(Address(SecretStr(url), str(target.service_name), source))
    if not found:
        raise AddressError(f"{source} holds no address of Apprise, as mailto://user:password@example.com; see {WIKI}")
    return found


def _quieten() -> None:
    """What Apprise and its connections write may hold a part of an address; its warnings are read by `send` alone."""
    logging.getLogger("apprise").propagate = False
    logging.getLogger("apprise").setLevel(logging.CRITICAL)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)


def _without_secrets(text: str, address: Address) -> str:
    parts: Sequence[str] = re.split(r"[^\w.-]+", unquote(address.url.get_secret_value().partition("://")[2]))
    for part in sorted({part for part in parts if len(part) > 3}, key=len, reverse=True):
        text = text.replace(part, "…")
    return text


def _file(settings: Settings) -> Path:
    return settings.state / "notify-addresses"
