"""The rule of comparison itself."""

import math

import numpy as np
import pytest

from tests.reference.compare import Case, load, pad, relative_error


def case(value, **inputs) -> Case:
    return Case("kl", inputs, None, np.asarray(value, dtype=float), True, None)


@pytest.mark.parametrize(
    ("true", "got", "dtype", "error"),
    [
        (2.0, 2.5, "float64", 0.25),
        ([2.0, 1.0], [2.0, 1.5], "float64", 0.25),
        (0.0, 1e-16, "float64", 0.0),
        (0.0, 1e-3, "float64", 1e-3),
        (1e300, np.inf, "float32", 0.0),
        (1e300, np.inf, "float64", math.inf),
        (np.inf, 1e300, "float64", math.inf),
        (1e-300, 0.0, "float32", 0.0),
        (1e-300, 0.0, "float64", 1.0),
        (2.0, np.nan, "float64", math.inf),
        (1e-9, -1e-9, "float64", math.inf),
        ([1.0], 1.0, "float64", math.inf),
    ],
)
def test_relative_error(true, got, dtype, error):
    found = relative_error(case(true), np.asarray(got), dtype, non_negative=True)
    assert found == pytest.approx(error, abs=0)


def test_padding_keeps_the_law():
    padded = pad(case(0.0, logits_p=np.zeros(2), probs=np.full(2, 0.5), cov_p=np.eye(2)), 3)
    assert padded.inputs["logits_p"].tolist() == [-np.inf, 0, 0]
    assert padded.inputs["probs"].tolist() == [0, 0.5, 0.5]
    entropy = 0.5 * np.log(2 * np.pi * np.e * padded.inputs["cov_p"][0, 0])
    assert abs(entropy) < 1e-15
    assert (padded.inputs["cov_p"][1:, 1:] == np.eye(2)).all()


def test_float32_cases_are_exact_there():
    for one in load("scalar_families", "normal_kl", "float32"):
        for value in one.inputs.values():
            assert (value.astype(np.float32) == value).all()
