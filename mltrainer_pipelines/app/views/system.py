"""System: data, jobs, regime, drift, budget, keys, alerts, and the settings that can be changed."""

from functools import partial
from typing import Any

import streamlit as st

from mltrainer_pipelines.app import charts
from mltrainer_pipelines.app.client import api
from mltrainer_pipelines.app.formats import NONE, dollars, moment, number, short_moment
from mltrainer_pipelines.app.frame import attempt, empty_state, error_messages
from mltrainer_pipelines.app.tables import Column, column_or_dash, decimals, table

_REFRESH_SECONDS = 5


def show() -> None:
    st.title("System")
    with error_messages():
        _status()
        _quarantine()
        _regime()
        _notifications()
        _settings()


@st.fragment(run_every=_REFRESH_SECONDS)
def _status() -> None:
    """Everything that changes without the reader."""
    with error_messages():
        status = api().get("/api/facilitator/system-status")
        st.caption(f"As of {moment(status['as_of'])}{' (fixed clock)' if status['clock_pinned'] else ''} · {status['market_id']}")
        with st.container(horizontal=True):
            for name, up in status["services"].items():
                st.badge(f"{name} {'up' if up else 'down'}", color="green" if up else "red")
        _alerts(status)
        _automation()
        left, right = st.columns(2)
        with left:
            _refresh(status)
            _data(status)
        with right:
            _jobs(status)
            _budget(status)
        _drift(status)


def _alerts(status: dict[str, Any]) -> None:
    st.subheader("Alerts")
    if not status["alerts"]:
        st.caption("No open alerts.")
    for alert in status["alerts"][:10]:
        with st.container(horizontal=True, vertical_alignment="center", border=True):
            st.badge(alert["severity"], color={"error": "red", "warning": "orange"}.get(alert["severity"], "blue"))  # type: ignore[arg-type]
            st.text(alert["message"])
            st.caption(moment(alert["created_at"]))
            if st.button("Seen", key=f"alert-{alert['id']}"):
                attempt(partial(api().send, "POST", f"/api/alerts/{alert['id']}/acknowledge"), "Acknowledged")
    if len(status["alerts"]) > 10:
        st.caption(f"and {len(status['alerts']) - 10} more")


def _automation() -> None:
    st.subheader("Automation")
    with error_messages():
        state = api().get("/api/automation")
        if state["problem"]:
            st.warning(state["problem"], icon=":material/pause_circle:")
        if state["plan"]:
            st.caption(state["plan"])
        for one in state["catching_up"]:
            minutes = max(1, round(one["seconds"] / 60))
            st.info(
                f"Catching up: {one['asset']}, {one['sessions']} sessions, {one['first']} to {one['last']}, "
                f"about {minutes} minute{'s' * (minutes > 1)}.",
                icon=":material/history:",
            )
        with st.container(horizontal=True):
            for label, on in (("Switch everything on", True), ("Switch everything off", False)):
                if st.button(label, disabled=all(one["on"] == on for one in state["automation"] if on or not one["safety_net"])):
                    attempt(partial(api().send, "PUT", "/api/automation", {"on": on}), "Done")
                    st.rerun(scope="fragment")
        names = " and ".join(f"*{one['name'].replace('_', ' ')}*" for one in state["automation"] if one["safety_net"])
        if names:
            st.caption(f"“Off” leaves {names} on: they carry out what you ask for and tell you of failures.")
        for one in state["automation"]:
            _switch(one)


