"""The example of data larger than the memory runs as a user runs it, and shows what it claims."""

import re

import pytest

from tests.examples.script import printed


@pytest.mark.slow
def test_a_file_is_fitted_in_pieces():
    pytest.importorskip("orbax.checkpoint")
    output = printed("out_of_core_em.py", "--quick", timeout=300)
    assert "all components found: True" in output
    assert "the same to the last bit: True" in output
    error = float(re.search(r"largest error of a mean (\S+)", output).group(1))
    # Five standard errors of the widest component: 1.75 / sqrt(250000).
    assert error < 5 * 1.75 / 500
