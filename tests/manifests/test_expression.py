from __future__ import annotations

import pytest

from manifests.expression import is_wanted, names_in, parse_expression

FACTS = {"rating": "s", "tags": "1girl blue_eyes", "score": 12, "created_at": "2019-05-01", "Eyeglasses": -1}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", True),
        ("rating == 's'", True),
        ("rating in ['g', 'q']", False),
        ("score >= 10 and '1girl' in tags", True),
        ("'girl' in tags", False),  # a word, not a part of one
        ("'red_eyes' not in tags and not score > 12", True),
        ("Eyeglasses == -1", True),
        ("created_at >= '2019' and created_at < '2020'", True),
        ("10 < score <= 12", True),
        ("missing == None", True),
        ("missing > 3 or missing < 3", False),
        ("score > 'a'", False),
    ],
)
def test_expressions_hold_as_python_would(text: str, wanted: bool) -> None:
    assert is_wanted(text, FACTS) is wanted


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("__import__('os')", "__import__"),
        ("tags.split()", "tags.split"),
        ("score + 1 > 2", "score + 1"),
        ("[x for x in tags]", "for x in tags"),
        ("tags[0] == 'a'", "tags[0]"),
        ("-tags", "'tags'"),
        ("score >", "character"),
        ("b'1' == score", "b'1'"),
        ("lambda: 1", "lambda"),
        ("(" * 5000 + "1" + ")" * 5000, "expression"),
    ],
)
def test_anything_else_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(ValueError, match=r"expression|minus") as refused:
        parse_expression(text)
    assert named in str(refused.value)


def test_names_are_told() -> None:
    assert names_in("score > 1 and 'a' in tags") == {"score", "tags"}