def _switch(one: dict[str, Any]) -> None:
    """One schedule or sensor: its switch, its ticks, what it last did."""
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        if (
            st.toggle(one["name"].replace("_", " "), one["on"], key=f"on-{one['name']}-{one['on']}", help=one["description"])
            != one["on"]
        ):
            attempt(partial(api().send, "PUT", f"/api/automation/{one['name']}", {"on": not one["on"]}), "Done")
            st.rerun(scope="fragment")
        last, upcoming = (moment(one[name]) if one[name] else "none" for name in ("last_tick", "next_tick"))
        st.caption(f"last {last} · next {upcoming}")
        if one["last_result"]:
            color = {"failed": "red", "started": "green"}.get(one["last_result"], "gray")
            st.badge(one["last_result"], color=color)  # type: ignore[arg-type]
        if one["detail"]:
            st.caption(one["detail"].splitlines()[0][:200])
        for url in one["runs"][:3]:
            st.markdown(f"[run]({url})")


def _refresh(status: dict[str, Any]) -> None:
    st.subheader("Last refresh")
    last = status["last_refresh"]
    if last is None:
        empty_state("The market has not been scored yet.", "Type “refresh the signals” in the chat, or run `mltrainer demo`.")
        return
    if last["failure"]:
        where = f" ([its log]({last['run']['url']}))"
        st.error(
            f"The last refresh, {moment(last['run']['created_at'])}, failed: {last['failure'][:300]}{where}",
            icon=":material/error:",
        )
    if last["at"] is None:
        return
    took = f", took {number(last['run']['seconds'], 1)} s" if last["run"] and last["run"]["seconds"] is not None else ""
    st.markdown(f"{moment(last['at'])}{took}: **{last['signals']}** signals, **{last['strong_buys']}** strong buys")


def _data(status: dict[str, Any]) -> None:
    st.subheader("Data")
    pipeline = status["pipeline"]
    st.caption(f"Source: {pipeline['source']}. Last closed session: {pipeline['last_closed_session']}.")
    columns: dict[str, Column] = {
        "Asset": "asset",
        "Partitions": "partitions",
        "Newest": column_or_dash("newest"),
        "Behind": _behind,
    }
    table(pipeline["assets"], columns, "assets", "stored data and how fresh they are")


def _behind(asset: dict[str, object]) -> str:
    behind = asset["sessions_behind"]
    if not asset["newest"] and not behind:
        return "none yet"
    return "up to date" if behind == 0 else f"{behind} session{'s' * (behind != 1)}"


def _jobs(status: dict[str, Any]) -> None:
    st.subheader("Jobs")
    if status["jobs_error"]:
        st.warning(f"The jobs cannot be listed: {status['jobs_error']}.")
        return
    st.markdown(
        f"**{len(status['running'])}** running or waiting · [Dagster]({status['dagster_url']}) · [MLflow]({status['mlflow_url']})"
    )
    if not status["recent"]:
        empty_state("No job has run yet.", "`mltrainer demo` runs each of them once.")
        return
    columns: dict[str, Column] = {
        "Job": "job",
        "Status": lambda run: run["status"].lower(),
        "Requested (NY)": lambda run: short_moment(run["created_at"]),
        "Seconds": "seconds",
        "Run": "url",
    }
    config = {"Run": st.column_config.LinkColumn(display_text="open"), **decimals({"Seconds": "%.1f"})}
    table(status["recent"], columns, "jobs", "the last runs", height=300, column_config=config)


def _budget(status: dict[str, Any]) -> None:
    st.subheader("Agent")
    budget = status["budget"]
    st.markdown(f"autonomy **{budget['autonomy']}**{'' if budget['agent_enabled'] else ', **switched off**'}")
    minutes, spent = round(budget["compute_minutes"], 1), f"{dollars(budget['dollars'])} of {dollars(budget['daily_dollars'])}"
    for used, limit, label in (
        (budget["trials"], budget["daily_trials"], f"{budget['trials']:g} of {budget['daily_trials']:g} trials today"),
        (minutes, budget["daily_compute_minutes"], f"{minutes:g} of {budget['daily_compute_minutes']:g} minutes of computing"),
        (budget["dollars"], budget["daily_dollars"], f"{spent} for Claude"),
    ):
        st.progress(min(1.0, used / limit) if limit else 0.0, label)
    with st.container(horizontal=True):
        for name, present in status["keys"].items():
            st.badge(f"{name} {'set' if present else 'not set'}", color="green" if present else "gray")


