"""Recommendations: the table, one of them opened, and the nearest misses where nothing passes."""

from typing import Any

import streamlit as st

from mltrainer_pipelines.app import charts
from mltrainer_pipelines.app.client import api
from mltrainer_pipelines.app.formats import NONE, age, dollars, moment, share
from mltrainer_pipelines.app.frame import attempt, empty_state, error_messages, stale_warning
from mltrainer_pipelines.app.tables import Column, column_or_dash, decimals, money, percent, table

_REFRESH_SECONDS = 5
_SORTS = {
    "newest first": "-timestamp",
    "highest probability": "-profit_probability",
    "highest confidence": "-confidence",
    "highest expected return": "-expected_net_return",
    "strongest signal": "-signal_strength",
    "symbol": "symbol",
}
_PAGE_SIZE = 500


def show() -> None:
    st.title("Recommendations")
    with error_messages():
        stale_warning("signals", "recommendations", "daily_bars", "regime")
        filters = _filters()
        _list(filters)
        _opened()
        _leanings(filters["timeframe"])


def _filters() -> dict[str, Any]:
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
def _list(filters: dict[str, object]) -> None:
    """The table; reloaded every few seconds, so that new recommendations appear by themselves."""
    if st.session_state.pop("opening", False):
        st.rerun()  # the whole page: what is opened lies outside of this part of it
    with error_messages():
        page = api().get("/api/recommendations", limit=_PAGE_SIZE, **filters)
        if page["sectors"] != st.session_state.get("sectors", []):
            st.session_state["sectors"] = page["sectors"]
        # The first visit sets what counts as new from then on.
        seen_id = st.session_state.setdefault("seen_id", page["newest_id"] or 0)
        _headline(page, sum(item["id"] > seen_id for item in page["items"]))
        if not page["items"]:
            _nothing(page, filters)
            return
        _table(page, seen_id)
        if page["total"] > len(page["items"]):
            st.caption(f"Showing the first {len(page['items'])} of {page['total']}; use the filters to see others.")


def _headline(page: dict[str, Any], new: int) -> None:
    words = [f"**{page['total']}** {'recommendation' if page['total'] == 1 else 'recommendations'}"]
    if page["newest_session"]:
        words.append(f"newest session {page['newest_session']}")
    words.append(f"as of {moment(page['as_of'])}")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(" · ".join(words))
        if new:
            st.badge(f"{new} new", icon=":material/fiber_new:", color="green")
            st.button("Mark as seen", key="seen", type="tertiary", on_click=_mark_seen, args=(page["newest_id"],))
    if any(item["grade"] == "candidate" for item in page["items"]):
        st.caption("“Candidate” means the model's record may still be luck; “proven” means it is not.")
    if any(_relived(item) for item in page["items"]):
        st.caption("“Relived”: decided afterwards by the walk-forward models of that time. Nobody could have followed it.")


def _relived(item: dict[str, Any]) -> bool:
    return bool(item["model_version"] == "walk-forward")


def _mark_seen(newest_id: int) -> None:
    st.session_state["seen_id"] = newest_id


def _table(page: dict[str, Any], seen_id: int) -> None:
    items = page["items"]
    st.session_state["listed_ids"] = [item["id"] for item in items]
    unit = st.column_config.ProgressColumn(min_value=0.0, max_value=1.0, format="%.2f", width=92)
    table(
        items,
        {
            "Note": lambda item: "● new" if item["id"] > seen_id else "✓ mine" if item["in_portfolio"] else "",
            "Symbol": "symbol",
            "Company": column_or_dash("company"),
            "Period": "timeframe",
            "Grade": lambda item: f"{item['grade']}, relived" if _relived(item) else item["grade"],
            "Strength": "signal_strength",
            "Probability": "profit_probability",
            "Confidence": "confidence",
            "Expected": percent("expected_net_return"),
            "Entry": "entry_price",
            "Target": "target_price",
            "Stop": "stop_loss",
            "Age": lambda item: age(item["timestamp"], page["as_of"]),
            "Paper trade": _paper_trade,
        },
        "table",
        f"{len(items)} recommendations; select a row to open it",
        height=min(36 * (len(items) + 1), 440),
        on_select=_open_selected,
        selection_mode="single-row",
        column_config={
            "Symbol": st.column_config.TextColumn(width=70, pinned=True),
            "Note": st.column_config.TextColumn(width=60),
            "Company": st.column_config.TextColumn(width=170),
            **dict.fromkeys(("Strength", "Probability", "Confidence"), unit),
            "Expected": st.column_config.NumberColumn(format="%+.2f %%", width=78),
            **money(("Entry", "Target", "Stop"), 76),
        },
    )


