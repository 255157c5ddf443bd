"""Trials: the champion, the leaderboard, trials compared, proposals to approve, and which proposer does best."""

from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from mltrainer_pipelines.app import charts
from mltrainer_pipelines.app.client import ApiProblemError, api
from mltrainer_pipelines.app.formats import NONE, moment, number, share
from mltrainer_pipelines.app.frame import attempt, empty_state, error_messages, stale_warning
from mltrainer_pipelines.app.tables import Column, column_or_dash, decimals, table

_MAX_COMPARED = 6


def show() -> None:
    st.title("Trials")
    with error_messages():
        stale_warning("trial_predictions", "trial_scorecard", "leaderboard", "champion_model", "labels")
        timeframe = st.segmented_control(
            "Holding period", ["short", "long"], default="short", key="trial-timeframe", required=True
        )
        page = api().get("/api/trials", timeframe=timeframe, limit=500)
        if page["trials_run"] == 0:
            empty_state("No trial has run yet.", "Type “start momentum analysis” in the chat, or run `mltrainer demo`.")
        else:
            _champion(page, timeframe)
            _comparison(_leaderboard(page))
        _skill(timeframe)
        _proposals()
        _proposers()


def _champion(page: dict[str, Any], timeframe: str) -> None:
    champion = next((one for one in page["champions"] if one["timeframe"] == timeframe), None)
    if champion is None:
        empty_state(f"There is no {timeframe} champion yet.", "The job promote_champion chooses one from the scored trials.")
        return
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**Champion:** {champion['trial_id']}")
            st.badge(champion["grade"], color="green" if champion["grade"] == "proven" else "orange")
            st.caption(f"since {moment(champion['decided_at'])}, version {champion['model_version']}")
        st.markdown("\n".join(f"- {reason}" for reason in champion["reasons"]))


def _leaderboard(page: dict[str, Any]) -> list[dict[str, object]]:
    """Show the table; returns the trials selected for comparison, the first two by default."""
    items = page["items"]
    st.subheader("Leaderboard")
    st.caption(f"Out of sample, after costs. “Luck-adjusted” takes all {page['trials_run']} trials run into account.")
    link = st.column_config.LinkColumn(display_text="open")
    table(
        items,
        {
            "Rank": "rank",
            "Trial": lambda item: f"★ {item['trial_id']}" if item["champion"] else item["trial_id"],
            "Model": "model",
            "Grade": lambda item: item["grade"] or item["status"],
            "Luck-adjusted": "deflated_sharpe",
            "Sharpe": "sharpe",
            "Return a year": lambda item: share(item["net_return"], 1, signed=True),
            "95 % interval": _interval,
            "Universe": lambda item: share(item["universe_net_return"], 1, signed=True),
            "Momentum": lambda item: share(item["momentum_net_return"], 1, signed=True),
            "Brier skill": "brier_skill",
            "Rank IC": "rank_ic",
            "Drawdown": lambda item: share(item["maximum_drawdown"]),
            "MLflow": "mlflow_url",
            "Dagster": "dagster_url",
        },
        "leaderboard",
        f"leaderboard of {len(items)} trials; select rows to compare them",
        on_select="rerun",
        selection_mode="multi-row",
        height=min(36 * (len(items) + 1), 440),
        column_config={
            "Trial": st.column_config.TextColumn(pinned=True),
            "Luck-adjusted": st.column_config.ProgressColumn(
                min_value=0.0, max_value=1.0, format="%.3f", help="Probability that the true Sharpe ratio is above 0."
            ),
            "Brier skill": st.column_config.NumberColumn(
                format="%.4f", help="Above 0: better than always forecasting the base rate."
            ),
            **decimals({"Sharpe": "%.2f", "Rank IC": "%.3f"}),
            **dict.fromkeys(("MLflow", "Dagster"), link),
        },
    )
    rows = st.session_state["leaderboard"]["selection"]["rows"]
    chosen = [items[row] for row in rows if row < len(items)]
    return (chosen or items[:2])[:_MAX_COMPARED]


def _interval(item: dict[str, Any]) -> str:
    if item["net_return_low"] is None or item["net_return_high"] is None:
        return NONE
    return f"{item['net_return_low']:+.1%} to {item['net_return_high']:+.1%}"


def _comparison(chosen: list[dict[str, Any]]) -> None:
    scored = [trial["trial_id"] for trial in chosen if trial["scored_at"]]
    if not scored:
        return
    st.subheader("Compared: " + ", ".join(scored) if len(scored) < 3 else f"{len(scored)} trials compared")
    details = [api().get(f"/api/trials/{trial_id}") for trial_id in scored]
    left, right = st.columns(2)
    with left:
        st.markdown("**A dollar, quarter by quarter**")
        rows = [
            {"quarter": point["quarter"], "dollars": point["equity"], "of": one["trial_id"]}
            for one in details
            for point in one["equity"]
        ]
        for name, label in (("universe", "equal-weight universe"), ("momentum", "12-1 momentum")):
            rows += [{"quarter": point["quarter"], "dollars": point[name], "of": label} for point in details[0]["equity"]]
        lines = charts.lines(rows, "quarter", "dollars", "of", "dollars", ".2f")
        st.altair_chart(lines, alt="Equity of the chosen trials and both baselines")
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
            st.altair_chart(charts.calibration(bins), alt="Share that was profitable against the forecast probability")
        else:
            st.caption("No calibrated probabilities yet.")
    with st.expander("Configurations and scorecards"):
        names = sorted({name for one in details for name in one["metrics"] or {}})
        cards = {one["trial_id"]: [_cell((one["metrics"] or {}).get(name)) for name in names] for one in details}
        st.dataframe(pd.DataFrame(cards, index=[name.replace("_", " ") for name in names]), key="scorecards", alt="scorecards")
        for one in details:
            st.json(one["config"], expanded=False)


