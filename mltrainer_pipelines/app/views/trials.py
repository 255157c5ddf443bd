"""Trials: who leads and by how much, one beside the other, what waits for a yes, and who proposes best."""

from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from mltrainer_pipelines.app import charts
from mltrainer_pipelines.app.client import ApiProblemError, api
from mltrainer_pipelines.app.formats import NONE, moment, number, share
from mltrainer_pipelines.app.frame import attempt, empty, understandable

_MOST_COMPARED = 6


def show() -> None:
    st.title("Trials")
    with understandable():
        timeframe = st.segmented_control(
            "Holding period", ["short", "long"], default="short", key="trial-timeframe", required=True
        )
        found = api().get("/api/trials", timeframe=timeframe, limit=500)
        if found["trials_run"] == 0:
            empty("No trial was run yet.", "Say “start momentum analysis” in the chat, or run `mltrainer demo`.")
        else:
            _champion(found, timeframe)
            _compared(_leaderboard(found))
        _proposals()
        _proposers()


def _champion(found: dict[str, Any], timeframe: str) -> None:
    champion = next((one for one in found["champions"] if one["timeframe"] == timeframe), None)
    if champion is None:
        empty(f"There is no {timeframe} champion yet.", "The job promote_champion chooses one from the scored trials.")
        return
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**Champion:** {champion['trial_id']}")
            st.badge(champion["grade"], color="green" if champion["grade"] == "proven" else "orange")
            st.caption(f"since {moment(champion['decided_at'])}, version {champion['model_version']}")
        st.markdown("\n".join(f"- {reason}" for reason in champion["reasons"]))


