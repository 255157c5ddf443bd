import subprocess
import sys
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from mltrainer_pipelines.features.engine import compute_features, look_back
from mltrainer_pipelines.features.panel import BadPanelError
from mltrainer_pipelines.features.regime.score import regime_scores
from mltrainer_pipelines.features.registry import UnknownFeatureSetError, feature_sets, get_feature_set
from mltrainer_pipelines.features.spec import Feature, FeatureSet
from mltrainer_pipelines_tests.features import panels


def features_of(frame, first=None, last=None, feature_set="momentum", universe=None, macro=None, workers=1, regime=None):
    days = panels.days(frame)
    members = panels.universe(frame) if universe is None else universe
    return compute_features(frame, members, macro, first or days[0], last or days[-1], feature_set, workers, regime)


def single(reads, formula, look_back=0, name="probe"):
    return FeatureSet("probe", (Feature(name, reads, look_back, formula, "test", "test"),))


@pytest.fixture(scope="module")
def frame():
    return panels.punctured(panels.bars(), 0.04, seed=7)


@pytest.fixture(scope="module")
def whole(frame):
    return features_of(frame)


def test_a_row_for_each_member_with_a_close_and_a_float32_column_a_feature(frame, whole):
    assert whole.select("date", "symbol").equals(frame.select("date", "symbol").sort("date", "symbol"))
    assert whole.columns == ["date", "symbol", *get_feature_set("momentum").names]
    assert set(whole.drop("date", "symbol").dtypes) == {pl.Float32}


def test_unknown_is_null_and_never_nan_or_infinite(whole):
    values = whole.drop("date", "symbol")
    assert values.select((~pl.all().is_finite()).sum()).transpose().to_series().sum() == 0
    assert whole.filter(pl.col("date") <= whole["date"].unique().sort()[4])["return_5"].is_null().all()
    newest = whole.filter(pl.col("date") == whole["date"][-1])
    assert newest.null_count().transpose().to_series().sum() < 0.1 * newest.height * newest.width


def test_the_newest_session_alone_from_the_declared_history_is_bit_identical(frame, whole):
    days = panels.days(frame)
    for at in (len(days) - 1, len(days) - 14, len(days) - 40):
        short = frame.filter(pl.col("date").is_between(days[at - look_back("momentum")], days[at]))
        assert_frame_equal(features_of(short, days[at], days[at]), whole.filter(date=days[at]), check_exact=True)


def test_a_range_gives_the_same_values_as_the_whole_and_so_do_more_workers(frame, whole):
    first, last = date(2020, 1, 17), date(2020, 4, 8)
    found = features_of(frame, first, last, workers=3)
    assert_frame_equal(found, whole.filter(pl.col("date").is_between(first, last)), check_exact=True)


@pytest.mark.parametrize("name", ["technical", "alpha158", "cross_section"])
def test_the_newest_session_of_other_sets_is_bit_identical_too(frame, name):
    days = panels.days(frame)
    whole = features_of(frame, days[380], feature_set=name)
    short = frame.filter(pl.col("date") >= days[-1 - look_back(name)])
    assert_frame_equal(features_of(short, days[-1], feature_set=name), whole.filter(date=days[-1]), check_exact=True)


def test_alpha158_declares_what_each_of_its_windows_reaches():
    frame = panels.bars(6, 130)
    days = panels.days(frame)
    whole = features_of(frame, days[-1], feature_set="alpha158")
    for feature in get_feature_set("alpha158").features[::7]:
        alone = FeatureSet("alone", (feature,))
        short = frame.filter(pl.col("date") >= days[-1 - look_back(alone)])
        assert_frame_equal(features_of(short, days[-1], feature_set=alone), whole.select("date", "symbol", feature.name))


@pytest.mark.parametrize("name", ["alpha158", "momentum"])
def test_a_symbols_own_features_do_not_depend_on_how_many_others_there_are(name):
    frame = panels.bars(600, 70)
    days = panels.days(frame)
    few = panels.universe(frame).filter(pl.col("symbol") < "S20")
    many = features_of(frame, days[66], feature_set=name).join(few.select("symbol").unique(), on="symbol", how="semi")
    alone = features_of(frame, days[66], feature_set=name, universe=few)
    own = [f.name for f in get_feature_set(name).features if not {"market_return", "sector_return"} & set(f.reads)]
    own = [column for column in own if not column.startswith(("rank_", "breadth"))]
    assert_frame_equal(many.select("date", "symbol", *own), alone.select("date", "symbol", *own), check_exact=True)