def _cell(value: object) -> str:
    return number(value, 4) if isinstance(value, float) else NONE if value is None else str(value)


def _skill(timeframe: str) -> None:
    """What the default models are worth on this market."""
    st.subheader("Skill on this market")
    skill = api().get("/api/skill")
    measured = next((one for one in skill["timeframes"] if one["timeframe"] == timeframe), None)
    if measured is None:
        st.caption("Not measured yet. It is measured by itself once there are champions, or by the job measure_skill in Dagster.")
        return
    default = next(model["name"] for model in measured["models"] if model["default"])
    st.markdown(f"The default model `{default}` {measured['verdict']}.")
    st.caption(
        f"Out of sample, {measured['sessions']} sessions from {skill['first_session']} to {skill['last_session']}, measured "
        f"{moment(skill['measured_at'])}. All models are judged on the same rows."
    )
    columns: dict[str, Column] = {
        "Model": lambda model: f"★ {model['name']}" if model["default"] else model["name"],
        "Kind": "kind",
        "Rank IC": "rank_ic",
        "t": "t",
        "Free of size": "neutral_rank_ic",
        "Top tenth over all": lambda model: share(model["top_decile_excess"], 2, signed=True),
        "Default ahead by": "default_is_ahead_by",
        "t of that": "default_is_ahead_t",
    }
    config = decimals({"Rank IC": "%.3f", "t": "%.1f", "Free of size": "%.3f", "Default ahead by": "%.3f", "t of that": "%.1f"})
    table(measured["models"], columns, "skill", "how well each model ranks, the best first", column_config=config, height=300)
    rows = [{"month": day, "sum": total, "of": one["model"]} for one in measured["curves"] for day, total in one["months"]]
    if rows:
        lines = charts.lines(rows, "month", "sum", "of", "sum of rank ICs", ".1f")
        st.altair_chart(lines, alt="Sum of rank ICs over time, of the default model and the best others")


def _proposals() -> None:
    st.subheader("Proposals")
    proposals = api().get("/api/proposals", limit=100)["items"]
    if not proposals:
        empty_state("No trial has been proposed yet.", "Type “propose new trials” in the chat, or wait for the night.")
        return
    pending = [one for one in proposals if one["status"] == "proposed"]
    if not pending:
        st.caption("No proposal needs your approval.")
    for one in pending:
        _pending(one)
    decided = [one for one in proposals if one["status"] != "proposed"]
    if decided:
        with st.expander(f"Decided ({len(decided)})", expanded=not pending):
            columns: dict[str, Column] = {
                "Trial": "trial_id",
                "By": "proposer",
                "Status": "status",
                "Decided by": column_or_dash("decided_by"),
                "Hypothesis": "hypothesis",
                "Refuted if": "refuted_if",
                "Run": column_or_dash("run_id"),
            }
            table(decided, columns, "decided", "decided proposals")


def _pending(proposal: dict[str, Any]) -> None:
    number = proposal["id"]
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{proposal['trial_id']}**")
            st.badge("needs your approval", color="orange")
            st.caption(f"by {proposal['proposer']}, {moment(proposal['created_at'])}")
        st.text(proposal["hypothesis"])
        st.caption(f"Refuted if: {proposal['refuted_if']}")
        with st.container(horizontal=True):
            approve = st.button("Approve", key=f"approve-{number}", type="primary", icon=":material/check:")
            reject = st.button("Reject", key=f"reject-{number}", icon=":material/close:")
        if approve or reject:
            how = "approve" if approve else "reject"
            done = "Approved: the trial starts within seconds" if approve else "Rejected"
            if attempt(partial(api().send, "POST", f"/api/proposals/{number}/{how}"), done):
                st.rerun()


def _proposers() -> None:
    comparison = api().get("/api/proposals/comparison")["items"]
    rows = [
        {"trial": count, "best": best, "of": f"{one['proposer']} ({one['timeframe']})"}
        for one in comparison
        for count, best in enumerate(one["best_deflated_sharpe"], 1)
    ]
    st.subheader("Who proposes best")
    if not rows:
        st.caption("The comparison starts with the first scored trial.")
        return
    chart = charts.steps(rows, "trial", "best", "of", "scored trials", "best luck-adjusted Sharpe so far")
    st.altair_chart(chart, alt="Best luck-adjusted Sharpe against the number of scored trials, for each proposer")
    st.caption(
        "More trials raise the best result by luck alone, and later proposers saw earlier results. For a fair comparison on one "
        "simulated market run `mltrainer agent compare`."
    )
