"""Digests that bind what runs to what was shown."""

import hashlib
import json
from collections.abc import Mapping


def digest_of(kind: str, params: Mapping[str, object], text: str) -> str:
    """Digest of an action as it is shown: what runs later must have the same."""

    def numbers_alike(value: object) -> object:  # jsonb gives 1e20 back as an integer
        if isinstance(value, Mapping):
            return {name: numbers_alike(item) for name, item in value.items()}
        if isinstance(value, list):
            return [numbers_alike(item) for item in value]
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value

    shown = json.dumps([kind, numbers_alike(params), text], sort_keys=True)
    return hashlib.sha256(shown.encode()).hexdigest()[:16]
