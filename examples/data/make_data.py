"""Writes breast_cancer.csv, digits.csv and diabetes.csv, from scikit-learn's data, into a folder.

Usage: make_data.py [FOLDER]   (./data by default)
"""

import csv
import sys
from pathlib import Path

from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits


def short(value):
    """The shortest text that reads back as the same number."""
    value = float(value)
    return str(int(value)) if value.is_integer() else repr(value)


def write(path, names, rows, target, labels):
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*names, target])
        for row, label in zip(rows, labels, strict=True):
            writer.writerow([*map(short, row), label])


folder = Path(sys.argv[1] if len(sys.argv) > 1 else "data")
folder.mkdir(parents=True, exist_ok=True)

cancer = load_breast_cancer()
write(
    folder / "breast_cancer.csv",
    [name.replace(" ", "_") for name in cancer.feature_names],
    cancer.data,
    "diagnosis",
    [cancer.target_names[index] for index in cancer.target],
)

digits = load_digits()
names = [f"pixel_{index}" for index in range(64)]
write(folder / "digits.csv", names, digits.data, "digit", digits.target)

diabetes = load_diabetes(scaled=False)
write(
    folder / "diabetes.csv",
    diabetes.feature_names,
    diabetes.data,
    "progression",
    map(short, diabetes.target),
)
