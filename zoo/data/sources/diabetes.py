"""442 patients with diabetes: ten measurements, and the progression of the disease after a year (a regression).

B. Efron, T. Hastie, I. Johnstone and R. Tibshirani, "Least angle regression", Annals of Statistics 32, 2004. The table
ships with scikit-learn, so nothing is downloaded. Its columns are age, sex, bmi, bp and s1 to s6; sex is 1 or 2.
"""

from collections.abc import Mapping
from typing import Any

from zoo.data.sources.table import from_table
from zoo.data.splits import Splits
from zoo.data.tables.table_file import Table

TARGET = "progression"


def load(
    *,
    test: float = 0.2,
    validation: float = 0.1,
    fold: int | None = None,
    folds: int | None = None,
    columns: Mapping[str, Any] | None = None,
) -> Splits:
    """Ten features in their original units, and one target value, standardized. Arguments as for `table.load`."""
    from sklearn.datasets import load_diabetes

    bunch = load_diabetes(scaled=False)
    columns_of = {name: [repr(float(v)) for v in bunch.data[:, k]] for k, name in enumerate(bunch.feature_names)}
    columns_of[TARGET] = [repr(float(value)) for value in bunch.target]
    table = Table("dataset diabetes", columns_of)
    return from_table(
        table,
        target=TARGET,
        target_type="values",
        test=test,
        validation=validation,
        fold=fold,
        folds=folds,
        columns=columns,
    )
