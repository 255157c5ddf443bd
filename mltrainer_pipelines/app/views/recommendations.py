"""Recommendations: the table, one of them opened, and the nearest misses where nothing passes."""

from typing import Any

import pandas as pd
import streamlit as st

from mltrainer_pipelines.app import charts
from mltrainer_pipelines.app.client import api
from mltrainer_pipelines.app.formats import NONE, age, dollars, moment, share
from mltrainer_pipelines.app.frame import attempt, empty, understandable

_REFRESH_SECONDS = 5
_SORTS = {
    "newest first": "-timestamp",
    "highest probability": "-profit_probability",
    "highest confidence": "-confidence",
    "highest expected return": "-expected_net_return",
    "strongest signal": "-signal_strength",
    "symbol": "symbol",
}
_MOST = 500


def show() -> None:
    st.title("Recommendations")
    with understandable():
        filters = _filters()
        _listed(filters)
        _opened()


def _filters() -> dict[str, Any]:
    """What the reader wants to see."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        timeframe = st.segmented_control(
            "Holding period", ["all", "short", "long"], default="all", key="timeframe", required=True
        )
        when = st.segmented_control("Session", ["newest", "all"], default="newest", key="when", required=True)
        order = st.selectbox("Sort by", list(_SORTS), index=1, key="order", width=230)
        with st.popover("More filters", icon=":material/tune:"):
            grade = st.segmented_control("Grade", ["all", "proven", "candidate"], default="all", key="grade", required=True)
            sectors = st.session_state.get("sectors", [])
            sector = st.selectbox("Sector", ["all", *sectors], key="sector", disabled=not sectors)
            symbol = st.text_input("Symbol", key="symbol", max_chars=20)
            probability = st.slider("Probability of profit, at least", 0.0, 1.0, 0.0, 0.01, key="probability")
            confidence = st.slider("Confidence, at least", 0.0, 1.0, 0.0, 0.01, key="confidence")
    return {
        "timeframe": None if timeframe == "all" else timeframe,
        "grade": None if grade == "all" else grade,
        "sector": None if sector == "all" else sector,
        "symbol": symbol.strip() or None,
        "latest": "true" if when == "newest" else None,
        "min_probability": probability or None,
        "min_confidence": confidence or None,
        "sort": _SORTS[order],
    }


@st.fragment(run_every=_REFRESH_SECONDS)
def _listed(filters: dict[str, Any]) -> None:
    """The table; looked at again every few seconds, so that new ones appear by themselves."""
    if st.session_state.pop("opening", False):
        st.rerun()  # the whole page: what is opened lies outside of this part of it
    with understandable():
        found = api().get("/api/recommendations", limit=_MOST, **filters)
        if found["sectors"] != st.session_state.get("sectors", []):
            st.session_state["sectors"] = found["sectors"]
        # The first look sets what counts as new from then on.
        known = st.session_state.setdefault("known_id", found["newest_id"] or 0)
        new = sum(item["id"] > known for item in found["items"])
        _headline(found, new)
        if not found["items"]:
            _nothing(found, filters)
            return
        _table(found, known)
        if found["total"] > len(found["items"]):
            st.caption(f"The first {len(found['items'])} of {found['total']}; filter to see the others.")


def _headline(found: dict[str, Any], new: int) -> None:
    grades = {item["grade"] for item in found["items"]}
    words = [f"**{found['total']}** {'recommendation' if found['total'] == 1 else 'recommendations'}"]
    if found["newest_session"]:
        words.append(f"newest session {found['newest_session']}")
    words.append(f"as of {moment(found['as_of'])}")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(" · ".join(words))
        if new:
            st.badge(f"{new} new", icon=":material/fiber_new:", color="green")
            st.button("Mark as seen", key="seen", type="tertiary", on_click=_seen, args=(found["newest_id"],))
    if "candidate" in grades:
        st.caption(
            "A candidate comes from the best model so far, not from one whose skill is beyond luck; only proven says that."
        )


def _seen(newest_id: int) -> None:
    st.session_state["known_id"] = newest_id


def _table(found: dict[str, Any], known: int) -> None:
    items = found["items"]
    st.session_state["listed_ids"] = [item["id"] for item in items]
    frame = pd.DataFrame(
        {
            "Note": ["● new" if item["id"] > known else "✓ mine" if item["in_portfolio"] else "" for item in items],
            "Symbol": [item["symbol"] for item in items],
            "Company": [item["company"] or NONE for item in items],
            "Period": [item["timeframe"] for item in items],
            "Grade": [item["grade"] for item in items],
            "Strength": [item["signal_strength"] for item in items],
            "Probability": [item["profit_probability"] for item in items],
            "Confidence": [item["confidence"] for item in items],
            "Expected": [None if item["expected_net_return"] is None else 100 * item["expected_net_return"] for item in items],
            "Entry": [item["entry_price"] for item in items],
            "Target": [item["target_price"] for item in items],
            "Stop": [item["stop_loss"] for item in items],
            "Age": [age(item["timestamp"], found["as_of"]) for item in items],
            "Paper trade": [_paper(item) for item in items],
        }
    )
    price = st.column_config.NumberColumn(format="$%.2f", width=76)
    unit = st.column_config.ProgressColumn(min_value=0.0, max_value=1.0, format="%.2f", width=92)
    st.dataframe(
        frame,
        hide_index=True,
        height=min(36 * (len(items) + 1), 440),
        key="table",
        on_select=_open_selected,
        selection_mode="single-row",
        alt=f"{len(items)} recommendations; select a row to open it",
        column_config={
            "Symbol": st.column_config.TextColumn(width=70, pinned=True),
            "Note": st.column_config.TextColumn(width=60),
            "Company": st.column_config.TextColumn(width=170),
            "Strength": unit,
            "Probability": unit,
            "Confidence": unit,
            "Expected": st.column_config.NumberColumn(format="%+.2f %%", width=78),
            "Entry": price,
            "Target": price,
            "Stop": price,
        },
    )


def _paper(item: dict[str, Any]) -> str:
    if item["status"] is None:
        return NONE
    return item["status"] if item["status"] == "pending" else f"{item['status']} {dollars(item['profit_loss'], signed=True)}"


def _open_selected() -> None:
    rows = st.session_state["table"]["selection"]["rows"]
    ids = st.session_state.get("listed_ids", [])
    st.session_state["opened_id"] = ids[rows[0]] if rows and rows[0] < len(ids) else None
    st.session_state["opening"] = True


def _nothing(found: dict[str, Any], filters: dict[str, Any]) -> None:
    if found["newest_id"] is None or not any(
        filters[name] for name in ("grade", "sector", "symbol", "min_probability", "min_confidence")
    ):
        misses = api().get("/api/recommendations/near-misses", limit=10, timeframe=filters["timeframe"])
        if misses["refreshed_at"] is None:
            empty("The market was never scored.", "Say “refresh the signals” in the chat, or run `mltrainer demo`.")
            return
        st.info(
            f"**Nothing passes the thresholds right now.** The market was scored at {moment(misses['refreshed_at'])}: "
            f"{misses['signals']} signals, {misses['strong_buys']} strong buys. The thresholds are on the System page.",
            icon=":material/inbox:",
        )
        _near_misses(misses)
        return
    empty("No recommendation matches these filters.", "Take one of them away to see more.")


def _near_misses(misses: dict[str, Any]) -> None:
    st.subheader("Nearest misses: not recommendations")
    if not misses["items"]:
        st.caption("None has both a price and a probability.")
        return
    rows = [
        {
            "Symbol": item["symbol"],
            "Company": item["company"] or NONE,
            "Period": item["timeframe"],
            "Probability": item["profit_probability"],
            "Confidence": item["confidence"],
            "Expected": share(item["expected_net_return"], 2, signed=True),
            "What it lacked": "; ".join(item["lacked"]),
        }
        for item in misses["items"]
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        key="misses",
        alt="the nearest misses and what each one lacked",
        column_config={
            "Probability": st.column_config.NumberColumn(format="%.2f"),
            "Confidence": st.column_config.NumberColumn(format="%.2f"),
        },
    )


def _opened() -> None:
    """The chosen recommendation."""
    number = st.session_state.get("opened_id")
    if number is None:
        st.caption("Select a row to see its chart, its reasons and its history.")
        with st.expander("Nearest misses of the last refresh"):
            _near_misses(api().get("/api/recommendations/near-misses", limit=10))
        return
    detail = api().get(f"/api/recommendations/{number}")
    st.subheader(f"{detail['symbol']} · {detail['company'] or 'name not known'}")
    st.caption(
        f"{detail['timeframe']} · {detail['grade']} · {detail['model_used']} · recommended {moment(detail['timestamp'])} · "
        f"decided on session {detail['session']}"
    )
    chart, words = st.columns([3, 2], gap="medium")
    with chart:
        if detail["prices"]:
            st.altair_chart(
                charts.price_chart(detail),
                alt=f"Price of {detail['symbol']} around the decision, with its entry, target and stop",
            )
        else:
            st.caption("The lake has no prices of this symbol.")
    with words:
        _reasons(detail)
    _select_form(detail)
    _history(detail)


def _reasons(detail: dict[str, Any]) -> None:
    st.markdown("**Why**")
    reasons = detail["reasons"]
    if reasons["summary"]:
        st.markdown("\n".join(f"- {part.strip()}" for part in reasons["summary"].split(";")))
    st.markdown("**Thresholds it cleared**")
    st.markdown("\n".join(f"- {rule}" for rule in reasons["rules"]))
    low, high = detail["probability_low"], detail["probability_high"]
    if low is not None and high is not None:
        st.caption(f"The probability's interval is {low:.2f} to {high:.2f}. Volatility {share(detail['volatility'], 2)} a day.")


def _select_form(detail: dict[str, Any]) -> None:
    if detail["in_portfolio"]:
        st.success("This one is in your portfolio.", icon=":material/check:")
        return
    with st.form("select", clear_on_submit=True):
        st.markdown("**Add to portfolio**: what you paid, wherever you bought it. Nothing is ordered here.")
        left, middle, right = st.columns([1, 1, 2])
        price = left.number_input("Price paid ($)", min_value=0.01, value=float(detail["entry_price"]), step=0.01, format="%.2f")
        shares = middle.number_input("Shares", min_value=0.0001, value=10.0, step=1.0, format="%.4f")
        notes = right.text_input("Notes", max_chars=1000)
        if st.form_submit_button("Add to portfolio", type="primary", icon=":material/add:"):
            body = {
                "recommendation_id": detail["id"],
                "actual_buy_price": round(price, 4),
                "actual_shares": round(shares, 4),
                "notes": notes or None,
            }
            if attempt(lambda: api().send("POST", "/api/portfolio", body), f"{detail['symbol']} is in your portfolio"):
                st.rerun()


def _history(detail: dict[str, Any]) -> None:
    position = detail["position"]
    if position:
        entered = (
            f"entered {position['entry_session']}" if position["status"] != "pending" else f"enters {position['entry_session']}"
        )
        left = f", left {position['exit_session']} ({position['exit_reason']})" if position["exit_session"] else ""
        st.markdown(f"**Paper trade**: {position['status']}, {entered}{left}, {dollars(position['profit_loss'], signed=True)}")
    with st.expander(f"Other recommendations of {detail['symbol']} ({len(detail['history'])})"):
        if not detail["history"]:
            st.caption("None so far.")
            return
        rows = [
            {
                "Session": past["session"],
                "Period": past["timeframe"],
                "Probability": f"{past['profit_probability']:.2f}",
                "Paper trade": past["status"] or NONE,
                "Net return": share(past["net_return"], 2, signed=True),
                "Left by": past["exit_reason"] or NONE,
            }
            for past in detail["history"]
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True, key="history", alt="other recommendations of the symbol")
