import io
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from mltrainer_pipelines.store.lake import DamagedPartitionError, Lake, MissingPartitionError, OtherMarketError
from mltrainer_pipelines_tests.servers.s3 import new_bucket, s3_server

FRAME = pl.DataFrame({"symbol": ["A", "B"], "close": [1.5, None], "volume": [10, 20]})


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    with s3_server() as environment:
        yield environment


@pytest.fixture(params=["folder", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """The same lake twice: in a folder, and on an object store."""
    if request.param == "folder":
        return Lake(str(tmp_path / "lake"))
    for name, value in request.getfixturevalue("s3").items():
        monkeypatch.setenv(name, value)
    return Lake(new_bucket(os.environ["AWS_ENDPOINT_URL"]))


@pytest.fixture
def folder_lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def content(lake: Lake, asset: str, partition: str = "all") -> bytes:
    files, _ = lake._files
    with files.open_input_file(lake._key(asset, partition)) as source:
        return source.read()


def test_what_is_written_is_read_back(lake: Lake) -> None:
    path = lake.write("daily_bars", FRAME, "2015-10-30")
    assert path == lake.path("daily_bars", "2015-10-30")
    assert lake.row_count("daily_bars", "2015-10-30") == FRAME.height
    assert_frame_equal(lake.read("daily_bars", "2015-10-30"), FRAME)
    assert lake.exists("daily_bars", "2015-10-30")
    assert not lake.exists("daily_bars", "2015-10-29")


def test_the_same_frame_gives_the_same_bytes(lake: Lake) -> None:
    lake.write("a", FRAME)
    first = content(lake, "a")
    lake.write("a", FRAME.clone())
    assert content(lake, "a") == first


def test_a_lake_belongs_to_the_market_that_used_it_first(lake: Lake) -> None:
    lake.assert_owner("simulated-7-abc")
    lake.write("daily_bars", FRAME, "2015-10-30")
    Lake(lake.url).assert_owner("simulated-7-abc")
    with pytest.raises(OtherMarketError, match=r"holds the market simulated-7-abc.* the market replay-x-1.*MLTRAINER_LAKE_URL"):
        Lake(lake.url).assert_owner("replay-x-1")
    assert lake.partitions("daily_bars") == ["2015-10-30"]


def test_a_missing_partition_is_named_with_the_remedy(lake: Lake) -> None:
    with pytest.raises(MissingPartitionError, match=r"no daily_bars for 2015-10-30; materialize daily_bars"):
        lake.read("daily_bars", "2015-10-30")
    with pytest.raises(MissingPartitionError, match=r"no daily_bars for 2015-10-30"):
        lake.row_count("daily_bars", "2015-10-30")
    with pytest.raises(MissingPartitionError, match="any partition"):
        lake.scan("daily_bars")
    lake.write("daily_bars", FRAME, "2015-10-29")
    with pytest.raises(MissingPartitionError, match="2015-10-30"):
        lake.scan("daily_bars", ["2015-10-29", "2015-10-30"])


def test_partitions_are_listed_in_order_and_scanned_together(lake: Lake) -> None:
    assert lake.partitions("labels") == []
    for month in ("2015-03-01", "2015-01-01", "2015-02-01"):
        lake.write("labels", FRAME.with_columns(month=pl.lit(month)), month)
    assert lake.partitions("labels") == ["2015-01-01", "2015-02-01", "2015-03-01"]
    assert lake.scan("labels").collect()["month"].unique(maintain_order=True).to_list() == lake.partitions("labels")
    assert lake.scan("labels", ["2015-02-01"]).collect().height == FRAME.height


def test_nested_partitions_belong_to_their_asset(lake: Lake) -> None:
    lake.write("trial_predictions", FRAME, "lightgbm-short-3f9a1c2b/2015-01-01")
    lake.write("trial_predictions", FRAME, "lightgbm-short-3f9a1c2b/2015-04-01")
    assert lake.partitions("trial_predictions") == [
        "lightgbm-short-3f9a1c2b/2015-01-01",
        "lightgbm-short-3f9a1c2b/2015-04-01",
    ]


def test_a_deleted_partition_is_gone_and_deleting_it_again_is_nothing(lake: Lake) -> None:
    lake.write("a", FRAME, "x")
    lake.delete("a", "x")
    lake.delete("a", "x")
    assert not lake.exists("a", "x")


def test_many_partitions_are_scanned_as_few_are(lake: Lake) -> None:
    days = [f"2015-{month:02}-{day:02}" for month in (1, 2, 3) for day in range(1, 28)]
    for day in days:
        lake.write("daily_bars", FRAME.with_columns(day=pl.lit(day)), day)
    for chosen in (days, days[3:10], days[::-1][:70]):
        assert lake.scan("daily_bars", chosen).collect()["day"].unique(maintain_order=True).to_list() == chosen
    with pytest.raises(MissingPartitionError, match="2016-01-01"):
        lake.scan("daily_bars", [*days, "2016-01-01"])


def test_what_a_killed_writer_left_behind_is_written_over(folder_lake: Lake) -> None:
    lake = folder_lake
    path = Path(lake.write("a", FRAME, "x"))
    path.with_name(".x.parquet.part").write_bytes(b"half of a file that is longer than the whole one" * 100)
    assert lake.partitions("a") == ["x"]
    lake.write("a", FRAME.head(1), "x")
    assert_frame_equal(lake.read("a", "x"), FRAME.head(1))
    assert [child.name for child in path.parent.iterdir()] == ["x.parquet"]


def test_writers_of_one_partition_wait_for_each_other(folder_lake: Lake) -> None:
    lake = folder_lake
    frames = [pl.DataFrame({"writer": [number] * 3_000}) for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        for _ in range(5):
            list(pool.map(lambda frame: lake.write("a", frame), frames))
            assert lake.read("a")["writer"].n_unique() == 1
    assert [child.name for child in Path(lake.path("a")).parent.iterdir()] == ["all.parquet"]


def test_a_write_that_fails_leaves_the_old_partition_and_no_draft(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = folder_lake
    path = Path(lake.write("a", FRAME, "x"))

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        lake.write("a", FRAME.head(1), "x")
    assert_frame_equal(lake.read("a", "x"), FRAME)
    assert [child.name for child in path.parent.iterdir()] == ["x.parquet"]
    assert lake.partitions("a") == ["x"]


def test_a_reader_beside_a_writer_sees_whole_partitions_only(lake: Lake) -> None:
    versions = [pl.DataFrame({"version": [n] * 5_000}) for n in (1, 2)]
    lake.write("a", versions[0])
    stop = threading.Event()

    def keep_writing() -> None:
        while not stop.is_set():
            for frame in versions:
                lake.write("a", frame)

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        for _ in range(30):
            seen = lake.read("a")
            assert seen.height == 5_000
            assert seen["version"].n_unique() == 1
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize("name", ["../secrets", "/etc/passwd", "a//b", "", ".hidden", "a/../../b", "a b", "x\n"])
def test_a_name_that_could_leave_the_lake_is_refused(lake: Lake, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a file of the lake"):
        lake.write("asset", FRAME, name)
    with pytest.raises(ValueError, match="cannot name a file of the lake"):
        lake.read(name)


def test_a_url_of_another_kind_is_refused_by_its_variable() -> None:
    with pytest.raises(ValueError, match="MLTRAINER_LAKE_URL=gs://bucket"):
        Lake("gs://bucket").exists("a")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(allow_nan=False), st.none() | st.text(max_size=5), st.dates()), max_size=20))
def test_every_frame_survives_the_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple]) -> None:
    frame = pl.DataFrame(rows, schema={"x": pl.Float64, "name": pl.String, "day": pl.Date}, orient="row")
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    lake.write("a", frame)
    assert_frame_equal(lake.read("a"), frame)
    buffer = io.BytesIO(Path(lake.path("a")).read_bytes())
    assert_frame_equal(pl.read_parquet(buffer), frame)


