"""A real Ray cluster of several nodes on this machine, on loopback alone, that asks for a token."""

import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

_RAY = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # or Ray puts the address of a network card in the place of 127.0.0.1
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_enable_metrics_collection": "0",  # no processor time for figures and processes that no test asks for
    "RAY_enable_worker_prestart": "0",
    "RAY_health_check_period_ms": "1000",  # a dead node is noticed after five of these, and not after five of 3 s
    "RAY_worker_niceness": "0",  # or what else runs on this machine comes before the steps
}


class RayCluster:
    """A head without processors, as KubeRay recommends, and nodes that come and go.

    Parameters
    ----------
    folder : Path
        Short, for Unix sockets lie in it.
    """

    def __init__(self, folder: Path):
        from ray.cluster_utils import Cluster

        self._folder, self._cluster = str(folder / "ray"), Cluster()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._head = self._add(num_cpus=0, include_dashboard=True, dashboard_host="127.0.0.1", dashboard_port=port)
        self.job_server = f"http://{self._head.webui_url}"
        self.address = self._cluster.address

    def add_node(self, cpus: int) -> Any:
        return self._add(num_cpus=cpus)

    def kill_node(self, node: Any) -> None:
        """A machine is gone: every process of the node, and what they started, at once."""
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        for process in [*raylet.children(recursive=True), raylet]:
            process.kill()
        self._cluster.remove_node(node, allow_graceful=False)

    def stop(self) -> None:
        self._cluster.shutdown()

    def _add(self, **options: Any) -> Any:
        return self._cluster.add_node(
            node_ip_address="127.0.0.1", temp_dir=self._folder, include_log_monitor=False, ray_client_server_port=None, **options
        )


@contextmanager
def ray_cluster(environment: Mapping[str, str]) -> Iterator[tuple[RayCluster, dict[str, str]]]:
    """A head alone, whose nodes will have `environment`; gives what a client of it needs in its environment too.

    The environment of this process is the cluster's for as long as the context lasts, for its nodes inherit it.
    """
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="mlt", ignore_cleanup_errors=True) as folder:
        client = {**_RAY, "RAY_AUTH_TOKEN": uuid4().hex * 2, "RAY_TMPDIR": folder}
        (Path(folder) / "ray").mkdir()
        os.environ.clear()
        os.environ.update({**environment, **client})
        try:
            cluster = RayCluster(Path(folder))
            try:
                yield cluster, client
            finally:
                cluster.stop()
        finally:
            os.environ.clear()
            os.environ.update(before)
