import io

import polars as pl
import pytest

from mltrainer_pipelines.trials.scoring.figures import figures
from mltrainer_pipelines.trials.scoring.score import score
from mltrainer_pipelines_tests.trials.scoring.test_scorecard import Trial, labels, market, predictions, scored


@pytest.mark.parametrize("kind", ["simulated", "real"])
def test_every_picture_is_drawn_and_says_which_market_it_is_of(kind: str) -> None:
    drawn = figures(scored(0.02), kind)
    assert list(drawn) == ["equity", "drawdown", "calibration"]
    for figure in drawn.values():
        title = figure.axes[0].get_title(loc="left")
        assert title.startswith("logistic-l2-short-00000000")
        assert ("simulated market" in title) == (kind == "simulated")
        out = io.BytesIO()
        figure.savefig(out, format="png")
        assert out.getbuffer()[:4].tobytes() == b"\x89PNG"


def test_the_curves_are_those_of_the_scorecard() -> None:
    result = scored(0.02)
    lines = figures(result, "real")["equity"].axes[0].get_lines()
    assert lines[0].get_ydata().tolist() == result.equity["equity"].to_list()
    deepest = min(figures(result, "real")["drawdown"].axes[0].get_lines()[-1].get_ydata())
    assert deepest == pytest.approx(-result.scorecard.maximum_drawdown)


def test_a_trial_without_probabilities_says_so_instead_of_a_curve() -> None:
    bare = predictions(0.0).with_columns(probability=pl.lit(None, pl.Float64))
    figure = figures(score(Trial(), bare, labels(), market().bars), "real")["calibration"]
    assert figure.axes[0].texts[0].get_text() == "no calibrated probability yet"
