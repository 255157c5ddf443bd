"""What `ProcessGroup` stands on in honcho. A failure's message says what an upgrade changed."""

import inspect
import io
import sys
import threading

import honcho.manager

from mltrainer_pipelines.ops.process_group import ProcessGroup


def test_honcho_still_reads_its_time_to_stop_and_says_that_it_stops_where_we_look():
    loop = inspect.getsource(honcho.manager.Manager.loop)
    assert "seconds=KILL_WAIT" in loop, "honcho no longer reads KILL_WAIT: services are killed after its own 5 seconds"
    assert "self._terminating = True" in inspect.getsource(honcho.manager.Manager.terminate), "`stopping` is never true"
    assert "stopped (rc=%s)" in loop, "honcho words the end of a process differently: the first to end is not recognized"


def test_the_first_process_to_end_stops_the_others_and_its_last_line_is_kept():
    group = ProcessGroup(io.StringIO(), stop_seconds=20)
    group.add("patient", [sys.executable, "-c", "import time; time.sleep(600)"], {})
    group.add("hasty", [sys.executable, "-c", "print('Error: no such table'); raise SystemExit(3)"], {})
    assert threading.current_thread() is threading.main_thread()
    group.loop()
    assert group.stopping
    assert group.returncode == 3
    assert group.first_end == "hasty ended while starting: no such table"
