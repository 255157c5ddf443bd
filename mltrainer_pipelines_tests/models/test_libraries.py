"""Libraries that are imported at their first use."""

import subprocess
import sys


def test_a_library_is_imported_when_something_of_it_is_asked_for_and_not_before():
    program = """
import sys
from mltrainer_pipelines.models.libraries import scipy, sklearn
assert not {"scipy", "sklearn"} & set(sys.modules)
assert not hasattr(sklearn, "__wrapped__")
assert not {"scipy", "sklearn"} & set(sys.modules)
assert sklearn.naive_bayes.GaussianNB().var_smoothing == 1e-9
assert scipy.special.expit(0.0) == 0.5
"""
    subprocess.run([sys.executable, "-c", program], check=True)