def _leaderboard(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The table; gives the trials that are chosen for comparison."""
    items = found["items"]
    st.subheader("Leaderboard")
    st.caption(f"Out of sample, after costs. {found['trials_run']} trials were run in all, and each counts against every one.")
    frame = pd.DataFrame(
        {
            "Rank": [item["rank"] for item in items],
            "Trial": [f"★ {item['trial_id']}" if item["champion"] else item["trial_id"] for item in items],
            "Model": [item["model"] for item in items],
            "Grade": [item["grade"] or item["status"] for item in items],
            "Luck-adjusted": [item["deflated_sharpe"] for item in items],
            "Sharpe": [item["sharpe"] for item in items],
            "Return a year": [share(item["net_return"], 1, signed=True) for item in items],
            "95 % interval": [_interval(item) for item in items],
            "Universe": [share(item["universe_net_return"], 1, signed=True) for item in items],
            "Momentum": [share(item["momentum_net_return"], 1, signed=True) for item in items],
            "Brier skill": [item["brier_skill"] for item in items],
            "Rank IC": [item["rank_ic"] for item in items],
            "Drawdown": [share(item["maximum_drawdown"]) for item in items],
            "MLflow": [item["mlflow_url"] for item in items],
            "Dagster": [item["dagster_url"] for item in items],
        }
    )
    st.dataframe(
        frame,
        hide_index=True,
        key="leaderboard",
        on_select="rerun",
        selection_mode="multi-row",
        height=min(36 * (len(items) + 1), 440),
        alt=f"leaderboard of {len(items)} trials; select rows to compare them",
        column_config={
            "Trial": st.column_config.TextColumn(pinned=True),
            "Luck-adjusted": st.column_config.ProgressColumn(
                min_value=0.0,
                max_value=1.0,
                format="%.3f",
                help="Probability that the true Sharpe ratio is above 0 given all trials run.",
            ),
            "Sharpe": st.column_config.NumberColumn(format="%.2f"),
            "Brier skill": st.column_config.NumberColumn(
                format="%.4f", help="Above 0: better than always forecasting the base rate."
            ),
            "Rank IC": st.column_config.NumberColumn(format="%.3f"),
            "MLflow": st.column_config.LinkColumn(display_text="open"),
            "Dagster": st.column_config.LinkColumn(display_text="open"),
        },
    )
    rows = st.session_state["leaderboard"]["selection"]["rows"]
    chosen = [items[row] for row in rows if row < len(items)]
    return (chosen or items[:2])[:_MOST_COMPARED]


def _interval(item: dict[str, Any]) -> str:
    if item["net_return_low"] is None or item["net_return_high"] is None:
        return NONE
    return f"{item['net_return_low']:+.1%} to {item['net_return_high']:+.1%}"


def _compared(chosen: list[dict[str, Any]]) -> None:
    scored = [trial["trial_id"] for trial in chosen if trial["scored_at"]]
    if not scored:
        return
    st.subheader("Compared: " + ", ".join(scored) if len(scored) < 3 else f"{len(scored)} trials compared")
    details = [api().get(f"/api/trials/{trial_id}") for trial_id in scored]
    left, right = st.columns(2)
    with left:
        st.markdown("**A dollar, quarter by quarter**")
        rows = [
            {"quarter": day["quarter"], "dollars": day["equity"], "of": one["trial_id"]}
            for one in details
            for day in one["equity"]
        ]
        for name in ("universe", "momentum"):
            label = {"universe": "equal-weight universe", "momentum": "12-1 momentum"}[name]
            rows += [{"quarter": day["quarter"], "dollars": day[name], "of": label} for day in details[0]["equity"]]
        st.altair_chart(
            charts.lines(rows, "quarter", "dollars", "of", "dollars", ".2f"), alt="Equity of the chosen trials and both baselines"
        )
    with right:
        st.markdown("**Forecast and outcome**")
        bins = []
        for trial_id in scored:
            try:
                curve = api().get(f"/api/trials/{trial_id}/calibration")["bins"]
            except ApiProblemError as error:
                st.caption(f"{error}.")
                continue
            bins += [{**one, "trial": trial_id} for one in curve]
        if bins:
            st.altair_chart(charts.calibration(bins), alt="Share that came true against the forecast probability")
        else:
            st.caption("No probability is calibrated yet.")
    with st.expander("Configurations and scorecards"):
        names = sorted({name for one in details for name in one["metrics"] or {}})
        table = {one["trial_id"]: [_cell((one["metrics"] or {}).get(name)) for name in names] for one in details}
        st.dataframe(pd.DataFrame(table, index=[name.replace("_", " ") for name in names]), key="scorecards", alt="scorecards")
        for one in details:
            st.json(one["config"], expanded=False)


def _cell(value: Any) -> str:
    return number(value, 4) if isinstance(value, float) else NONE if value is None else str(value)


def _proposals() -> None:
    found = api().get("/api/proposals", limit=100)
    st.subheader("Proposals")
    waiting = [one for one in found["items"] if one["status"] == "proposed"]
    if not found["items"]:
        empty(
            "Nobody has proposed a trial yet.",
            "Say “propose new trials” in the chat; the job propose_trials does it every night.",
        )
        return
    if not waiting:
        st.caption("None waits for a yes.")
    for one in waiting:
        with st.container(border=True):
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"**{one['trial_id']}**")
                st.badge("waits for your yes", color="orange")
                st.caption(f"by {one['proposer']}, {moment(one['created_at'])}")
            st.text(one["hypothesis"])
            st.caption(f"Refuted if: {one['refuted_if']}")
            with st.container(horizontal=True):
                approve = st.button("Approve", key=f"approve-{one['id']}", type="primary", icon=":material/check:")
                reject = st.button("Reject", key=f"reject-{one['id']}", icon=":material/close:")
            if approve or reject:
                how = "approve" if approve else "reject"
                done = "Approved: it runs as soon as Dagster's sensor sees it" if approve else "Rejected"
                if attempt(partial(api().send, "POST", f"/api/proposals/{one['id']}/{how}"), done):
                    st.rerun()
    decided = [one for one in found["items"] if one["status"] != "proposed"]
    if decided:
        with st.expander(f"Decided ({len(decided)})", expanded=not waiting):
            rows = [
                {
                    "Trial": one["trial_id"],
                    "By": one["proposer"],
                    "Status": one["status"],
                    "Decided by": one["decided_by"] or NONE,
                    "Hypothesis": one["hypothesis"],
                    "Refuted if": one["refuted_if"],
                    "Run": one["run_id"] or NONE,
                }
                for one in decided
            ]
            st.dataframe(pd.DataFrame(rows), hide_index=True, key="decided", alt="proposals that are decided")


def _proposers() -> None:
    found = api().get("/api/proposals/comparison")["items"]
    rows = [
        {"trial": count, "best": best, "of": f"{one['proposer']} ({one['timeframe']})"}
        for one in found
        for count, best in enumerate(one["best_deflated_sharpe"], 1)
    ]
    st.subheader("Who proposes best")
    if not rows:
        st.caption("Compared once trials are scored.")
        return
    chart = charts.steps(rows, "trial", "best", "of", "scored trials", "best luck-adjusted Sharpe so far")
    st.altair_chart(chart, alt="Best luck-adjusted Sharpe against the number of scored trials, for each proposer")
    st.caption(
        "The best of more tries is higher by luck alone, and who came later knew the results of who came before; each value is "
        "as it was when its trial was scored. `mltrainer agent compare` lets every proposer begin from nothing on the same "
        "simulated market and judges it by quarters that none was told of."
    )
