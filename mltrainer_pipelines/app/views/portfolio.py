"""Portfolio: the user's own, the paper trades of everything, and what was passed over, side by side."""

import csv
import io
from typing import Any

import pandas as pd
import streamlit as st

from mltrainer_pipelines.app import charts
from mltrainer_pipelines.app.client import api
from mltrainer_pipelines.app.formats import NONE, dollars, share, short_moment
from mltrainer_pipelines.app.frame import attempt, empty, understandable

_REFRESH_SECONDS = 10
_BOOKS = {"user": "Mine", "recommendations": "All recommendations", "passed_over": "Passed over"}
_MOST = 500


def show() -> None:
    st.title("Portfolio")
    with understandable():
        performance = api().get("/api/performance")
        _summary(performance)
        _curves(performance)
        mine, virtual, passed = st.tabs(list(_BOOKS.values()), key="book", on_change="rerun")
        if mine.open:
            with mine:
                _mine()
        if virtual.open:
            with virtual:
                _virtual("recommendations")
        if passed.open:
            with passed:
                _virtual("passed_over")


def _summary(performance: dict[str, Any]) -> None:
    """A card a book."""
    for column, (book, name) in zip(st.columns(3), _BOOKS.items(), strict=True):
        days = performance["books"][book]
        with column.container(border=True):
            st.markdown(f"**{name}**")
            if not days:
                st.caption("Recorded with the first refresh after a session's close.")
                continue
            last = days[-1]
            gain = last["equity"] - performance["account"]
            st.metric("Equity", f"${last['equity']:,.0f}", f"{gain:+,.2f}" if gain else None, label_visibility="collapsed")
            st.markdown(
                f"hit rate **{share(last['hit_rate'], 0)}** · drawdown **{share(last['drawdown'])}** · "
                f"exposure **{share(last['exposure'], 0)}**  \n"
                f"{last['open_positions']} open, {last['closed_positions']} closed · "
                f"realized {dollars(last['realized'], signed=True)}"
            )


def _curves(performance: dict[str, Any]) -> None:
    equity, below = [], []
    for book, name in _BOOKS.items():
        for day in performance["books"][book]:
            equity.append({"date": day["date"], "dollars": day["equity"], "book": name})
            below.append({"date": day["date"], "drawdown": day["drawdown"], "book": name})
    equity += [
        {"date": day["date"], "dollars": day["equity"], "book": "Equal-weight universe"} for day in performance["benchmark"]
    ]
    sessions = {row["date"] for row in equity}
    if len(sessions) < 2:
        st.caption("The curves begin with the second recorded session.")
        return
    left, right = st.columns(2)
    with left:
        st.markdown("**Equity**")
        st.altair_chart(
            charts.lines(equity, "date", "dollars", "book", "dollars"), alt="Equity of the three books and the benchmark"
        )
    with right:
        st.markdown("**Drawdown**")
        st.altair_chart(
            charts.lines(below, "date", "drawdown", "book", "below the peak", ".1%"), alt="Drawdown of the three books"
        )


@st.fragment(run_every=_REFRESH_SECONDS)
def _mine() -> None:
    if st.session_state.pop("changed", False):
        st.rerun()
    with understandable():
        found = api().get("/api/portfolio", limit=_MOST)
        if not found["items"]:
            empty("Your portfolio is empty.", "Open a recommendation, and add it with the price you paid.")
            return
        held = [item for item in found["items"] if item["status"] == "open"]
        sold = [item for item in found["items"] if item["status"] == "closed"]
        st.markdown(
            f"Worth **{dollars(found['value'])}** at a cost of {dollars(found['cost'])} · unrealized "
            f"**{dollars(found['unrealized'], signed=True)}** · realized **{dollars(found['realized'], signed=True)}** · "
            f"hit rate {share(found['hit_rate'], 0)}"
        )
        if held:
            st.markdown("**Open**")
            _holdings(held, "held")
        if sold:
            st.markdown("**Closed**")
            _holdings(sold, "sold")
        # Made on the click: a file made beforehand is gone once a sale or the next refresh has redrawn the page.
        st.download_button(
            "Export as CSV",
            lambda: _csv(api().get("/api/portfolio", limit=_MOST)["items"]),
            "portfolio.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
            key="mine-csv",
        )
        _change(found["items"])


def _holdings(items: list[dict[str, Any]], key: str) -> None:
    price = st.column_config.NumberColumn(format="$%.2f")
    frame = pd.DataFrame(
        {
            "Symbol": [item["symbol"] for item in items],
            "Company": [item["company"] or NONE for item in items],
            "Profit and loss": [item["profit_loss"] for item in items],
            "%": [None if item["profit_loss_share"] is None else 100 * item["profit_loss_share"] for item in items],
            "Paid": [item["actual_buy_price"] for item in items],
            "Now" if key == "held" else "Sold at": [
                item["current_price"] if key == "held" else item["actual_sell_price"] for item in items
            ],
            "Shares": [item["shares_now"] for item in items],
            "Target": [item["target_price"] for item in items],
            "Stop": [item["stop_loss"] for item in items],
            "Since (New York)": [short_moment(item["selected_time"]) for item in items],
            "The rules say": [
                item["advice"] or (f"paper trade {item['virtual_status']}" if item["virtual_status"] else NONE) for item in items
            ],
            "Notes": [item["notes"] or "" for item in items],
        }
    )
    st.dataframe(
        frame,
        hide_index=True,
        key=key,
        alt=f"{len(items)} holdings",
        column_config={
            "Symbol": st.column_config.TextColumn(pinned=True, width="small"),
            "Profit and loss": st.column_config.NumberColumn(format="%+.2f"),
            "%": st.column_config.NumberColumn(format="%+.2f"),
            **dict.fromkeys(("Paid", "Now", "Sold at", "Target", "Stop"), price),
        },
    )


