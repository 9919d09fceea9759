"""Errors of values that do not fit a config, at any depth of groups, lists and mappings."""

from __future__ import annotations

import pytest
from pydantic import Field

from conaclip_edge.config.base import Config
from conaclip_edge.config.parse import parse
from conaclip_edge.errors import UserError


class Leaf(Config):
    size: int = Field(description="in pixels")
    name: str = "leaf"


class Tree(Config):
    first: Leaf | None = None
    many: tuple[Leaf, ...] | None = None
    named: dict[str, Leaf] | None = None
    plain: dict[str, dict[str, int]] | None = None
    kind: str = Field("oak", alias="type")


@pytest.mark.parametrize("values", ["first", "many", "named"])
def test_a_missing_key_is_named_with_what_it_means(values: str) -> None:
    group, key = {"first": ({}, "first"), "many": ([{}], "many.0"), "named": ({"a": {}}, "named.a")}[values]
    with pytest.raises(UserError, match=rf"^the test has no '{key}\.size': in pixels\.$"):
        parse(Tree, {values: group}, "the test")


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (
            {"many": [{"siez": 3}]},
            r"^unknown key 'siez' in the test \(many\.0\.siez\)\. Did you mean 'size'\? Known: nam",
        ),
        ({"named": {"a": {"siez": 3}}}, r"^unknown key 'siez' in the test \(named\.a\.siez\)\. Did you mean 'size'\?"),
        (
            {"typ": "elm"},
            r"^unknown key 'typ' in the test \(typ\)\. Did you mean 'type'\? Known: first, many, named, plai",
        ),
        ({"plain": {"a": {"b": "c"}}}, r"^the test: 'plain\.a\.b': Input should be a valid integer.*, got 'c'\.$"),
        ({"first": {"size": "c"}, "many": [{}]}, r"^the test: 'first\.size': Input should be a valid integer"),
        ([], r"^the test must hold keys and values, not list\.$"),
    ],
)
def test_a_wrong_key_or_value_is_named_where_it_is(values: object, line: str) -> None:
    with pytest.raises(UserError, match=line):
        parse(Tree, values, "the test")