def test_bases_are_computed_for_others_and_not_shown():
    base = Feature("base", ("price",), 5, lambda w: w.change(5), "test", "test")
    shown = Feature("shown", ("base",), 0, lambda w: 2.0 * w.feature("base"), "test", "test")
    frame = panels.bars(6, 40)
    found = features_of(frame, feature_set=FeatureSet("probe", (shown,), bases=(base,)))
    assert found.columns == ["date", "symbol", "shown"]
    alone = features_of(frame, feature_set=FeatureSet("probe", (base,)))
    assert found["shown"].to_list() == pytest.approx([None if v is None else 2.0 * v for v in alone["base"]], nan_ok=True)


@pytest.mark.parametrize("feature", get_feature_set("momentum").features, ids=lambda f: f.name)
def test_each_feature_needs_no_more_history_than_it_declares(frame, whole, feature):
    needed = [feature]
    for candidate in reversed(get_feature_set("momentum").features):
        if any(candidate.name in other.reads for other in needed):
            needed.insert(0, candidate)
    alone = FeatureSet("alone", tuple(needed))
    days = panels.days(frame)
    short = frame.filter(pl.col("date") >= days[-1 - look_back(alone)])
    found = features_of(short, days[-1], days[-1], alone)
    assert_frame_equal(found.select(feature.name), whole.filter(date=days[-1]).select(feature.name), check_exact=True)


def test_bars_that_end_earlier_give_the_same_values(frame, whole):
    for cut in (date(2019, 7, 9), date(2020, 3, 31), date(2020, 6, 17)):
        found = features_of(frame.filter(pl.col("date") <= cut), last=cut)
        assert_frame_equal(found, whole.filter(pl.col("date") <= cut), check_exact=True)


def test_the_order_of_the_rows_does_not_matter(frame, whole):
    assert_frame_equal(features_of(frame.sample(fraction=1.0, shuffle=True, seed=1)), whole, check_exact=True)


def test_symbols_outside_the_universe_do_not_matter(frame):
    members = panels.universe(frame).filter(pl.col("symbol") < "S08")
    with_others = features_of(frame, universe=members)
    without = features_of(frame.filter(pl.col("symbol") < "S08"), universe=members)
    assert_frame_equal(with_others, without, check_exact=True)
    assert set(with_others["symbol"]) == {f"S{i:02d}" for i in range(8)}


def test_membership_is_that_of_the_months_universe(frame):
    members = panels.universe(frame).filter((pl.col("symbol") != "S05") | (pl.col("month") < date(2020, 2, 1)))
    found = features_of(frame, universe=members)
    assert found.filter(symbol="S05")["date"].max() < date(2020, 2, 1)
    ranked = found.filter(pl.col("date") == date(2020, 2, 3))["rank_return_21"].drop_nulls()
    assert ranked.max() == pytest.approx((len(ranked) - 0.5) / len(ranked))


def test_members_without_any_bar_give_no_row(frame):
    members = panels.universe(frame).with_columns(symbol=pl.lit("NONE") + pl.col("symbol"))
    found = features_of(frame, universe=members)
    assert found.is_empty()
    assert found.columns[2:] == get_feature_set("momentum").names


def test_macro_is_read_as_of_each_session(frame):
    days = panels.days(frame)
    macro = pl.DataFrame({"date": days, "DGS10": np.arange(len(days), dtype=float)})
    level = single(("macro:DGS10", "close"), lambda w: w.everywhere(w.now("macro:DGS10")))
    found = features_of(frame, feature_set=level, macro=macro)
    assert found.filter(date=days[30])["probe"].unique().to_list() == [30.0]
    assert features_of(frame, feature_set=level)["probe"].null_count() == found.height
    with pytest.raises(BadPanelError, match="known_macro"):
        features_of(frame, feature_set=level, macro=macro.with_columns(series_id=pl.lit("DGS10")))


def test_a_symbol_with_three_bars_has_returns_it_can_have_and_null_elsewhere():
    frame = panels.bars(8, 300)
    days = panels.days(frame)
    frame = frame.filter((pl.col("symbol") != "S03") | (pl.col("date") >= days[-3]))
    newest = features_of(frame, days[-1]).filter(symbol="S03")
    known = [name for name in newest.columns[2:] if newest[name][0] is not None]
    assert set(known) == {"market_return_21", "market_return_252", "market_volatility_21", "breadth_50"}


def test_zero_volume_is_no_surge_and_no_liquidity_but_prices_still_count():
    frame = panels.bars(8, 300).with_columns(pl.lit(0.0).alias(name) for name in ("volume", "adj_volume"))
    newest = features_of(frame, panels.days(frame)[-1])
    for name in ("volume_surge_5", "dollar_volume_surge_21", "amihud_21", "rank_amihud_21"):
        assert newest[name].null_count() == 8
    assert newest["momentum_12_1"].null_count() == 0


