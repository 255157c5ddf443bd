"""System: data, jobs, regime, drift, budget, keys, alerts, and the settings that can be changed."""

from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from mltrainer_pipelines.app import charts
from mltrainer_pipelines.app.client import api
from mltrainer_pipelines.app.formats import NONE, dollars, moment, number, short_moment
from mltrainer_pipelines.app.frame import attempt, empty, understandable

_REFRESH_SECONDS = 5


def show() -> None:
    st.title("System")
    with understandable():
        _now()
        _regime()
        _settings()


@st.fragment(run_every=_REFRESH_SECONDS)
def _now() -> None:
    """Everything that changes by itself."""
    with understandable():
        found = api().get("/api/facilitator/system-status")
        st.caption(
            f"As of {moment(found['as_of'])}{' (the clock is pinned)' if found['clock_pinned'] else ''} · {found['market_id']}"
        )
        with st.container(horizontal=True):
            for name, up in found["services"].items():
                st.badge(f"{name} {'answers' if up else 'does not answer'}", color="green" if up else "red")
        _alerts(found)
        left, right = st.columns(2)
        with left:
            _refresh(found)
            _data(found)
        with right:
            _jobs(found)
            _budget(found)
        _drift(found)


def _alerts(found: dict[str, Any]) -> None:
    st.subheader("Alerts")
    if not found["alerts"]:
        st.caption("None is open.")
    for alert in found["alerts"][:10]:
        with st.container(horizontal=True, vertical_alignment="center", border=True):
            st.badge(alert["severity"], color={"error": "red", "warning": "orange"}.get(alert["severity"], "blue"))  # type: ignore[arg-type]
            st.text(alert["message"])
            st.caption(moment(alert["created_at"]))
            if st.button("Seen", key=f"alert-{alert['id']}"):
                attempt(partial(api().send, "POST", f"/api/alerts/{alert['id']}/acknowledge"), "Acknowledged")
    if len(found["alerts"]) > 10:
        st.caption(f"and {len(found['alerts']) - 10} more")


def _refresh(found: dict[str, Any]) -> None:
    st.subheader("Last refresh")
    last = found["last_refresh"]
    if last is None:
        empty("The market was never scored.", "Say “refresh the signals” in the chat, or run `mltrainer demo`.")
        return
    took = f", took {number(last['run']['seconds'], 1)} s" if last["run"] and last["run"]["seconds"] is not None else ""
    st.markdown(f"{moment(last['at'])}{took}: **{last['signals']}** signals, **{last['strong_buys']}** strong buys")


def _data(found: dict[str, Any]) -> None:
    st.subheader("Data")
    pipeline = found["pipeline"]
    st.caption(f"From {pipeline['source']}; the last closed session is {pipeline['last_closed_session']}.")
    rows = [
        {
            "Asset": asset["asset"],
            "Partitions": asset["partitions"],
            "Newest": asset["newest"] or NONE,
            "Behind": _behind(asset),
        }
        for asset in pipeline["assets"]
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="assets", alt="assets of the lake and how fresh they are")


def _behind(asset: dict[str, Any]) -> str:
    if asset["sessions_behind"] is None:
        return "never made" if not asset["partitions"] else ""
    return "up to date" if asset["sessions_behind"] == 0 else f"{asset['sessions_behind']} sessions"


def _jobs(found: dict[str, Any]) -> None:
    st.subheader("Jobs")
    if found["jobs_error"]:
        st.warning(f"Not known: {found['jobs_error']}.")
        return
    st.markdown(
        f"**{len(found['running'])}** running or waiting · [Dagster]({found['dagster_url']}) · [MLflow]({found['mlflow_url']})"
    )
    rows = [
        {
            "Job": run["job"],
            "Status": run["status"].lower(),
            "Asked for (NY)": short_moment(run["created_at"]),
            "Seconds": run["seconds"],
            "Run": run["url"],
        }
        for run in found["recent"]
    ]
    if not rows:
        empty("No job has run yet.", "`mltrainer demo` runs all of them once.")
        return
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        key="jobs",
        height=300,
        alt="the last runs",
        column_config={
            "Run": st.column_config.LinkColumn(display_text="open"),
            "Seconds": st.column_config.NumberColumn(format="%.1f"),
        },
    )


