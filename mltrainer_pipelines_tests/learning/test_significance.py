"""What a report says stands out: rarely anything where nothing does, and what really does."""

from datetime import date
from types import SimpleNamespace

import numpy as np

from mltrainer_pipelines.learning.significance import differences
from mltrainer_pipelines.market.sessions import sessions_between

DAYS = sessions_between(date(2015, 1, 2), date(2016, 3, 31))
HELD = 12
GROUPS = {
    "timeframe": lambda row: row.timeframe,
    "model": lambda row: row.model,
    "regime": lambda row: row.regime,
    "sector": lambda row: row.sector,
    "exit": lambda row: "target" if row.profitable else "stop",
}


def positions(seed: int, gift: float = 0.0) -> list[SimpleNamespace]:
    """Two a session, held for twelve: their returns share the market of these sessions; `gift` is TECH's own."""
    rng = np.random.default_rng(seed)
    market = 0.01 * rng.standard_normal(len(DAYS) + HELD)
    rows = []
    for session in range(len(DAYS) - HELD):
        for _ in range(2):
            sector = rng.choice(["TECH", "OIL", "BANKS", "FOOD"])
            earned = market[session : session + HELD].sum() + 0.06 * rng.standard_normal() + gift * (sector == "TECH")
            told = {"timeframe": "short", "model": rng.choice(["a", "b"]), "regime": session // 60 % 3, "sector": sector}
            known = {"closed_session": DAYS[session + HELD], "net_return": earned, "profitable": earned > 0}
            rows.append(SimpleNamespace(**told, **known, predicted_probability=0.5))
    return rows


def test_without_any_effect_a_report_rarely_says_that_something_stands_out() -> None:
    said = [differences(positions(seed), positions(seed + 1000)[::5], GROUPS) for seed in range(24)]
    assert sum(any(one.values()) for one in said) <= 3  # at 5 %, more than three of 24 in one case of thirty


def test_a_sector_that_really_gains_is_named_and_a_target_that_was_reached_is_not() -> None:
    said = differences(positions(1, gift=0.05), [], GROUPS)
    assert [sentence.split(":")[0] for sentence in said["worked"]] == ["sector TECH"]
    assert not any("exit" in sentence for sentences in said.values() for sentence in sentences)