def _drift(status: dict[str, Any]) -> None:
    st.subheader("Drift")
    if not status["drift"]:
        st.caption("Not checked yet: the job learn checks once paper trades have closed.")
        return
    columns: dict[str, Column] = {
        "Period": "timeframe",
        "Kind": "kind",
        "Subject": "subject",
        "Statistic": "statistic",
        "Threshold": "threshold",
        "p": "p_value",
        "False alarms": "false_alarm_rate",
        "Drifted": lambda check: "yes" if check["crossed"] else "no",
        "Advice": "advice",
        "As of": "as_of",
    }
    table(status["drift"], columns, "drift", "the newest checks for drift")


def _quarantine() -> None:
    st.subheader("Quarantine")
    rows, made = api().get("/api/quarantine")["items"], api().get("/api/corrections")["items"]
    if rows:
        columns: dict[str, Column] = {
            "From": "source",
            "About": "subject",
            "Day": column_or_dash("day"),
            "Reason": "reason",
            "First seen": lambda row: short_moment(row["first_seen"]),
        }
        table(rows, columns, "quarantine", "rows of vendors that are not used")
    else:
        st.caption("Nothing is set aside.")
    with st.expander(f"Corrections ({sum(one['revoked_at'] is None for one in made)})"):
        columns = {
            "Number": "id",
            "Kind": "kind",
            "Symbol": column_or_dash("symbol"),
            "Day": "day",
            "Value": column_or_dash("value"),
            "Why": "reason",
            "Holds": lambda one: "no" if one["revoked_at"] else "yes",
        }
        table(made, columns, "corrections", "what overrules the vendor")
        # Empty again only once it is recorded: the keys of its fields are those of the next one then.
        n = len(made)
        with st.form(f"correction-{n}"):
            kind = st.selectbox("Kind", ["split", "dividend", "no_action", "closure", "bar", "rename"], key=f"kind-{n}")
            day = st.date_input("Day", key=f"day-{n}")
            symbol = st.text_input("Symbol", max_chars=20, key=f"symbol-{n}")
            value = st.number_input("Value", min_value=0.0, value=None, key=f"value-{n}")
            of_rename = "Of a rename: whose company the symbol is from that day on."
            older = st.text_input("Older symbol", max_chars=20, key=f"older-{n}", help=of_rename)
            reason = st.text_input("Reason", max_chars=300, key=f"reason-{n}")
            if st.form_submit_button("Overrule the vendor", icon=":material/edit:"):
                body = {
                    "kind": kind,
                    "day": str(day),
                    "symbol": symbol or None,
                    "value": older if kind == "rename" else value,
                    "reason": reason,
                }
                if attempt(partial(api().send, "POST", "/api/corrections", body), "Recorded: the next ingestion uses it"):
                    st.rerun()


def _regime() -> None:
    st.subheader("Regime")
    regime = api().get("/api/regime", sessions=252)
    latest = regime["latest"]
    if latest is None:
        empty_state("There is no regime score yet.", "The job build_features computes it.")
        return
    left, right = st.columns([1, 2], gap="medium")
    with left:
        st.metric(f"Score on {latest['date']}", f"{latest['score']:.0f} of 100")
        st.altair_chart(charts.gauge(latest["score"]), alt=f"Regime score {latest['score']:.0f} of 100")
        parts = {name: latest[name] for name in ("trend", "breadth", "volatility", "credit", "curve")}
        st.markdown(" · ".join(f"{name} **{NONE if value is None else round(value)}**" for name, value in parts.items()))
    with right:
        rows = [{"date": day["date"], "score": day["score"], "of": "regime score"} for day in regime["history"]]
        st.altair_chart(charts.lines(rows, "date", "score", "of", "0 to 100", ".0f"), alt="Regime score over the last year")


