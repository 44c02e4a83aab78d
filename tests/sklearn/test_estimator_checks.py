"""scikit-learn's own checks of estimators."""

import os
import subprocess
import sys

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator

from zoo.sklearn import Classifier, Encoder

# Runs every check and prints the name of each one that does not pass, with the reason.
EVERY_CHECK = """
import sys, warnings
from sklearn.exceptions import SkipTestWarning
from sklearn.utils.estimator_checks import check_estimator
from zoo.sklearn import Classifier, Encoder

warnings.simplefilter("error")
warnings.simplefilter("ignore", SkipTestWarning)
results = check_estimator(eval(sys.argv[1]), on_fail=None, on_skip=None)
for result in results:
    if result["status"] != "passed":
        print(result["status"], result["check_name"], result["exception"])
print(len(results), "checks")
"""

# The checks that train no net.
QUICK = (
    "check_estimator_cloneable",
    "check_valid_tag_types",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_estimators_unfitted",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_mixin_order",
    "check_complex_data",
    "check_estimators_empty_data_messages",
    "check_estimator_sparse_array",
    "check_classifiers_one_label",
    "check_classifiers_regression_target",
    "check_supervised_y_no_nan",
    "check_transformers_unfitted",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
    "check_fit1d",
    "check_requires_y_none",
)


def quick_checks():
    for estimator in (Classifier(), Encoder()):
        for instance, check in estimator_checks_generator(estimator):
            name = (check.func if hasattr(check, "func") else check).__name__
            if name in QUICK:
                yield pytest.param(instance, check, id=f"{type(estimator).__name__}-{name}")


@pytest.mark.parametrize(("estimator", "check"), list(quick_checks()))
def test_a_check_that_trains_no_net(estimator, check):
    check(estimator)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["Classifier()", "Encoder()", "Encoder('dbn', hidden=[20, 10])"])
def test_every_check_passes_and_none_is_skipped(estimator):
    """In a process of its own: SciPy reads SCIPY_ARRAY_API, without which a check is skipped, when it is imported."""
    command = [sys.executable, "-c", EVERY_CHECK, estimator]
    environment = os.environ | {"SCIPY_ARRAY_API": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    (last,) = done.stdout.splitlines()
    assert int(last.removesuffix(" checks")) >= 45