def test_notes_of_a_partition_come_back_and_leave_its_rows_alone(lake):
    lake.write("features", FRAME, "2024-01-01", {"feature_set_version": "7"})
    lake.write("features", FRAME, "2024-02-01")
    assert [notes.get("feature_set_version") for notes in lake.notes("features", ["2024-01-01", "2024-02-01"])] == ["7", None]
    assert_frame_equal(lake.read("features", "2024-01-01"), FRAME)
    with pytest.raises(MissingPartitionError, match="no features for 2024-03-01"):
        lake.notes("features", ["2024-03-01"])


def test_every_bit_that_is_flipped_is_noticed_and_the_file_counts_as_missing(folder_lake: Lake, tmp_path: Path) -> None:
    folder_lake.write("daily_bars", FRAME, "2015-10-30", {"asked": "today"})
    place = Path(folder_lake.path("daily_bars", "2015-10-30"))
    whole, random = place.read_bytes(), Random(19)
    bits = {8 * at + random.randrange(8) for at in range(0, len(whole), max(1, len(whole) // 400))}
    bits |= set(range(8 * (len(whole) - 8), 8 * len(whole)))  # the footer's length, and Parquet's mark
    for bit in bits:
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        place.write_bytes(flipped)
        with pytest.raises(DamagedPartitionError, match=r"daily_bars for 2015-10-30 is damaged .* materialize daily_bars for"):
            folder_lake.read("daily_bars", "2015-10-30")
        assert not folder_lake.exists("daily_bars", "2015-10-30")
        assert folder_lake.partitions("daily_bars") == []
    for read in (
        folder_lake.row_count,
        lambda *name: folder_lake.scan(name[0], [name[1]]),
        lambda *n: folder_lake.notes(n[0], [n[1]]),
    ):
        place.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
        with pytest.raises(DamagedPartitionError):
            read("daily_bars", "2015-10-30")
    place.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedPartitionError):
        folder_lake.read("daily_bars", "2015-10-30")
    place.write_bytes(whole)
    assert_frame_equal(folder_lake.read("daily_bars", "2015-10-30"), FRAME)
    assert folder_lake.notes("daily_bars", ["2015-10-30"]) == [{"asked": "today"}]


def test_a_file_of_an_earlier_version_has_no_checksum_and_is_read(folder_lake: Lake) -> None:
    place = Path(folder_lake.path("daily_bars", "2015-10-30"))
    place.parent.mkdir(parents=True)
    FRAME.write_parquet(place, compression="zstd")
    assert_frame_equal(folder_lake.read("daily_bars", "2015-10-30"), FRAME)
    assert folder_lake.damaged_files() == ([], 1, 1)


def test_the_whole_lake_is_looked_at_and_nothing_is_changed(folder_lake: Lake) -> None:
    for day in ("2015-10-29", "2015-10-30"):
        folder_lake.write("daily_bars", FRAME, day)
    folder_lake.write("features", FRAME, "default/2015-10")
    place = Path(folder_lake.path("features", "default/2015-10"))
    place.write_bytes(place.read_bytes()[:-20] + b"x" + place.read_bytes()[-19:])
    assert folder_lake.damaged_files() == ([("features", "default/2015-10")], 3, 0)
    assert folder_lake.exists("features", "default/2015-10")
