"""Factors: try an expression on the market's data."""

import streamlit as st

from mltrainer_pipelines.app.client import api
from mltrainer_pipelines.app.formats import NONE, number, share
from mltrainer_pipelines.app.frame import empty_state, error_messages
from mltrainer_pipelines.app.tables import Column, Record, table

_EXAMPLE = "Corr($close, Log($volume+1), 20)"


def show() -> None:
    st.title("Factors")
    st.caption("A factor is an expression of prices and volumes. It never looks ahead, and trying one changes nothing.")
    with st.form("factor"):
        expression = st.text_input("Expression", _EXAMPLE, max_chars=4000)
        sessions = int(st.number_input("Newest sessions", 21, 756, 252))
        asked = st.form_submit_button("Try it")
    if asked and expression.strip():
        with error_messages():
            _figures(expression, sessions)
    with error_messages():
        _library()


def _library() -> None:
    """Propose, screen, and read what became of factors."""
    st.subheader("Library")
    known = api().get("/api/factors", limit=100)
    counts = known["counts"]
    st.caption(
        f"{known['screened']:,} factors were ever screened, and each verdict counts them all. "
        + ", ".join(f"{counts.get(name, 0)} {name}" for name in ("proposed", "accepted", "rejected", "retired"))
        + "."
    )
    with st.form("proposal", clear_on_submit=False):
        expression = st.text_input("Expression to propose", max_chars=4000)
        hypothesis = st.text_area("Hypothesis: why it should work, and what would refute it", max_chars=1000)
        timeframe = st.segmented_control("Holding period", ["short", "long"], default="short", required=True)
        proposed = st.form_submit_button("Propose")
    if proposed and expression.strip():
        with error_messages():
            body = {"expression": expression, "hypothesis": hypothesis, "timeframe": timeframe}
            st.success(f"Proposed: {api().send('POST', '/api/factors', body)['expression']}")
            known = api().get("/api/factors", limit=100)
    if not known["items"]:
        empty_state("No factor yet.", "Propose one above, or have `evolve` search: materialize factor_proposals in Dagster.")
        return
    table(known["items"], _FACTORS, "library", "factors and their verdicts")
    waiting = {
        f"{one['expression']} ({one['timeframe']})": one["factor_id"] for one in known["items"] if one["status"] == "proposed"
    }
    if waiting:
        chosen = st.selectbox("Proposed factor", list(waiting))
        if st.button("Screen it"):
            with error_messages():
                api().send("POST", f"/api/factors/{waiting[chosen]}/screen")
                st.success("Its screening was requested; the verdict shows here when its run has ended.")


def _figure(part: str, name: str, places: int) -> Column:
    def cell(row: Record) -> str:
        value = ((row["figures"] or {}).get(part) or {}).get(name)
        return NONE if value is None else number(value, places)

    return cell


_FACTORS: dict[str, Column] = {
    "Expression": "expression",
    "Period": "timeframe",
    "Status": "status",
    "Why": "reason",
    "IC shown": _figure("shown", "rank_ic", 3),
    "IC hidden": _figure("hidden", "rank_ic", 3),
    "IC it adds": _figure("hidden", "residual_ic", 3),
    "By": "proposed_by",
    "Hypothesis": "hypothesis",
}


def _figures(expression: str, sessions: int) -> None:
    tried = api().get("/api/factors/try", expression=expression, sessions=sessions)
    st.code(tried["expression"], language=None)
    st.markdown(
        f"**{share(tried['coverage'], 1)}** of {tried['rows']:,} values known, looking back {tried['look_back']} sessions."
    )
    left, right = st.columns(2)
    with left:
        st.subheader("Rank IC by horizon")
        table(
            tried["decay"],
            {
                "Sessions ahead": "horizon",
                "Rank IC": lambda row: NONE if row["rank_ic"] is None else number(row["rank_ic"], 3),
                "t": lambda row: NONE if row["t"] is None else number(row["t"], 1),
                "Sessions": "sessions",
            },
            "decay",
            "rank correlation with returns, by horizon",
        )
        st.subheader("Ranks most like")
        if not tried["like"]:
            st.caption("No features of these sessions are stored.")
        else:
            columns: dict[str, Column] = {"Feature": "feature", "Correlation": lambda row: number(row["correlation"], 2)}
            table(tried["like"], columns, "like", "existing features it is most like")
    with right:
        st.subheader("Distribution")
        rows = [{"share": name, "value": value} for name, value in tried["quantiles"].items()]
        shares: dict[str, Column] = {"Quantile": "share", "Value": lambda row: number(row["value"], 4)}
        table(rows, shares, "distribution", "quantiles of its values")
        st.subheader("Newest values")
        symbols: dict[str, Column] = {"Symbol": "symbol", "Value": lambda row: number(row["value"], 4)}
        table(tried["newest"], symbols, "newest", "values of the newest session")
