"""What every page has around it: which market it is, that nothing is ordered, and what to do when the API is away."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import streamlit as st

from mltrainer_pipelines.app.client import ApiDownError, ApiProblemError, api

_PROMISE = "Recommendations for paper trading; this system cannot place orders."
_KIND = {
    "simulated": ("SIMULATED", "a simulated market: none of its prices, companies or results are real"),
    "replay": ("REPLAY", "recorded prices of the past are lived through again"),
}
_STYLE = """
<style>
.mlt-banner { display: flex; flex-wrap: wrap; gap: .35rem .75rem; align-items: center; font-size: .875rem; line-height: 1.35;
  padding: .45rem .75rem; border-radius: .5rem; border: 1px solid #8886; margin-bottom: .25rem; }
.mlt-banner b { padding: .1rem .5rem; border-radius: .3rem; background: #7c2d12; color: #fff; letter-spacing: .04em; }
.mlt-banner b.replay { background: #1e3a8a; }
.stMainBlockContainer { padding: 4.5rem 2rem 4rem; max-width: 1600px; }
.stMainBlockContainer h1 { font-size: 2rem; padding: .5rem 0 .25rem; }
.stMainBlockContainer h2, .stMainBlockContainer h3 { font-size: 1.3rem; padding: .75rem 0 .25rem; }
button[role="radio"][aria-checked="true"], button[role="radio"][aria-checked="true"] p {
  background: #1d4ed8 !important; color: #fff !important;
}
[role="tab"][aria-selected="true"], [role="tab"][aria-selected="true"] p { color: unset !important; font-weight: 600; }
[data-testid="stCaptionContainer"] { opacity: 1; color: inherit; }
[data-testid="stCaptionContainer"] p { color: color-mix(in srgb, currentColor 78%, transparent); }
@media (max-width: 640px) {
  .stMainBlockContainer { padding: 4.5rem .9rem 4rem; }
  .stMainBlockContainer h1 { font-size: 1.6rem; }
}
</style>
"""


def banner() -> None:
    """The market's kind where it is not real, and what this is for. Without the API the kind is not known."""
    try:
        kind = api().get("/api/regime", sessions=1)["market"]
    except (ApiDownError, ApiProblemError):
        kind = "unknown"
    word, meaning = _KIND.get(kind, ("", ""))
    label = f'<b class="{kind}">{word}</b><span>{meaning}</span>' if word else ""
    st.html(f'{_STYLE}<div class="mlt-banner" role="note" aria-label="About these pages">{label}<span>{_PROMISE}</span></div>')


@contextmanager
def understandable() -> Iterator[None]:
    """Show what went wrong instead of a trace, and come back by itself when the API does."""
    try:
        yield
    except ApiDownError as error:
        st.error(f"**The data cannot be reached:** {error}. This page tries again by itself.", icon=":material/cloud_off:")
        _try_again()
    except ApiProblemError as error:
        if error.status == 503:
            st.error(f"**Not available right now:** {error}. This page tries again by itself.", icon=":material/cloud_off:")
            _try_again()
        else:
            st.error(f"**That did not work:** {error}.", icon=":material/error:")


@st.fragment(run_every=3)
def _try_again() -> None:
    try:
        if api().get("/health")["status"] == "ok":
            st.rerun()
    except (ApiDownError, ApiProblemError):
        st.caption("Waiting for the API …")


def attempt(act: Callable[[], Any], done: str) -> bool:
    """Do what a click asked for and say how it went; whether it went well."""
    try:
        act()
    except (ApiDownError, ApiProblemError) as error:
        st.error(f"**That did not work:** {error}.", icon=":material/error:")
        return False
    st.toast(done, icon=":material/check:")
    return True


def empty(what: str, next_step: str) -> None:
    """An empty state: what there is none of, and what to do next."""
    st.info(f"**{what}** {next_step}", icon=":material/inbox:")
