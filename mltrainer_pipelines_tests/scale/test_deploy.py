"""The Kubernetes example, against the schemas that Dagster, dagster-k8s, dagster-ray and Kubernetes' client carry.

No Kubernetes is asked: that the operator and the scheduler accept it is not shown here.
"""

import importlib.metadata
from typing import Any

import kubernetes.client as k8s
import pytest
import yaml
from dagster._config import process_config
from dagster._core.instance.config import dagster_instance_config_schema
from dagster_k8s import K8sRunLauncher
from dagster_k8s.models import k8s_model_from_dict, k8s_snake_case_dict
from dagster_ray.kuberay.configs import DEFAULT_WORKER_GROUP_SPECS, RayClusterSpec

from mltrainer_pipelines.definitions import defs
from mltrainer_pipelines.settings import PROJECT_ROOT, Settings

FOLDER = PROJECT_ROOT / "deploy" / "kubernetes"
DOCUMENTS: list[dict[str, Any]] = [
    document for path in sorted(FOLDER.glob("*.yaml")) for document in yaml.safe_load_all(path.read_text())
]
OF_KUBERNETES = [document for document in DOCUMENTS if document["kind"] != "RayCluster"]


def document(kind: str, name: str) -> dict[str, Any]:
    return next(found for found in DOCUMENTS if (found["kind"], found["metadata"]["name"]) == (kind, name))


def instance() -> dict[str, Any]:
    return yaml.safe_load(document("ConfigMap", "mltrainer-dagster")["data"]["dagster.yaml"])


def camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)


@pytest.mark.parametrize("found", OF_KUBERNETES, ids=lambda found: f"{found['kind']} {found['metadata']['name']}")
def test_every_object_has_the_fields_of_its_kind_and_no_others(found: dict[str, Any]) -> None:
    model = getattr(k8s, f"V1{found['kind']}")
    if found["kind"] == "RoleBinding":
        found = found | {"subjects": [dict(subject) for subject in found["subjects"]]}
        for subject in found.pop("subjects"):
            k8s_model_from_dict(k8s.RbacV1Subject, k8s_snake_case_dict(k8s.RbacV1Subject, subject))
    k8s_model_from_dict(model, k8s_snake_case_dict(model, found))


def test_the_ray_cluster_has_the_fields_that_kuberay_knows_and_pods_that_kubernetes_knows() -> None:
    spec = document("RayCluster", "mltrainer")["spec"]
    assert set(spec) <= {camel(name) for name in RayClusterSpec.model_fields}
    assert spec["rayVersion"] == importlib.metadata.version("ray")
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert set(group) <= set(DEFAULT_WORKER_GROUP_SPECS[0])
        k8s_model_from_dict(k8s.V1PodTemplateSpec, k8s_snake_case_dict(k8s.V1PodTemplateSpec, group["template"]))


def test_dagster_reads_its_instance_and_the_launcher_its_configuration() -> None:
    config = instance()
    read = process_config(dagster_instance_config_schema(), config)
    assert read.success, read.errors
    launcher = process_config(K8sRunLauncher.config_type(), config["run_launcher"]["config"])
    assert launcher.success, launcher.errors


def test_the_instance_is_that_of_the_project_but_for_the_launcher_and_how_much_runs_at_once() -> None:
    ours, theirs = yaml.safe_load((PROJECT_ROOT / "dagster.yaml").read_text()), instance()
    del theirs["run_launcher"], theirs["concurrency"]["runs"], ours["concurrency"]["runs"]
    assert theirs == ours


def test_the_settings_of_the_pods_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in document("ConfigMap", "mltrainer-settings")["data"].items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="MLTRAINER_DATABASE_URL"):
        Settings()  # the address with the password is in the secrets
    monkeypatch.setenv("MLTRAINER_DATABASE_URL", "postgresql://mltrainer@postgres.example:5432/mltrainer")
    assert Settings().mltrainer_executor == "ray"


def test_no_more_trials_run_at_once_than_the_cluster_can_grow_to() -> None:
    (workers,) = document("RayCluster", "mltrainer")["spec"]["workerGroupSpecs"]
    cpus = int(workers["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"])
    heavy, coordinating = instance()["concurrency"]["runs"]["tag_concurrency_limits"]
    assert heavy == {"key": "mltrainer/heavy", "limit": workers["maxReplicas"] * cpus}
    assert coordinating["key"] == "mltrainer/coordinating"


@pytest.mark.parametrize("place", ["project", "kubernetes"])
def test_runs_that_wait_for_others_leave_them_room(place: str) -> None:
    config = instance() if place == "kubernetes" else yaml.safe_load((PROJECT_ROOT / "dagster.yaml").read_text())
    runs = config["concurrency"]["runs"]
    limits = {limit["key"]: limit["limit"] for limit in runs["tag_concurrency_limits"]}
    # whatever is waited for: trials, which are heavy, and a scorecard or a refresh beside them
    assert limits["mltrainer/coordinating"] + limits["mltrainer/heavy"] < runs["max_concurrent_runs"]
    for job in ("momentum_screening", "ensemble"):
        assert "mltrainer/coordinating" in defs.resolve_job_def(job).tags