def _paper_trade(item: dict[str, Any]) -> str:
    status: str = item["status"] or NONE
    return f"{status} {dollars(item['profit_loss'], signed=True)}" if status in ("open", "closed") else status


def _open_selected() -> None:
    rows = st.session_state["table"]["selection"]["rows"]
    ids = st.session_state.get("listed_ids", [])
    st.session_state["opened_id"] = ids[rows[0]] if rows and rows[0] < len(ids) else None
    st.session_state["opening"] = True


def _nothing(page: dict[str, object], filters: dict[str, object]) -> None:
    narrowed = any(filters[name] for name in ("grade", "sector", "symbol", "min_probability", "min_confidence"))
    if narrowed and page["newest_id"] is not None:
        empty_state("No recommendation matches these filters.", "Remove a filter to see more.")
        return
    misses = api().get("/api/recommendations/near-misses", limit=10, timeframe=filters["timeframe"])
    if misses["refreshed_at"] is None:
        empty_state("The market has not been scored yet.", "Type “refresh the signals” in the chat, or run `mltrainer demo`.")
        return
    st.info(
        f"**Nothing passes the thresholds right now.** {misses['strong_buys']} of {misses['signals']} signals scored at "
        f"{moment(misses['refreshed_at'])} are strong buys. The thresholds are on the System page.",
        icon=":material/inbox:",
    )
    _near_misses(misses)


def _near_misses(misses: dict[str, Any]) -> None:
    st.subheader("Nearest misses: not recommendations")
    if not misses["items"]:
        st.caption("No signal has both a price and a probability.")
        return
    columns: dict[str, Column] = {
        "Symbol": "symbol",
        "Company": column_or_dash("company"),
        "Period": "timeframe",
        "Probability": "profit_probability",
        "Confidence": "confidence",
        "Expected": lambda item: share(item["expected_net_return"], 2, signed=True),
        "Below threshold": lambda item: "; ".join(item["lacked"]),
    }
    config = decimals({"Probability": "%.2f", "Confidence": "%.2f"})
    table(misses["items"], columns, "misses", "the nearest misses and the thresholds each one missed", column_config=config)


def _leanings(timeframe: str | None) -> None:
    """What the models put first, and how little or much that has been worth."""
    page = api().get("/api/recommendations/leanings", limit=10, timeframe=timeframe)
    st.subheader("Leanings: not recommendations")
    for worth in page["worth"]:
        st.caption(_worth(worth))
    for record in page["paper_trades"]:
        st.caption(_on_paper(record))
    if not page["items"]:
        st.caption("No signal has both a price and a probability.")
        return
    columns: dict[str, Column] = {
        "Place": "place",
        "Symbol": "symbol",
        "Company": column_or_dash("company"),
        "Period": "timeframe",
        "Probability": "profit_probability",
        "Interval": lambda item: _interval(item["probability_low"], item["probability_high"], 0),
        "Expected": lambda item: share(item["expected_net_return"], 2, signed=True),
        "Recommended": lambda item: "yes" if item["strong_buy"] else "no",
    }
    table(
        page["items"], columns, "leanings", "what the models put first; leanings are not recommendations",
        column_config=decimals({"Probability": "%.2f"}),
    )  # fmt: skip


def _worth(worth: dict[str, Any]) -> str:
    if worth["mean_net_return"] is None:
        return f"{worth['timeframe']}: nothing is known yet of what leanings have earned."
    low, high = worth["mean_net_return_low"], worth["mean_net_return_high"]
    least, most = worth["mean_excess_low"], worth["mean_excess_high"]
    return (
        f"{worth['timeframe']}: out of sample from {worth['first_session']} to {worth['last_session']} the first tenth of the "
        f"leanings earned {share(worth['mean_gross_return'], 2, signed=True)} a trade before costs and "
        f"{share(worth['mean_net_return'], 2, signed=True)} after ({_interval(low, high, 2)}), "
        f"{share(worth['mean_excess'], 2, signed=True)} more than all symbols alike ({_interval(least, most, 2)}); "
        f"{share(worth['net_return_a_year'], 1, signed=True)} a year, all symbols alike "
        f"{share(worth['universe_net_return_a_year'], 1, signed=True)}."
        + (" A gain is not certain: the interval reaches below zero." if low is None or low <= 0 else "")
        + (" Nor that the ranking is worth anything." if least is None or least <= 0 else "")
    )


