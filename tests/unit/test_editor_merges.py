"""Going into files that are there: nothing of their owner's is lost."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from colab_devsync.daemon.editors import CannotMerge, compose
from colab_devsync.daemon.editors.json_merge import json_merge, json_text
from colab_devsync.daemon.editors.jsonc import parse
from colab_devsync.daemon.editors.xml_tree import (
    component,
    element,
    find_or_add,
    new_project_file,
    same_xml,
    xml_merge,
)
from tests.unit.test_editor_files import FACTS

LAUNCH = {
    "version": "0.2.0",
    "configurations": [{"name": "ours", "type": "x", "args": ["a", "b"]}],
}

THEIRS = """\
// mine
{
    "version": "0.1.0", // an old one
    "configurations": [
        {
            "name": "theirs", /* why */
            "env": {"A": "//not a comment"},
        }, // the last one
    ],
}
"""

MERGED = """\
// mine
{
    "version": "0.1.0", // an old one
    "configurations": [
        {
            "name": "theirs", /* why */
            "env": {"A": "//not a comment"},
        }, // the last one
        {
            "name": "ours",
            "type": "x",
            "args": [
                "a",
                "b"
            ]
        }
    ],
}
"""


def test_comments_order_and_values_stay() -> None:
    assert json_merge(LAUNCH)(THEIRS) == MERGED


@pytest.mark.parametrize(
    "text",
    [
        THEIRS,
        "{}",
        "{ }\n",
        "",
        "// only a comment\n",
        '{"configurations": []}',
        '{"configurations": [{"name": "x"}]}',
        '{\n\t"configurations": [\n\t\t{"name": "x"} // last\n\t]\n}\n',
        '{"version": "1", // end\n}',
        '{"a": 1 /* , */ }',
        '\ufeff{"a": "\\u00e9\\"]}"}',
    ],
)
def test_what_was_there_is_there_and_a_second_time_changes_nothing(text: str) -> None:
    merge = json_merge(LAUNCH)
    once = merge(text)
    assert merge(once) == once
    plain = parse(once).plain()
    old = parse(text).plain() if text[:2] not in ("", "//") else {}
    for key, value in old.items():
        if key == "configurations":
            assert plain[key][: len(value)] == value
        else:
            assert plain[key] == value
    assert [one["name"] for one in plain["configurations"]][-1] == "ours"
    for comment in ("// mine", "/* why */", "// last", "// end", "/* , */"):
        assert (comment in once) == (comment in text)


def test_an_entry_of_the_same_name_is_its_owners() -> None:
    text = '{"version": 1, "configurations": [{"name": "ours", "args": []}]}'
    assert json_merge(LAUNCH)(text) == text


def test_a_top_level_list_is_merged_too() -> None:
    merged = json_merge([{"label": "b"}])('[\n  {"label": "a"}\n]\n')
    assert parse(merged).plain() == [{"label": "a"}, {"label": "b"}]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"configurations": {}}', "configurations is not a list"),
        ("[]", "the file is not an object"),
        ('{\n"a": 1,\n"b" 2}', "line 3 is not JSON: expected :"),
        ('{"a": 1', "expected , or }"),
        ('{"a": 1} x', "expected the end"),
        ('{"a": 1, "a": 2}', "only once"),
        ('{"version": ["0.2.0"]}', "version is not a single value"),
        ("{\"a\": 'x'}", "expected a value"),
        ("nonsense", "expected a value"),
    ],
)
def test_what_cannot_be_merged_is_left_alone(text: str, why: str) -> None:
    with pytest.raises(CannotMerge, match=why):
        json_merge(LAUNCH)(text)


def test_strictly_another_value_is_a_refusal() -> None:
    wanted: dict[str, Any] = {"lsp": {"pylsp": {"path": "ours"}}}
    merge = json_merge(wanted, strict=True)
    assert parse(merge('{"lsp": {}}')).plain() == wanted
    with pytest.raises(CannotMerge, match=r'lsp\.pylsp\.path is "theirs"'):
        merge('{"lsp": {"pylsp": {"path": "theirs"}}}')


def test_a_new_file_is_what_a_merge_into_an_empty_one_gives() -> None:
    assert parse(json_merge(LAUNCH)("{}")).plain() == LAUNCH
    assert json_merge(LAUNCH)("") == json_text(LAUNCH)


# --- XML ------------------------------------------------------------------------------

IDEA = """\
<?xml version="1.0" encoding="UTF-8"?>
<project version="4">
  <!-- kept -->
  <component name="Other">
    <option name="a" value="1 &lt; 2" />
  </component>
