"""Layouts that a caller may have, as views of a matrix of an even number of columns."""

import pytest

VIEWS = {
    "step": lambda x: x[:, ::3],
    "transposed": lambda x: x.T,
    "offset": lambda x: x[3:, 5:],
    "one row": lambda x: x[:1].expand(4, -1),
    "one column": lambda x: x[:, :1].expand(-1, 6),
    "3d": lambda x: x.reshape(4, -1, x.shape[1] // 2).transpose(0, 1),
    "4d": lambda x: x.reshape(2, 2, -1, x.shape[1] // 2).permute(3, 1, 0, 2),
    "shifted": lambda x: x.reshape(4, -1, x.shape[1])[:, :-1],
    "overlapping": lambda x: x.unfold(1, 6, 3),
}

any_view = pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