def _notifications() -> None:
    st.subheader("Notifications")
    state = api().get("/api/notifications")
    if state["problem"]:
        st.error(f"Nothing is sent: {state['problem']}.", icon=":material/error:")
    elif not state["targets"]:
        empty_state("Nobody is notified yet.", "Save an address below, or set `MLTRAINER_NOTIFY`. The settings switch each kind.")
    for target in state["targets"]:
        with st.container(horizontal=True, vertical_alignment="center", border=True):
            st.badge(target["service"], color="red" if target["error"] else "green")
            newest = "nothing was sent yet" if target["last_at"] is None else f"last message {moment(target['last_at'])}"
            st.text(target["error"] or newest)
            st.caption(f"from {target['source']}")
    saves = st.session_state.get("saved-addresses", 0)
    with st.form(f"notifications-{saves}"):
        text = st.text_input(
            "Addresses of Apprise, separated by blanks",
            key=f"addresses-{saves}",
            type="password",
            placeholder="mailto://user:password@example.com tgram://token/chat",
            help="They take the place of those saved here before and are not shown again; none takes them back. "
            "How each is written: https://github.com/caronc/apprise/wiki",
        )
        save = st.form_submit_button("Save the addresses", icon=":material/save:")
    if save and attempt(lambda: api().send("PUT", "/api/notifications/addresses", {"addresses": text}), "Saved"):
        st.session_state["saved-addresses"] = saves + 1  # empty again only once they are saved
        st.rerun()
    if st.button("Send a test", icon=":material/send:", disabled=not state["targets"]):
        with error_messages():
            for target in api().send("POST", "/api/notifications/test")["targets"]:
                if target["error"]:
                    st.error(f"{target['service']}: {target['error']}", icon=":material/error:")
                else:
                    st.success(f"{target['service']} took the test.", icon=":material/check:")
    if state["recent"]:
        columns: dict[str, Column] = {
            "Written (NY)": lambda message: short_moment(message["created_at"]),
            "Kind": "kind",
            "Message": "title",
            "Status": lambda message: message["status"].replace("_", " "),
        }
        table(state["recent"], columns, "messages", "the last notifications", height=210)


def _settings() -> None:
    st.subheader("Settings")
    settings = api().get("/api/settings", history=30)
    st.caption(f"Version {settings['version']}. The next refresh uses a change; every change can be undone.")
    with st.form("settings"):
        values: dict[str, Any] = {}
        areas = st.columns(3)
        for place, setting in enumerate(settings["settings"]):
            with areas[place % 3]:
                values[setting["name"]] = _field(setting)
        reason = st.text_input("Why", max_chars=300, placeholder="fewer, surer recommendations")
        if st.form_submit_button("Save the settings", type="primary", icon=":material/save:"):
            changed = {one["name"]: values[one["name"]] for one in settings["settings"] if values[one["name"]] != one["value"]}
            if not changed:
                st.info("Nothing to save: no setting differs.")
            else:
                body = {"values": changed, "reason": reason or "changed on the System page", "if_version": settings["version"]}
                if attempt(lambda: api().send("PUT", "/api/settings", body), f"Saved: {', '.join(changed)}"):
                    st.rerun()
    if settings["history"]:
        with st.expander(f"Changes ({len(settings['history'])})"):
            columns: dict[str, Column] = {
                "Version": "id",
                "Setting": "name",
                "Value": lambda change: "default" if change["value"] is None else str(change["value"]),
                "By": "changed_by",
                "Why": "reason",
                "When": lambda change: moment(change["changed_at"]),
            }
            table(settings["history"], columns, "changes", "changes of the settings")
            newest = settings["history"][0]["name"]
            if st.button(f"Undo the last change of {newest}", key="revert") and attempt(
                lambda: api().send("POST", f"/api/settings/{newest}/revert"), "Undone"
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