</project>
"""


def add(root: ElementTree.Element) -> None:
    inside = find_or_add(component(root, "Ours"), "list", {})
    find_or_add(inside, "item", {"id": "1"}).set("port", "22")


def test_a_component_is_added_in_the_ides_own_style() -> None:
    merged = xml_merge(add)(IDEA)
    ours = """\
  <component name="Ours">
    <list>
      <item id="1" port="22" />
    </list>
  </component>
</project>
"""
    assert merged == IDEA.replace("</project>\n", ours)
    assert xml_merge(add)(merged) == merged
    assert xml_merge(add)("") == new_project_file(add)


def test_ours_is_brought_up_to_date_beside_others() -> None:
    text = xml_merge(add)(IDEA).replace(
        '<item id="1" port="22" />', '<item id="0" port="1" />\n      <item id="1" />'
    )
    merged = xml_merge(add)(text)
    assert merged == text.replace('<item id="1" />', '<item id="1" port="22" />')


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<project><a></project>", "not XML"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><project/>', "DOCTYPE"),
        ("<application/>", "its root is <application>"),
        ('<?xml version="1.0" encoding="UTF-16"?><project/>', "encoding is UTF-16"),
        ("nothing", "not XML"),
    ],
)
def test_other_xml_is_left_alone(text: str, why: str) -> None:
    with pytest.raises(CannotMerge, match=why):
        xml_merge(add)(text)


def test_the_same_in_another_layout_is_the_same() -> None:
    assert same_xml('<a x="1" y="2"><b/></a>', '<a y="2" x="1">\n  <b />\n</a>\n')
    assert not same_xml("<a/>", "<b/>")
    assert not same_xml("<a/>", "<a")
    assert element("a", {}).tag == "a"


OUTSIDE = """\
<?xml version="1.0" encoding="UTF-8"?>
<!-- <project> of mine -->
<project version="4">
  <component name="Theirs" />
</project>
<!-- the end -->
"""


def test_what_stands_around_the_root_stays() -> None:
    def change(root: Element) -> None:
        find_or_add(component(root, "Ours"), "a", {"k": "v"})

    merge = xml_merge(change)
    inner = '  <component name="Ours">\n    <a k="v" />\n  </component>\n</project>'
    assert merge(OUTSIDE) == OUTSIDE.replace("</project>", inner)
    assert merge(merge(OUTSIDE)) == merge(OUTSIDE)
    assert merge("\ufeff" + OUTSIDE) == "\ufeff" + merge(OUTSIDE)
    with pytest.raises(CannotMerge, match="namespaces"):
        merge('<project xmlns:x="urn:x" version="4"><x:a /></project>')


def test_a_comment_alone_is_no_danger() -> None:
    merge = json_merge({"a": 1})
    assert merge("// mine") == '// mine\n{\n  "a": 1\n}\n'
    assert merge(merge("// mine")) == merge("// mine")
    with pytest.raises(CannotMerge, match="too deeply"):
        merge("[" * 100_000)


@pytest.mark.parametrize(
    "text",
    [
        "language = 1\n",
        'language = ["x"]\n',
        '[language]\nname = "python"\n',
        "[[language]]\nname = []\n",
        '[[language]]\nname = "python"\nlanguage-servers = 3\n',
    ],
)
def test_a_languages_file_that_helix_cannot_read_is_left_alone(text: str) -> None:
    merge = compose("helix", FACTS).files[0].merge
    assert merge is not None
    with pytest.raises(CannotMerge):
        merge(text)
