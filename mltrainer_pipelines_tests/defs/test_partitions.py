"""Partitions: sessions without holidays, months with a universe, whole quarters."""

import json
import os
import subprocess
import sys

PROGRAM = """
import json
from mltrainer_pipelines.defs import partitions as p
from mltrainer_pipelines.ops.run_launcher import quarters_of
from mltrainer_pipelines.settings import get_settings
keys = {name: getattr(p, name).get_partition_keys() for name in ("sessions", "months", "quarters")}
assert keys["quarters"] == [str(day) for day in quarters_of(get_settings())]
print(json.dumps(keys))
"""


def keys(start: str, as_of: str) -> dict[str, list[str]]:
    environment = {**os.environ, "MLTRAINER_HISTORY_START": start, "MLTRAINER_AS_OF": as_of}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_pinned_clock_ends_the_partitions_with_its_own_day_month_and_last_whole_quarter() -> None:
    found = keys("2010-01-04", "2015-10-30T18:00:00-04:00")
    assert (len(found["sessions"]), found["sessions"][0], found["sessions"][-1]) == (1468, "2010-01-04", "2015-10-30")
    assert (found["months"][0], found["months"][-1]) == ("2010-03-01", "2015-10-01")
    assert (found["quarters"][0], found["quarters"][-1]) == ("2011-10-01", "2015-07-01")


def test_holidays_weekends_and_the_storm_of_2012_are_no_sessions() -> None:
    found = set(keys("2012-01-03", "2013-01-31T18:00:00-05:00")["sessions"])
    assert not found & {"2012-01-16", "2012-10-29", "2012-10-30", "2012-11-22", "2012-12-25", "2012-12-29"}
    assert {"2012-10-26", "2012-10-31", "2012-12-24"} <= found


def test_a_quarter_becomes_a_partition_when_it_is_over() -> None:
    assert keys("2010-01-04", "2015-09-30T18:00:00-04:00")["quarters"][-1] == "2015-07-01"
    assert keys("2010-01-04", "2015-09-29T18:00:00-04:00")["quarters"][-1] == "2015-04-01"
