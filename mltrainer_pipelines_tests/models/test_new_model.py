"""Adding a model touches one file: proven on a copy of the package."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAMILY = '''"""Neighbours that vote by their distance."""

from mltrainer_pipelines.models.spec import Range
from mltrainer_pipelines.models.table_model import Fitting, declare


def _radius(f: Fitting):
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(min(int(f["neighbours"]), f.rows // 4), weights="distance")


MODELS = (
    declare("distance_vote", _radius, "near rows count more than far ones", "Dudani (1976), The Distance-Weighted k-NN Rule",
            family="distances", space={"neighbours": Range(5, 200, default=50, integer=True)}),
)  # fmt: skip
'''


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The package and the tests of its models, with one file more."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "mltrainer_pipelines", root / "mltrainer_pipelines", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "docs/build", root / "docs/build", ignore=shutil.ignore_patterns("__pycache__"))
    tests = "mltrainer_pipelines_tests"
    shutil.copytree(ROOT / tests / "models", root / tests / "models", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / tests / "__init__.py", root / tests)
    shutil.copy(ROOT / "pyproject.toml", root)
    (root / "mltrainer_pipelines/models/distances.py").write_text(FAMILY)
    return root


def _python(root: Path, *arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=root, capture_output=True, text=True, env={"PYTHONPATH": str(root)})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_family_of_one_file_is_listed_last_and_documented_as_unmeasured(copy):
    program = "import json; from mltrainer_pipelines.models.registry import list_models\n"
    program += "print(json.dumps([(spec.id, spec.cost) for spec in list_models()]))"
    assert json.loads(_python(copy, "-c", program))[-1] == ["distance_vote", "slow"]
    page = _python(copy, "-c", "from docs.build.models import models_page; print(models_page())")
    assert "## distances" in page
    assert "| `distance_vote` | near rows count more than far ones | slow, unmeasured |" in page


def test_a_family_of_one_file_is_held_to_the_contract(copy):
    tests = [f"mltrainer_pipelines_tests/models/{name}.py" for name in ("test_contract", "test_registry")]
    said = _python(copy, "-m", "pytest", "-p", "no:cacheprovider", *tests, "-k", "distance_vote")
    assert "5 passed" in said
