"""One request, and trying again, against a server that answers what it is told to."""

import gzip
import subprocess
import sys
from typing import NoReturn

import pytest

from mltrainer_pipelines.http_client import LARGEST_ANSWER, NoAnswerError, retry, send
from mltrainer_pipelines_tests.servers.vendor import Reply, vendor


class OverloadError(Exception):
    pass


def give_up(attempts: int, fault: OverloadError) -> NoReturn:
    raise LookupError(f"{attempts} attempts: {fault}") from None


def test_any_status_is_an_answer_and_a_redirect_is_followed_only_where_asked():
    with (
        vendor([Reply(b"[1]")]) as target,
        vendor([Reply(b"no", status=302, headers={"Location": f"{target.url}/there"})]) as server,
    ):
        assert send(server.url, timeout_s=5).status == 302
        assert target.calls == []
        followed = send(server.url, params={"name": "a b"}, timeout_s=5, follow_redirects=True)
        assert (followed.status, followed.json()) == (200, [1])
        assert server.calls[-1].query == {"name": "a b"}
    with vendor([Reply(b"busy", status=503)]) as server:
        assert send(server.url, timeout_s=5).body == b"busy"


@pytest.mark.parametrize(
    ("reply", "begun", "reason"),
    [
        (Reply(b"", reset=True), False, "reset"),
        (Reply(b"late", stall_s=60), False, "timed out after 2 s"),
        (Reply(b"slow" * 20, drip_s=0.1), False, "not complete after 0.5 s"),
        (Reply(b"late", drip_head_s=0.02), False, "not complete after 0.5 s"),
        (Reply(gzip.compress(b"half of it" * 900)[:40], headers={"Content-Encoding": "gzip"}), True, "was cut off"),
        (Reply(b"?", headers={"Content-Encoding": "zstd"}), False, "encoded as 'zstd', which was not asked for"),
        (Reply(b"cut off here", cut_to=4), True, "without sending complete message body"),
    ],
)
def test_no_whole_answer_is_an_error_that_says_why_and_not_where(reply, begun, reason):
    with vendor([reply]) as server, pytest.raises(NoAnswerError, match=reason) as failed:
        send(f"{server.url}/?api_key=secret", timeout_s=2, total_s=0.5 if reply.drip_s or reply.drip_head_s else 60)
    assert failed.value.begun == begun
    assert "secret" not in str(failed.value)
    assert failed.value.__context__ is None or failed.value.__suppress_context__


def test_what_was_packed_is_unpacked_and_a_bomb_is_put_out():
    packed = {"Content-Encoding": "gzip"}
    with vendor([Reply(gzip.compress(b"[1]"), headers=packed)]) as server:
        assert send(server.url, timeout_s=20).json() == [1]
    zeros = gzip.compress(bytes(LARGEST_ANSWER + 1), 1)
    with vendor([Reply(zeros, headers=packed)]) as server, pytest.raises(NoAnswerError, match="larger than 64 MB"):
        send(server.url, timeout_s=20)


def test_a_proxy_of_the_environment_is_not_asked_for_an_address_of_this_machine(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with vendor([Reply(b"{}")]) as server:
        assert send(server.url, timeout_s=5).json() == {}


def test_faults_are_tried_again_until_the_last_attempt_or_a_wait_that_is_too_long():
    calls: list[int] = []

    def failing() -> int:
        calls.append(1)
        if len(calls) < 3:
            raise OverloadError(f"attempt {len(calls)}")
        return 7

    assert retry(failing, OverloadError, attempts=3, wait_s=lambda *_: 0.0, longest_s=1, give_up=give_up) == 7
    calls.clear()
    with pytest.raises(LookupError, match="2 attempts: attempt 2"):
        retry(failing, OverloadError, attempts=2, wait_s=lambda *_: 0.0, longest_s=1, give_up=give_up)
    calls.clear()
    with pytest.raises(LookupError, match="1 attempts: attempt 1"):
        retry(failing, OverloadError, attempts=3, wait_s=lambda *_: 2.0, longest_s=1, give_up=give_up)
    with pytest.raises(ZeroDivisionError):
        retry(lambda: 1 // 0, OverloadError, attempts=3, wait_s=lambda *_: 0.0, longest_s=1, give_up=give_up)


def test_nothing_is_imported_before_the_first_request():
    program = "import sys, mltrainer_pipelines.http_client; sys.exit(bool({'httpx', 'tenacity'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
