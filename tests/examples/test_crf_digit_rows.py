"""The example of rows of digits runs as a user runs it, and shows what it claims."""

import re

import pytest

from tests.examples.script import printed, require_pictures, table_rows


@pytest.mark.slow
def test_a_chain_reads_more_rows_than_digits_alone(tmp_path):
    pytest.importorskip("rich")
    output = printed("crf_digit_rows.py", tmp_path, "--quick", timeout=600)
    require_pictures(tmp_path, ["crf_digit_rows.png"], output)
    table = {
        name: [float(cell.rstrip("%")) for cell in rows[0]]
        for name, rows in table_rows(output).items()
        if name in ("digits alone", "with the grammar", "CRF")
    }
    assert len(table) == 3
    digits, rows, best, grammatical, unsure, sure = range(6)
    for name in ("with the grammar", "CRF"):
        assert table[name][digits] > table["digits alone"][digits] + 5
        assert table[name][rows] > 2 * table["digits alone"][rows]
        assert table[name][unsure] > table[name][sure] + 15
    assert table["with the grammar"][grammatical] == 100
    for cells in table.values():
        assert cells[best] > cells[rows]
    mass = float(re.search(r"within the grammar: ([\d.]+)%", output).group(1))
    assert mass > 60, "three of ten digits hold 30 % before training"