def test_constant_prices_have_returns_of_0_and_no_volatility():
    flat = panels.with_adjustment(
        panels.bars(8, 300).with_columns(pl.lit(20.0).alias(n) for n in ("open", "high", "low", "close"))
    )
    newest = features_of(flat, panels.days(flat)[-1])
    assert newest["return_21"].to_list() == [0.0] * 8
    for name in ("volatility_21", "scaled_momentum_63", "path_r2_63", "beta_252", "gap_1", "trend_slope_63"):
        assert newest[name].null_count() == 8, name


def test_a_split_does_not_show_in_features_of_adjusted_prices():
    frame = panels.bars(8, 300)
    days = panels.days(frame)
    after = (pl.col("symbol") == "S02") & (pl.col("date") >= days[250])
    split = frame.with_columns(
        *(pl.when(after).then(pl.col(n) / 100.0).otherwise(n).alias(n) for n in ("open", "high", "low", "close")),
        volume=pl.when(after).then(pl.col("volume") * 100.0).otherwise("volume"),
    )
    assert_frame_equal(features_of(split, days[-1]), features_of(frame, days[-1]), rel_tol=1e-5)


def test_nan_in_one_column_touches_only_what_reads_it():
    frame = panels.bars(8, 300)
    broken = frame.with_columns(adj_volume=pl.lit(float("nan")))
    days = panels.days(frame)
    found, intact = features_of(broken, days[-5]), features_of(frame, days[-5])
    assert found["volume_surge_5"].null_count() == found.height
    assert_frame_equal(found.drop("volume_surge_5"), intact.drop("volume_surge_5"), check_exact=True)


def test_duplicates_and_impossible_prices_are_named():
    frame = panels.bars(4, 60)
    with pytest.raises(BadPanelError, match="more than one row for S00 on 2019-01-02"):
        features_of(pl.concat([frame, frame[:1]]))
    with pytest.raises(BadPanelError, match="adj_close of S00 on 2019-01-02 is -50"):
        features_of(frame.with_columns(adj_close=pl.when(pl.int_range(pl.len()) == 0).then(-50.0).otherwise("adj_close")))
    with pytest.raises(BadPanelError, match="lack the column\\(s\\) adj_high"):
        features_of(frame.drop("adj_high"))
    with pytest.raises(BadPanelError, match="cast it to a date"):
        features_of(frame.with_columns(pl.col("date").cast(pl.Datetime)), universe=panels.universe(frame))
    with pytest.raises(BadPanelError, match="no session from 2030-01-01"):
        features_of(frame, date(2030, 1, 1), date(2030, 2, 1))
    with pytest.raises(BadPanelError, match="no members for the month\\(s\\) 2019-02-01"):
        features_of(frame, universe=panels.universe(frame).filter(pl.col("month") != date(2019, 2, 1)))
    members = panels.universe(frame)
    with pytest.raises(BadPanelError, match="S01 is twice in the month"):
        features_of(frame, universe=pl.concat([members, members.filter(symbol="S01")]))


def test_an_unknown_set_names_those_there_are():
    assert feature_sets() == [
        "momentum",
        "stock_selection",
        "technical",
        "alpha158",
        "alpha101",
        "cross_section",
        "macro",
        "default",
    ]
    with pytest.raises(UnknownFeatureSetError, match="'alpha'; the feature sets are momentum, stock_selection, technical"):
        get_feature_set("alpha")


def test_a_declaration_that_lies_is_refused():
    with pytest.raises(ValueError, match="probe reads later"):
        single(("later",), lambda w: w.feature("later"))
    with pytest.raises(ValueError, match="the name probe is taken"):
        FeatureSet("twice", single(("close",), lambda w: w.now("close")).features * 2)
    frame = panels.bars(6, 30)
    with pytest.raises(LookupError, match="'volume', which its feature does not declare"):
        features_of(frame, feature_set=single(("close",), lambda w: w.now("volume")))
    with pytest.raises(ValueError, match="not \\(sessions, members\\)"):
        features_of(frame, feature_set=single(("close",), lambda w: w.field("close")[:1]), first=date(2019, 1, 8))


def test_a_formula_sees_no_more_history_than_its_set_declares():
    frame = panels.bars(6, 120)
    greedy = features_of(frame, feature_set=single(("price",), lambda w: w.change(45), look_back=5))
    assert greedy["probe"].null_count() == greedy.height