def _change(items: list[dict[str, Any]]) -> None:
    """Close, correct or remove a holding."""
    with st.expander("Close, correct or remove a holding", icon=":material/edit:"):
        labels = {f"{item['symbol']} · {item['timeframe']} · {item['status']} · no. {item['id']}": item for item in items}
        item = labels[st.selectbox("Holding", list(labels), key="holding")]
        number = item["id"]
        close, correct, remove = st.columns(3)
        with close, st.form(f"close-{number}"):
            start = float(item["current_price"] or item["actual_buy_price"] or 1.0)
            sold = st.number_input("Sold at ($)", min_value=0.01, value=start, format="%.2f", disabled=item["status"] == "closed")
            if st.form_submit_button("Close it", disabled=item["status"] == "closed", type="primary"):
                _sent("PATCH", number, {"actual_sell_price": round(sold, 4)}, f"{item['symbol']} is closed")
        with correct, st.form(f"correct-{number}"):
            paid = st.number_input("Price paid ($)", min_value=0.01, value=float(item["actual_buy_price"] or 1.0), format="%.2f")
            shares = st.number_input("Shares bought", min_value=0.0001, value=float(item["actual_shares"] or 1.0), format="%.4f")
            notes = st.text_input("Notes", value=item["notes"] or "", max_chars=1000)
            if st.form_submit_button("Correct it"):
                body = {"actual_buy_price": round(paid, 4), "actual_shares": round(shares, 4), "notes": notes or None}
                _sent("PATCH", number, body, f"{item['symbol']} is corrected")
        with remove, st.form(f"remove-{number}"):
            st.caption("Takes it out as if it had never been added.")
            if st.form_submit_button("Remove it"):
                _sent("DELETE", number, None, f"{item['symbol']} is removed")


def _sent(method: str, number: int, body: dict[str, Any] | None, done: str) -> None:
    if attempt(lambda: api().send(method, f"/api/portfolio/{number}", body), done):
        st.session_state["changed"] = True
        st.rerun()


def _virtual(book: str) -> None:
    """Paper trades, a page at a time."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        status = st.segmented_control(
            "Status", ["all", "pending", "open", "closed"], default="all", key=f"{book}-status", required=True
        )
        orders = {
            "newest first": "-id",
            "best first": "-profit_loss",
            "worst first": "profit_loss",
            "last closed first": "-exit_session",
        }
        order = st.selectbox("Sort by", list(orders), key=f"{book}-order", width=220)
        symbol = st.text_input("Symbol", key=f"{book}-symbol", max_chars=20, width=160)
    chosen = {"book": book, "status": None if status == "all" else status, "symbol": symbol.strip() or None}
    pages = st.session_state.get(f"{book}-pages", 1)
    page = st.pagination(pages, key=f"{book}-page") if pages > 1 else 1
    found = api().get("/api/virtual-positions", sort=orders[order], limit=100, offset=100 * (page - 1), **chosen)
    needed = max(1, -(-found["total"] // 100))
    if needed != pages:
        st.session_state[f"{book}-pages"] = needed
        st.rerun()
    if not found["items"]:
        empty("No paper trade matches.", "Every recommendation gets one with the refresh that makes it.")
        return
    st.markdown(
        f"**{found['total']:,}** paper trades · realized **{dollars(found['realized'], signed=True)}** · unrealized "
        f"**{dollars(found['unrealized'], signed=True)}** · hit rate **{share(found['hit_rate'], 0)}**"
    )
    items = found["items"]
    frame = pd.DataFrame(
        {
            "Symbol": [item["symbol"] for item in items],
            "Period": [item["timeframe"] for item in items],
            "Status": [item["status"] for item in items],
            "Profit and loss": [item["profit_loss"] for item in items],
            "Entry": [item["entry_price"] for item in items],
            "Now": [item["current_price"] for item in items],
            "Exit": [item["exit_price"] for item in items],
            "Target": [item["target_price"] for item in items],
            "Stop": [item["stop_loss"] for item in items],
            "Shares": [item["shares"] for item in items],
            "Entered": [item["entry_session"] for item in items],
            "Left": [item["exit_session"] for item in items],
            "Left by": [item["exit_reason"] for item in items],
        }
    )
    price = st.column_config.NumberColumn(format="$%.2f")
    st.dataframe(
        frame,
        hide_index=True,
        key=f"{book}-table",
        alt=f"paper trades, page {page} of {needed}",
        column_config={
            "Symbol": st.column_config.TextColumn(pinned=True, width="small"),
            "Profit and loss": st.column_config.NumberColumn(format="%+.2f"),
            **dict.fromkeys(("Entry", "Now", "Exit", "Target", "Stop"), price),
        },
    )
    st.download_button(
        "Export as CSV",
        lambda: api().download("/api/virtual-positions.csv", **chosen),
        f"{book}.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
        key=f"{book}-csv",
    )


def _csv(items: list[dict[str, Any]]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(items[0]))
    writer.writeheader()
    # A cell that begins like a formula would be run by a spreadsheet.
    writer.writerows({name: f"'{value}" if str(value)[:1] in "=+@" else value for name, value in item.items()} for item in items)
    return out.getvalue().encode()
