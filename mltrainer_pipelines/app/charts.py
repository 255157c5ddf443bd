"""The charts of the pages."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

Chart = alt.LayerChart | alt.FacetChart
_HEIGHT = 300


def price_chart(detail: Mapping[str, object]) -> Chart:
    """Closing prices around a decision, with entry, target and stop."""
    prices = pd.DataFrame(detail["prices"])
    prices["date"] = pd.to_datetime(prices["date"])
    base = alt.Chart(prices).encode(x=alt.X("date:T", title=None))
    scale = alt.Scale(zero=False)
    line = base.mark_line(strokeWidth=1.8).encode(
        y=alt.Y("close:Q", title="dollars", scale=scale),
        tooltip=[
            alt.Tooltip("date:T", title="session"),
            alt.Tooltip("close:Q", format=".2f"),
            alt.Tooltip("high:Q", format=".2f"),
            alt.Tooltip("low:Q", format=".2f"),
        ],
    )
    span = base.mark_area(opacity=0.15).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q")
    names = {"entry": detail["entry_price"], "target": detail["target_price"], "stop": detail["stop_loss"]}
    levels = pd.DataFrame({"level": list(names), "price": list(names.values())})
    levels["label"] = [f"{name} {price:.2f}" for name, price in names.items()]
    colour = alt.Color(
        "level:N",
        scale=alt.Scale(domain=list(names), range=["#6b7280", "#15803d", "#dc2626"]),
        legend=alt.Legend(orient="top", title=None),
    )
    rules = alt.Chart(levels).mark_rule(strokeDash=[6, 3], strokeWidth=1.6).encode(y="price:Q", color=colour, tooltip=["label:N"])
    decision = pd.DataFrame({"date": [pd.Timestamp(detail["session"])]})
    mark = alt.Chart(decision).mark_rule(strokeWidth=1, opacity=0.5).encode(x="date:T")
    return alt.layer(span, line, rules, mark).properties(height=_HEIGHT)


def lines(
    rows: Sequence[Mapping[str, object]],
    x: str,
    y: str,
    series: str,
    title: str,
    form: str = ",.0f",
) -> Chart:
    """A line for each series over time, with dots where points are few."""
    frame = pd.DataFrame(list(rows))
    frame[x] = pd.to_datetime(frame[x])
    few = frame[x].nunique() < 40
    years = (frame[x].max() - frame[x].min()).days > 400
    dates = alt.Axis(format="%b %Y" if years else "%b %d", tickCount=6, labelOverlap=True)
    chart = alt.Chart(frame).mark_line(strokeWidth=2, point=few)
    chart = chart.encode(
        x=alt.X(f"{x}:T", title=None, axis=dates),
        y=alt.Y(f"{y}:Q", title=title, axis=alt.Axis(format=form), scale=alt.Scale(zero=False)),
        color=_series_colour(rows, series),
        tooltip=[alt.Tooltip(f"{x}:T"), alt.Tooltip(f"{series}:N"), alt.Tooltip(f"{y}:Q", format=form)],
    )
    return alt.layer(chart).properties(height=_HEIGHT)


def steps(rows: Sequence[Mapping[str, object]], x: str, y: str, series: str, x_title: str, y_title: str) -> Chart:
    """A step line for each series over a count."""
    chart = alt.Chart(pd.DataFrame(list(rows))).mark_line(interpolate="step-after", point=True)
    chart = chart.encode(
        x=alt.X(f"{x}:Q", title=x_title, axis=alt.Axis(tickMinStep=1)),
        y=alt.Y(f"{y}:Q", title=y_title, axis=alt.Axis(format=".2f"), scale=alt.Scale(zero=False)),
        color=_series_colour(rows, series),
        tooltip=[series, x, alt.Tooltip(f"{y}:Q", format=".3f")],
    )
    return alt.layer(chart).properties(height=_HEIGHT)


def calibration(rows: Sequence[Mapping[str, object]]) -> Chart:
    """Observed shares against forecast probabilities; the dashed line is perfect."""
    frame = pd.DataFrame(list(rows))
    low = min(frame["probability"].min(), frame["observed"].min()) - 0.02
    high = max(frame["probability"].max(), frame["observed"].max()) + 0.02
    scale = alt.Scale(domain=[low, high], nice=False)
    ideal = alt.Chart(pd.DataFrame({"probability": [low, high], "observed": [low, high]}))
    ideal = ideal.mark_line(strokeDash=[5, 4], color="#6b7280")
    diagonal = ideal.encode(x=alt.X("probability:Q", scale=scale), y=alt.Y("observed:Q", scale=scale))
    percent = alt.Axis(format=".0%")
    dots = alt.Chart(frame).mark_line(point=True)
    dots = dots.encode(
        x=alt.X("probability:Q", title="forecast probability of a profit", scale=scale, axis=percent),
        y=alt.Y("observed:Q", title="share that was profitable", scale=scale, axis=percent),
        color=_series_colour(rows, "trial"),
        tooltip=["trial", alt.Tooltip("probability:Q", format=".1%"), alt.Tooltip("observed:Q", format=".1%"), "rows"],
    )
    return alt.layer(diagonal, dots).properties(height=_HEIGHT)


def gauge(score: float) -> Chart:
    """A score from 0 (worst) to 100 on a bar of five bands."""
    bands = pd.DataFrame({"from": [0, 20, 40, 60, 80], "to": [20, 40, 60, 80, 100]})
    colours = alt.Scale(domain=[0, 20, 40, 60, 80], range=["#b91c1c", "#d97706", "#9ca3af", "#65a30d", "#15803d"])
    scale = alt.Scale(domain=[0, 100])
    bar = alt.Chart(bands).mark_bar(height=22)
    bar = bar.encode(
        x=alt.X("from:Q", title=None, scale=scale, axis=alt.Axis(values=[0, 20, 40, 60, 80, 100])),
        x2="to:Q",
        color=alt.Color("from:O", scale=colours, legend=None),
    )
    needle = alt.Chart(pd.DataFrame({"score": [score]})).mark_point(shape="triangle-down", size=260, filled=True, yOffset=-20)
    pointed = needle.encode(
        x=alt.X("score:Q", scale=scale), tooltip=[alt.Tooltip("score:Q", format=".0f")], color=alt.value("#6b7280")
    )
    return alt.layer(bar, pointed).properties(height=90)


def bars(rows: Sequence[Mapping[str, object]], x: str, y: str, title: str, form: str = ".0%") -> Chart:
    """A bar for each row, the largest first."""
    chart = alt.Chart(pd.DataFrame(list(rows))).mark_bar()
    chart = chart.encode(
        x=alt.X(f"{y}:Q", title=title, axis=alt.Axis(format=form)),
        y=alt.Y(f"{x}:N", title=None, sort="-x"),
        tooltip=[x, alt.Tooltip(f"{y}:Q", format=form)],
    )
    return alt.layer(chart)


def _series_colour(rows: Sequence[Mapping[str, Any]], series: str) -> alt.Color:
    """One colour a series, the same in every chart of a page; long names are listed below each other to fit a phone."""
    names = list(dict.fromkeys(row[series] for row in rows))
    columns = 1 if any(len(str(name)) > 22 for name in names) else 2
    legend = alt.Legend(orient="top", title=None, columns=columns, labelLimit=300)
    return alt.Color(f"{series}:N", sort=names, legend=legend)
