"""Constraints of tag schemes against regular expressions over all sequences."""

import itertools
import re

import numpy as np
import pytest

from igeojax.chains import crf

SCHEMES = {
    "BIO": (["O", "B-x", "I-x", "B-y", "I-y"], r"(O|BI*|bi*)*"),
    "BIOES": (["O", "B-x", "I-x", "E-x", "S-x", "B-y", "E-y", "I-y", "S-y"], r"(O|BI*E|S|bi*e|s)*"),
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_sequences_of_a_scheme_are_those_of_its_expression(scheme):
    tags, pattern = SCHEMES[scheme]
    letters = [tag[0].lower() if tag.endswith("y") else tag[0] for tag in tags]
    constraints = crf.tag_constraints(tags, scheme=scheme)
    transition, start, end = (np.asarray(part) for part in constraints)
    assert {*transition.ravel(), *start, *end} <= {0.0, -np.inf}
    for path in itertools.product(range(len(tags)), repeat=3):
        score = start[path[0]] + transition[path[0], path[1]] + transition[path[1], path[2]]
        allowed = re.fullmatch(pattern, "".join(letters[tag] for tag in path)) is not None
        assert (score + end[path[2]] == 0) == allowed, [tags[tag] for tag in path]


def test_decoding_under_constraints_obeys_them():
    tags = SCHEMES["BIO"][0]
    constraints = crf.tag_constraints(tags)
    unary = np.random.default_rng(0).normal(size=(50, 6, len(tags)))
    more = {"start": constraints.start, "end": constraints.end}
    found = crf.viterbi(unary, constraints.transition, **more)
    assert np.isfinite(found.score).all()
    assert not np.isfinite(
        crf.viterbi(unary[:, :1] * 0, np.full((5, 5), -np.inf), start=[-np.inf] * 5).score
    ).any()


@pytest.mark.parametrize(
    ("tags", "scheme", "message"),
    [
        (["O", "B-x"], "IOB", "scheme must be one of"),
        (["O", "S-x"], "BIO", "got 'S-x'"),
        (["O", "B"], "BIO", "got 'B'"),
        (["O-x"], "BIO", "got 'O-x'"),
        (["", "O"], "BIO", "got ''"),
        (["O", "O"], "BIO", "different names"),
        ([], "BIO", "at least one"),
    ],
)
def test_tags_of_another_scheme_are_refused(tags, scheme, message):
    with pytest.raises(ValueError, match=message):
        crf.tag_constraints(tags, scheme=scheme)


@pytest.mark.parametrize("tags", ["O", [0, 1]])
def test_what_is_no_list_of_names_is_refused(tags):
    with pytest.raises(TypeError, match=r"sequence of names; got .*Write them"):
        crf.tag_constraints(tags)