def _on_paper(record: dict[str, Any]) -> str:
    words = f"{record['timeframe']}, on paper, apart from recommendations: {record['closed']} leanings closed"
    words += f", {record['open']} open, {record['pending']} pending"
    if record["mean_net_return"] is None:
        return f"{words}; nothing is earned or lost yet."
    return (
        f"{words}; a closed one earned {share(record['mean_gross_return'], 2, signed=True)} before costs and "
        f"{share(record['mean_net_return'], 2, signed=True)} after "
        f"({_interval(record['mean_net_return_low'], record['mean_net_return_high'], 2)}), "
        f"{share(record['hit_rate'])} ended in profit."
    )


def _interval(low: float | None, high: float | None, digits: int) -> str:
    return NONE if low is None or high is None else f"{share(low, digits)} to {share(high, digits)}"


def _opened() -> None:
    """The chosen recommendation."""
    number = st.session_state.get("opened_id")
    if number is None:
        st.caption("Select a row to see its chart, reasons and history.")
        with st.expander("Nearest misses of the last refresh"):
            _near_misses(api().get("/api/recommendations/near-misses", limit=10))
        return
    detail = api().get(f"/api/recommendations/{number}")
    st.subheader(f"{detail['symbol']} · {detail['company'] or 'unknown company'}")
    st.caption(
        f"{detail['timeframe']} · {detail['grade']}{', relived' if _relived(detail) else ''} · {detail['model_used']} · "
        f"recommended {moment(detail['timestamp'])} · "
        f"based on session {detail['session']}"
    )
    chart, words = st.columns([3, 2], gap="medium")
    with chart:
        if detail["prices"]:
            alt = f"Price of {detail['symbol']} around the decision, with its entry, target and stop"
            st.altair_chart(charts.price_chart(detail), alt=alt)
        else:
            st.caption("No prices are stored for this symbol.")
    with words:
        _reasons(detail)
    _add_form(detail)
    _history(detail)


def _reasons(detail: dict[str, Any]) -> None:
    st.markdown("**Why**")
    reasons = detail["reasons"]
    if reasons["summary"]:
        st.markdown("\n".join(f"- {part.strip()}" for part in reasons["summary"].split(";")))
    st.markdown("**Thresholds passed**")
    st.markdown("\n".join(f"- {rule}" for rule in reasons["rules"]))
    low, high = detail["probability_low"], detail["probability_high"]
    if low is not None and high is not None:
        st.caption(f"The probability is between {low:.2f} and {high:.2f}. Volatility {share(detail['volatility'], 2)} a day.")


def _add_form(detail: dict[str, Any]) -> None:
    if detail["in_portfolio"]:
        st.success("This one is in your portfolio.", icon=":material/check:")
        return
    number = detail["id"]
    # Bound to its recommendation by its keys, and never cleared: what was typed is what a second click sends as well.
    with st.form(f"select-{number}"):
        st.markdown("**Add to portfolio** after you bought it elsewhere. Nothing is ordered here.")
        left, middle, right = st.columns([1, 1, 2])
        entry = float(detail["entry_price"])
        price = left.number_input("Price paid ($)", 0.01, value=entry, step=0.01, format="%.2f", key=f"price-{number}")
        shares = middle.number_input("Shares", 0.0001, value=10.0, step=1.0, format="%.4f", key=f"shares-{number}")
        notes = right.text_input("Notes", max_chars=1000, key=f"notes-{number}")
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
        verb = "enters" if position["status"] == "pending" else "entered"
        end = f", closed {position['exit_session']} ({position['exit_reason']})" if position["exit_session"] else ""
        gain = dollars(position["profit_loss"], signed=True)
        st.markdown(f"**Paper trade**: {position['status']}, {verb} {position['entry_session']}{end}, {gain}")
    with st.expander(f"Other recommendations of {detail['symbol']} ({len(detail['history'])})"):
        if not detail["history"]:
            st.caption("None so far.")
            return
        columns: dict[str, Column] = {
            "Session": "session",
            "Period": "timeframe",
            "Probability": lambda past: f"{past['profit_probability']:.2f}",
            "Paper trade": column_or_dash("status"),
            "Net return": lambda past: share(past["net_return"], 2, signed=True),
            "Closed by": column_or_dash("exit_reason"),
        }
        table(detail["history"], columns, "history", "other recommendations of the symbol")
