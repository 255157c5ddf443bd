"""The prompts: one Markdown file each, with its version in the first line."""

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Literal

Name = Literal["propose", "chat", "summarise"]
_HEAD = re.compile(r"<!-- version: (\d+) -->\n")


@dataclass(frozen=True)
class Prompt:
    """A prompt; `version` names file and number, such as `propose-1`, and is kept with every answer to it."""

    version: str
    text: str


@lru_cache
def prompt(name: Name) -> Prompt:
    """The prompt of that name."""
    content = files(__name__).joinpath(f"{name}.md").read_text(encoding="utf-8")
    head = _HEAD.match(content)
    if head is None:
        raise ValueError(f"the prompt {name}.md does not start with its version: write <!-- version: 1 --> first")
    return Prompt(f"{name}-{head[1]}", content[head.end() :].strip())