@st.composite
def broken_panels(draw):
    """Panels with holes, a late listing, an early end, three bars, a split, no volume, a constant price, NaN; unsorted."""
    frame = panels.bars(7, 170, seed=draw(st.integers(0, 4)))
    days = panels.days(frame)
    frame = panels.punctured(frame, draw(st.sampled_from([0.0, 0.05, 0.4])), draw(st.integers(0, 99)))
    begin, end = draw(st.integers(0, 160)), draw(st.integers(0, 169))
    frame = frame.filter((pl.col("symbol") != "S01") | (pl.col("date") >= days[begin]))
    frame = frame.filter((pl.col("symbol") != "S02") | (pl.col("date") <= days[end]))
    flat, silent = pl.col("symbol") == "S03", pl.col("symbol") == "S04"
    if draw(st.booleans()):
        frame = frame.with_columns(pl.when(flat).then(5.0).otherwise(n).alias(n) for n in ("adj_high", "adj_low", "adj_close"))
    if draw(st.booleans()):
        frame = frame.with_columns(pl.when(silent).then(0.0).otherwise(n).alias(n) for n in ("volume", "adj_volume"))
    frame = frame.filter((pl.col("symbol") != "S05") | pl.col("date").is_between(days[begin], days[min(begin + 2, 169)]))
    split = (pl.col("symbol") == "S06") & (pl.col("date") >= days[end]) & draw(st.booleans())
    prices = ("adj_open", "adj_high", "adj_low", "adj_close")
    frame = frame.with_columns(pl.when(split).then(pl.col(name) / 100.0).otherwise(name).alias(name) for name in prices)
    column = draw(st.sampled_from(["adj_open", "adj_high", "adj_low", "adj_close", "adj_volume", "volume", "close"]))
    spoilt = pl.Series(np.random.default_rng(begin).random(frame.height) < draw(st.sampled_from([0.0, 0.2])))
    spoilt_frame = frame.with_columns(pl.when(spoilt).then(float("nan")).otherwise(column).alias(column))
    return spoilt_frame.sample(fraction=1.0, shuffle=True, seed=end)


def holds_on_any_panel(frame, cut, feature_set):
    """Values are finite or null, there is a row for each bar, and none changes when the data end at the cut."""
    regime = regime_scores(frame, None) if feature_set == "macro" else None
    whole = features_of(frame, feature_set=feature_set, regime=regime)
    values = whole.drop("date", "symbol")
    assert values.select((~pl.all().is_finite()).sum()).transpose().to_series().sum() == 0
    traded = frame.filter(pl.col("adj_close").is_not_nan()).select("date", "symbol").sort("date", "symbol")
    assert whole.columns[2:] == get_feature_set(feature_set).names
    assert whole.select("date", "symbol").equals(traded)
    end = panels.days(frame)[cut]
    before = frame.filter(pl.col("date") <= end)
    regime = regime_scores(before, None) if feature_set == "macro" else None
    found = features_of(before, last=end, universe=panels.universe(frame), feature_set=feature_set, regime=regime)
    assert_frame_equal(found, whole.filter(pl.col("date") <= end), check_exact=True)


@settings(max_examples=25, deadline=None)
@given(frame=broken_panels(), cut=st.integers(20, 168))
def test_any_panel_gives_defined_values_that_the_future_does_not_change(frame, cut):
    holds_on_any_panel(frame, cut, "momentum")


@settings(max_examples=12, deadline=None)
@given(frame=broken_panels(), cut=st.integers(20, 168), feature_set=st.sampled_from(["technical", "alpha158", "macro"]))
def test_any_panel_gives_defined_values_of_the_other_sets_too(frame, cut, feature_set):
    holds_on_any_panel(frame, cut, feature_set)


@settings(max_examples=3, deadline=None)
@given(frame=broken_panels(), cut=st.integers(20, 168))
def test_any_panel_gives_defined_ranks_and_scores(frame, cut):
    holds_on_any_panel(frame, cut, "cross_section")


def test_importing_the_stage_imports_no_heavy_library():
    code = (
        "import sys; import mltrainer_pipelines.features.engine, mltrainer_pipelines.features.sets.cross_section, "
        "mltrainer_pipelines.features.sets.macro, mltrainer_pipelines.features.files, "
        "mltrainer_pipelines.features.labels.fixed_barriers, mltrainer_pipelines.features.labels.labels, "
        "mltrainer_pipelines.features.regime.score, mltrainer_pipelines.features.causality; "
        "print({'numba', 'talib', 'torch', 'sklearn', 'scipy', 'lightgbm', 'mlflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
