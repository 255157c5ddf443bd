"""What every page has around it: the banner, error messages, and empty states."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import streamlit as st

from mltrainer_pipelines.app.client import ApiDownError, ApiProblemError, api

_PROMISE = "For paper trading only: this system cannot place orders."
_KIND = {
    "simulated": ("SIMULATED", "Prices, companies and results are made up."),
    "replay": ("REPLAY", "Recorded prices of the past are played again."),
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
    """The market's kind where it is not real, and what the pages are for."""
    try:
        kind = api().get("/api/regime", sessions=1)["market"]
    except (ApiDownError, ApiProblemError):
        kind = "unknown"
    word, meaning = _KIND.get(kind, ("", ""))
    label = f'<b class="{kind}">{word}</b><span>{meaning}</span>' if word else ""
    st.html(f'{_STYLE}<div class="mlt-banner" role="note" aria-label="About these pages">{label}<span>{_PROMISE}</span></div>')


@contextmanager
def error_messages() -> Iterator[None]:
    """Show errors of the API in place of a traceback; the page reloads by itself when the API is back."""
    try:
        yield
    except ApiDownError as error:
        _reconnect(f"**Cannot reach the data:** {error}.")
    except ApiProblemError as error:
        if error.status == 503:
            _reconnect(f"**Not available right now:** {error}.")
        else:
            _failed(error)


def _reconnect(message: str) -> None:
    st.error(f"{message} This page reconnects automatically.", icon=":material/cloud_off:")
    _await_api()


@st.fragment(run_every=3)
def _await_api() -> None:
    try:
        if api().get("/health")["status"] == "ok":
            st.rerun()
    except (ApiDownError, ApiProblemError):
        st.caption("Reconnecting …")


def attempt(act: Callable[[], object], done: str) -> bool:
    """Do what a click asked for and show the outcome; True where it worked."""
    try:
        act()
    except (ApiDownError, ApiProblemError) as error:
        _failed(error)
        return False
    st.toast(done, icon=":material/check:")
    return True


def _failed(error: Exception) -> None:
    st.error(f"**That did not work:** {error}.", icon=":material/error:")


def empty_state(what: str, next_step: str) -> None:
    """What is missing, and what to do next."""
    st.info(f"**{what}** {next_step}", icon=":material/inbox:")


def stale_warning(*assets: str) -> None:
    """Say so where what a page shows is of an earlier session than it should be, or the market is not scored any more."""
    pipeline = api().get("/api/facilitator/data-pipeline")
    late = [one for one in pipeline["assets"] if one["asset"] in assets and one["sessions_behind"]]
    if late:
        worst = max(late, key=lambda one: one["sessions_behind"])
        sessions = f"{worst['sessions_behind']} session{'s' * (worst['sessions_behind'] > 1)}"
        names = ", ".join(one["asset"].replace("_", " ") for one in late)
        st.warning(
            f"**Not up to date:** {names}, up to {sessions} behind (newest {worst['newest']}). "
            "The System page says what is being caught up on.",
            icon=":material/update:",
        )
    elif "signals" in assets and pipeline["refresh_overdue"]:
        st.warning(
            "**Not up to date:** the market was not scored for over 35 minutes. The System page says why.",
            icon=":material/update:",
        )
