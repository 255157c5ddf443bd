"""Factors: try an expression on the market's data."""

import streamlit as st

from mltrainer_pipelines.app.client import api
from mltrainer_pipelines.app.formats import NONE, number, share
from mltrainer_pipelines.app.frame import error_messages
from mltrainer_pipelines.app.tables import Column, table

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
