"""Portfolio: the user's own, the paper trades of all recommendations, and those passed over, side by side."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from mltrainer_pipelines.app import charts
from mltrainer_pipelines.app.client import api
from mltrainer_pipelines.app.formats import NONE, dollars, share, short_moment
from mltrainer_pipelines.app.frame import attempt, empty_state, error_messages, stale_warning
from mltrainer_pipelines.app.tables import column_or_dash, decimals, money, percent, table

_REFRESH_SECONDS = 10
_BOOKS = {"user": "Mine", "recommendations": "All recommendations", "passed_over": "Passed over"}
_PAGE_SIZE = 500
_ORDERS = {
    "newest first": "-id",
    "best first": "-profit_loss",
    "worst first": "profit_loss",
    "last closed first": "-exit_session",
}


def show() -> None:
    st.title("Portfolio")
    with error_messages():
        stale_warning("virtual_positions", "portfolio_performance", "daily_bars")
        performance = api().get("/api/performance")
        _summary(performance)
        _curves(performance)
        for book, tab in zip(_BOOKS, st.tabs(list(_BOOKS.values()), key="book", on_change="rerun"), strict=True):
            if tab.open:
                with tab:
                    _mine() if book == "user" else _paper_trades(book)


def _summary(performance: dict[str, Any]) -> None:
    """A card a book."""
    for column, (book, name) in zip(st.columns(3), _BOOKS.items(), strict=True):
        days = performance["books"][book]
        with column.container(border=True):
            st.markdown(f"**{name}**")
            if not days:
                st.caption("No results yet: they start after the first market close.")
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
    benchmark = performance["benchmark"]
    equity += [{"date": day["date"], "dollars": day["equity"], "book": "Equal-weight universe"} for day in benchmark]
    if len({row["date"] for row in equity}) < 2:
        st.caption("Charts appear after two market closes.")
        return
    if performance["relived_until"]:
        st.caption(
            f"Up to {performance['relived_until']} relived: decided afterwards by the walk-forward models of that time. "
            "Nobody could have followed it."
        )
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
    with error_messages():
        portfolio = api().get("/api/portfolio", limit=_PAGE_SIZE)
        items = portfolio["items"]
        if not items:
            empty_state("Your portfolio is empty.", "Open a recommendation and add it with the price you paid.")
            return
        st.markdown(
            f"Worth **{dollars(portfolio['value'])}**, bought for {dollars(portfolio['cost'])} · unrealized "
            f"**{dollars(portfolio['unrealized'], signed=True)}** · realized **{dollars(portfolio['realized'], signed=True)}** · "
            f"hit rate {share(portfolio['hit_rate'], 0)}"
        )
        for status in ("open", "closed"):
            if holdings := [item for item in items if item["status"] == status]:
                st.markdown(f"**{status.capitalize()}**")
                _holdings(holdings, status)
        _export("mine", "portfolio.csv", lambda: _csv(api().get("/api/portfolio", limit=_PAGE_SIZE)["items"]))
        _change(items)


def _holdings(items: list[dict[str, object]], status: str) -> None:
    price = ("Now", "current_price") if status == "open" else ("Sold at", "actual_sell_price")
    table(
        items,
        {
            "Symbol": "symbol",
            "Company": column_or_dash("company"),
            "Profit and loss": "profit_loss",
            "%": percent("profit_loss_share"),
            "Paid": "actual_buy_price",
            price[0]: price[1],
            "Shares": "shares_now",
            "Target": "target_price",
            "Stop": "stop_loss",
            "Since (New York)": lambda item: short_moment(item["selected_time"]),
            "Paper trade": lambda item: item["advice"] or item["virtual_status"] or NONE,
            "Notes": lambda item: item["notes"] or "",
        },
        f"{status}-holdings",
        f"{len(items)} {status} holdings",
        column_config={
            "Symbol": st.column_config.TextColumn(pinned=True, width="small"),
            **decimals({"Profit and loss": "%+.2f", "%": "%+.2f"}),
            **money(("Paid", price[0], "Target", "Stop")),
        },
    )


def _change(items: list[dict[str, Any]]) -> None:
    with st.expander("Close, correct or remove a holding", icon=":material/edit:"):
        labels = {f"{item['symbol']} · {item['timeframe']} · {item['status']} · no. {item['id']}": item for item in items}
        item = labels[st.selectbox("Holding", list(labels), key="holding")]
        number = item["id"]
        close, correct, remove = st.columns(3)
        with close, st.form(f"close-{number}"):
            start = float(item["current_price"] or item["actual_buy_price"] or 1.0)
            sold = st.number_input("Sold at ($)", min_value=0.01, value=start, format="%.2f", disabled=item["status"] == "closed")
            if st.form_submit_button("Close it", disabled=item["status"] == "closed", type="primary"):
                _send("PATCH", number, {"actual_sell_price": round(sold, 4)}, f"{item['symbol']} is closed")
        with correct, st.form(f"correct-{number}"):
            paid = st.number_input("Price paid ($)", min_value=0.01, value=float(item["actual_buy_price"] or 1.0), format="%.2f")
            shares = st.number_input("Shares bought", min_value=0.0001, value=float(item["actual_shares"] or 1.0), format="%.4f")
            notes = st.text_input("Notes", value=item["notes"] or "", max_chars=1000)
            if st.form_submit_button("Correct it"):
                body = {"actual_buy_price": round(paid, 4), "actual_shares": round(shares, 4), "notes": notes or None}
                _send("PATCH", number, body, f"{item['symbol']} is corrected")
        with remove, st.form(f"remove-{number}"):
            st.caption("Removes it as if it had never been added.")
            if st.form_submit_button("Remove it"):
                _send("DELETE", number, None, f"{item['symbol']} is removed")


def _send(method: str, number: int, body: dict[str, Any] | None, done: str) -> None:
    if attempt(lambda: api().send(method, f"/api/portfolio/{number}", body), done):
        st.session_state["changed"] = True
        st.rerun()


def _paper_trades(book: str) -> None:
    """Paper trades, a page at a time."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        status = st.segmented_control(
            "Status", ["all", "pending", "open", "closed"], default="all", key=f"{book}-status", required=True
        )
        order = st.selectbox("Sort by", list(_ORDERS), key=f"{book}-order", width=220)
        symbol = st.text_input("Symbol", key=f"{book}-symbol", max_chars=20, width=160)
    filters = {"book": book, "status": None if status == "all" else status, "symbol": symbol.strip() or None}
    pages = st.session_state.get(f"{book}-pages", 1)
    number = st.pagination(pages, key=f"{book}-page") if pages > 1 else 1
    page = api().get("/api/virtual-positions", sort=_ORDERS[order], limit=100, offset=100 * (number - 1), **filters)
    needed = max(1, -(-page["total"] // 100))
    if needed != pages:
        st.session_state[f"{book}-pages"] = needed
        st.rerun()
    if not page["items"]:
        empty_state("No paper trade matches.", "Each recommendation is paper-traded as soon as it is made.")
        return
    st.markdown(
        f"**{page['total']:,}** paper trades · realized **{dollars(page['realized'], signed=True)}** · unrealized "
        f"**{dollars(page['unrealized'], signed=True)}** · hit rate **{share(page['hit_rate'], 0)}**"
    )
    table(
        page["items"],
        {
            "Symbol": "symbol",
            "Period": "timeframe",
            "Status": "status",
            "Profit and loss": "profit_loss",
            "Entry": "entry_price",
            "Now": "current_price",
            "Exit": "exit_price",
            "Target": "target_price",
            "Stop": "stop_loss",
            "Shares": "shares",
            "Entered": "entry_session",
            "Closed": "exit_session",
            "Closed by": "exit_reason",
        },
        f"{book}-table",
        f"paper trades, page {number} of {needed}",
        column_config={
            "Symbol": st.column_config.TextColumn(pinned=True, width="small"),
            **decimals({"Profit and loss": "%+.2f"}),
            **money(("Entry", "Now", "Exit", "Target", "Stop")),
        },
    )
    _export(book, f"{book}.csv", lambda: api().download("/api/virtual-positions.csv", **filters))


def _export(book: str, file: str, content: Callable[[], bytes]) -> None:
    # Made on the click: a file made beforehand is gone once a sale or the next refresh has redrawn the page.
    icon = ":material/download:"
    st.download_button("Export as CSV", content, file, "text/csv", icon=icon, on_click="ignore", key=f"{book}-csv")


def _csv(items: list[dict[str, object]]) -> bytes:
    """The holdings as CSV; a cell that begins like a formula is quoted, so that no spreadsheet runs it."""
    cells = pd.DataFrame(items, dtype=object).map(lambda cell: f"'{cell}" if str(cell).startswith(("=", "+", "@")) else cell)
    return str(cells.to_csv(index=False)).encode()