def _budget(found: dict[str, Any]) -> None:
    st.subheader("Agent")
    budget = found["budget"]
    st.markdown(f"autonomy **{budget['autonomy']}**{'' if budget['agent_enabled'] else ', **switched off**'}")
    for name, used, limit in (
        ("trials today", budget["trials"], budget["daily_trials"]),
        ("minutes of computing", round(budget["compute_minutes"], 1), budget["daily_compute_minutes"]),
        ("dollars", budget["dollars"], budget["daily_dollars"]),
    ):
        shown = f"{dollars(used)} of {dollars(limit)} for Claude" if name == "dollars" else f"{used:g} of {limit:g} {name}"
        st.progress(min(1.0, used / limit) if limit else 0.0, shown)
    with st.container(horizontal=True):
        for name, present in found["keys"].items():
            st.badge(f"{name} {'set' if present else 'not set'}", color="green" if present else "gray")


def _drift(found: dict[str, Any]) -> None:
    st.subheader("Drift")
    if not found["drift"]:
        st.caption("Not looked for yet: the job learn does, once positions are closed.")
        return
    rows = [
        {
            "Period": one["timeframe"],
            "Of": one["kind"],
            "What": one["subject"],
            "Statistic": one["statistic"],
            "Threshold": one["threshold"],
            "p": one["p_value"],
            "False alarms": one["false_alarm_rate"],
            "Crossed": "yes" if one["crossed"] else "no",
            "Advice": one["advice"],
            "As of": one["as_of"],
        }
        for one in found["drift"]
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="drift", alt="the newest looks for drift")


def _regime() -> None:
    st.subheader("Regime")
    found = api().get("/api/regime", sessions=252)
    latest = found["latest"]
    if latest is None:
        empty("The regime is not known yet.", "The job build_features computes it.")
        return
    left, right = st.columns([1, 2], gap="medium")
    with left:
        st.metric(f"Score on {latest['date']}", f"{latest['score']:.0f} of 100")
        st.altair_chart(charts.gauge(latest["score"]), alt=f"Regime score {latest['score']:.0f} of 100")
        parts = {name: latest[name] for name in ("trend", "breadth", "volatility", "credit", "curve")}
        st.markdown(" · ".join(f"{name} **{NONE if value is None else round(value)}**" for name, value in parts.items()))
    with right:
        rows = [{"date": day["date"], "score": day["score"], "of": "regime score"} for day in found["history"]]
        st.altair_chart(charts.lines(rows, "date", "score", "of", "0 to 100", ".0f"), alt="Regime score over the last year")


def _settings() -> None:
    st.subheader("Settings")
    found = api().get("/api/settings", history=30)
    st.caption(
        f"Version {found['version']}. A refresh uses what holds when it starts; every change is kept and can be taken back."
    )
    with st.form("settings"):
        values: dict[str, Any] = {}
        columns = st.columns(3)
        for place, setting in enumerate(found["settings"]):
            with columns[place % 3]:
                values[setting["name"]] = _field(setting)
        reason = st.text_input("Why", max_chars=300, placeholder="fewer, surer recommendations")
        if st.form_submit_button("Save the settings", type="primary", icon=":material/save:"):
            changed = {one["name"]: values[one["name"]] for one in found["settings"] if values[one["name"]] != one["value"]}
            if not changed:
                st.info("Nothing was changed.")
            else:
                body = {"values": changed, "reason": reason or "changed on the System page", "if_version": found["version"]}
                if attempt(lambda: api().send("PUT", "/api/settings", body), f"Saved: {', '.join(changed)}"):
                    st.rerun()
    if found["history"]:
        with st.expander(f"Changes ({len(found['history'])})"):
            rows = [
                {
                    "Version": change["id"],
                    "Setting": change["name"],
                    "Value": "default" if change["value"] is None else str(change["value"]),
                    "By": change["changed_by"],
                    "Why": change["reason"],
                    "When": moment(change["changed_at"]),
                }
                for change in found["history"]
            ]
            st.dataframe(pd.DataFrame(rows), hide_index=True, key="changes", alt="changes of the settings")
            newest = found["history"][0]["name"]
            if st.button(f"Take the last change of {newest} back", key="revert") and attempt(
                lambda: api().send("POST", f"/api/settings/{newest}/revert"), "Taken back"
            ):
                st.rerun()


def _field(setting: dict[str, Any]) -> Any:
    label, key = setting["name"].replace("_", " "), f"setting-{setting['name']}"
    about = f"{setting['meaning']} Default: {setting['default']}."
    if setting["kind"] == "choice":
        return st.selectbox(label, setting["choices"], setting["choices"].index(setting["value"]), key=key, help=about)
    if setting["kind"] == "switch":
        return st.toggle(label, setting["value"], key=key, help=about)
    whole = setting["kind"] == "integer"
    convert = int if whole else float
    step = 1 if whole else 0.01 if setting["high"] <= 1 else 1.0
    low, high, value = (convert(setting[name]) for name in ("low", "high", "value"))
    return st.number_input(label, low, high, value, step=convert(step), key=key, help=about)
