"""What is offered while somebody types a configuration. `|` is the cursor."""

from __future__ import annotations

import tomli
from hypothesis import given
from hypothesis import strategies as st

from colab_devsync.core.config import check_config
from colab_devsync.core.config.introspect import tables
from colab_devsync.core.editing.complete import (
    Completion,
    Item,
    Wanted,
    complete,
    value_items,
)
from colab_devsync.core.editing.hover import hover
from colab_devsync.core.editing.links import file_links
from colab_devsync.core.editing.outline import outline


def offered(marked: str, *, snippets: bool = False) -> Completion:
    offset = marked.index("|")
    return complete(marked.replace("|", "", 1), offset, snippets=snippets)


def labels(marked: str) -> list[str]:
    items = offered(marked).items
    return [one.label for one in sorted(items, key=lambda one: one.order)]


def keys(marked: str) -> list[str]:
    items = sorted(offered(marked).items, key=lambda one: one.order)
    return [one.label for one in items if one.kind == "key"]


def accepted(marked: str, label: str, *, snippets: bool = False) -> str:
    """The text after that suggestion was chosen."""
    items = offered(marked, snippets=snippets).items
    return apply(marked.replace("|", "", 1), pick(items, label))


def pick(items: tuple[Item, ...], label: str) -> Item:
    return next(one for one in items if one.label == label)


def apply(text: str, item: Item) -> str:
    return text[: item.span.start] + item.insert + text[item.span.end :]


# --- tables ---------------------------------------------------------------------------


def test_an_empty_file_is_offered_keys_and_tables() -> None:
    assert labels("|")[:3] == ["name", "[link]", "[remote]"]


def test_a_half_typed_header_becomes_a_whole_one() -> None:
    assert accepted("[li|", "[link]") == "[link]"
    assert accepted("[li|]\n", "[link]") == "[link]\n"
    assert accepted("[pu|]\n", "[[pull]]") == "[[pull]]\n"


def test_two_brackets_are_for_tables_that_may_be_repeated() -> None:
    assert labels("[[|") == ["[[pull]]", "[[forward]]"]


def test_a_table_that_is_there_is_not_offered_again() -> None:
    found = labels('[link]\nprovider = "colab"\n[|')
    assert "[link]" not in found
    assert "[[pull]]" in labels('[[pull]]\nremote = "a"\n[|')


def test_a_profile_is_offered_its_tables() -> None:
    found = labels("[profiles.gpu2.link]\n[profiles.gpu2.|")
    assert "[profiles.gpu2.run]" in found
    assert "[profiles.gpu2.link]" not in found


# --- keys -----------------------------------------------------------------------------


def test_the_providers_own_keys_come_first() -> None:
    found = keys('[link]\nprovider = "relay"\n|')
    assert found[:2] == ["relay", "port"]
    assert found.index("user") < found.index("session")
    assert keys("[link]\n|")[:2] == ["provider", "session"]


def test_a_profile_follows_the_provider_of_the_base() -> None:
    found = keys('[link]\nprovider = "direct"\n[profiles.a.link]\n|')
    assert found[:3] == ["provider", "host", "port"]


def test_keys_that_are_there_are_not_offered() -> None:
    assert "mode" not in keys('[sync]\nmode = "mirror"\n|\nwatch = true\n')
    assert "watch" not in keys('[sync]\nmode = "mirror"\n|\nwatch = true\n')
    assert "module" not in keys('[run]\nentry = "a.py"\n|')
    assert keys("[sync]\nmod|")[0] == "mode"


def test_each_of_repeated_tables_has_its_own_keys() -> None:
    assert keys('[[pull]]\nremote = "a"\n\n[[pull]]\n|')[0] == "remote"
    assert "remote" not in keys('[[pull]]\nremote = "a"\n|\n[[pull]]\n')


def test_dotted_and_inline_tables_are_tables() -> None:
    assert keys("link.|")[0] == "provider"
    assert keys('link = { provider = "direct", |}')[:2] == ["host", "port"]
    assert keys('link = { provider = "direct", h|')[:2] == ["host", "port"]


def test_a_key_is_typed_with_a_value_only_where_the_client_can() -> None:
    assert accepted("[sync]\nmo|", "mode") == "[sync]\nmode = "
    snippet = accepted("[sync]\nmo|", "mode", snippets=True)
    assert snippet == '[sync]\nmode = "${1|mirror,replica|}"'
    snippet = accepted("[sync]\nw|", "watch", snippets=True)
    assert snippet == "[sync]\nwatch = ${1|true,false|}"
    assert accepted("[sync]\nmo|de = 1", "mode", snippets=True) == "[sync]\nmode = 1"


def test_every_snippet_gives_a_good_configuration() -> None:
    """Accepting what the snippet says, without typing anything."""
    for name, table in tables().items():
        for key in table.keys.values():
            header = f"[[{name}]]\n" if table.repeated else f"[{name}]\n"
            text = accepted(f"{header if name else ''}|", key.name, snippets=True)
            plain = text.replace("\\$", "$").replace("\\}", "}")
            before, _, rest = plain.partition("${1")
            value, _, after = rest[1:].rpartition("}" if rest[0] == ":" else "|}")
            choice = value.split(",")[0] if rest[0] == "|" else value
            values = tomli.loads(before + choice + after)
            inner = values[name] if name else values
            assert key.name in (inner[0] if table.repeated else inner), text


def test_nothing_is_offered_in_comments_and_behind_values() -> None:
    for marked in (
        "# li|",
        'name = "x" # co|',
        'name = "x" |',
        "[sync]\nwatch = true |",
        "[link] # |",
        "[foo]\nbar = |",
        '[sync]\nexclude = ["a", |"b"]',
        '[sync]\nexclude = [ | "b"]',
    ):
        assert offered(marked) == Completion(), marked


# --- values ---------------------------------------------------------------------------


def test_choices_are_offered_with_and_without_quotes() -> None:
    text = '[sync]\nmode = "replica"'
    assert accepted("[sync]\nmode = |", "replica") == text
    assert accepted('[sync]\nmode = "|"', "replica") == text
    assert accepted('[sync]\nmode = "re|', "replica") == text
    assert accepted("[sync]\nmode = rep|", "replica") == text
    assert accepted("[sync]\nmode = 're|'", "replica") == "[sync]\nmode = 'replica'"
    assert labels("[sync]\nmode = |")[0] == "mirror"


def test_booleans_and_numbers_are_offered() -> None:
    assert labels("[sync]\nwatch = |\n[run]\n") == ["false", "true"]
    assert labels("[[forward]]\nlocal_port = |") == ["0", "7860"]
    assert accepted("[sync]\nmax_file_size = |", "100MB").endswith('= "100MB"')


def test_what_only_the_machine_knows_is_asked_for() -> None:
    def source(marked: str) -> tuple[str, str]:
        wanted = offered(marked).wanted
        assert wanted is not None, marked
        return wanted.source, wanted.typed

    assert source('[link]\nsession = "tr|"') == ("sessions", "tr")
    assert source("[link]\nidentity_file = |") == ("identity files", "")
    assert source('[run]\nentry = "src/|"') == ("scripts", "src/")
    assert source('[run]\nmodule = "pkg.|"') == ("modules", "pkg.")
    assert source('[[pull]]\nremote = "/content/|') == ("remote folders", "/content/")
    assert source('[[pull]]\nlocal = "|"') == ("project folders", "")
    assert source('[sync]\nexclude = ["a/", "d|"]') == ("project paths", "d")
    assert source('[sync]\nexclude = [\n  "a/",\n  "|') == ("project paths", "")
    assert source("[profiles.x.link]\nsession = |") == ("sessions", "")


def found(marked: str, *values: str) -> tuple[str, tuple[Item, ...]]:
    wanted = offered(marked).wanted
    assert isinstance(wanted, Wanted)
    text = marked.replace("|", "", 1)
    return text, value_items(text, wanted, values)


def test_what_was_found_is_written_as_toml() -> None:
    text, items = found('[run]\nentry = "tr|"', "train.py", 'odd"name.py', "src/")
    assert apply(text, items[0]) == '[run]\nentry = "train.py"'
    assert tomli.loads(apply(text, items[1]))["run"]["entry"] == 'odd"name.py'
    assert items[2].kind == "folder"
    text, items = found("[run]\nentry = 'tr|'", "it's.py", "train.py")
    assert tomli.loads(apply(text, items[0]))["run"]["entry"] == "it's.py"
    assert apply(text, items[1]) == "[run]\nentry = 'train.py'"


def test_a_list_is_not_offered_what_it_has() -> None:
    _, items = found('[sync]\nexclude = ["data/", "|"]', "data/", "docs/")
    assert [one.label for one in items] == ["docs/"]


def test_every_value_of_every_key_can_be_completed() -> None:
    for table in tables().values():
        for key in table.keys.values():
            start = f"[{table.name}]\n" if table.name else ""
            offered(f"{start}{key.name} = |")
            offered(f'{start}{key.name} = "|"')
    assert labels("[[forward]]\nremote_port = |") == ["7860"]


def test_a_value_of_several_lines_is_left_alone() -> None:
    assert not offered('[sync]\nmode = """\nmir|"""\n').items


# --- broken texts ---------------------------------------------------------------------


def test_an_unclosed_list_does_not_swallow_the_next_table() -> None:
    text = '[sync]\nexclude = ["a", \n\n[run]\nentry = "b.py"\n|'
    assert keys(text)[0] == "args"
    assert "include" in keys('[sync]\nexclude = ["a"\n|\nwatch = false\n')


def test_an_unclosed_text_ends_with_its_line() -> None:
    assert "watch" in keys('[sync]\nmode = "mirr\n|')
    assert "watch" in keys('[sync]\nmode = "mirr\\\n|')
    for newline in ("\n", "\r\n"):
        for quote in "\"'":
            text = f"[sync]{newline}mode = {quote}mi|{newline}watch = true{newline}"
            whole = text.replace("mi|", f"mirror{quote}")
            assert accepted(text, "mirror") == whole


@given(
    st.text(alphabet="[]{}\"'=.,#\n\xa0\u2028 ab1_-\\", max_size=60), st.integers(0, 60)
)
def test_no_text_is_too_broken(text: str, at: int) -> None:
    offset = min(at, len(text))
    for one in complete(text, offset, snippets=True).items:
        assert one.span.start <= offset <= one.span.end
        assert "\n" not in text[one.span.start : one.span.end]
    hover(text, offset)
    file_links(text)


def test_white_space_that_is_none_in_toml_is_no_danger() -> None:
    """Pasted from a page, say; it once was looked at for ever."""
    for blank in "\xa0\u2028\u3000\x0b\x0c\x85":
        text = f'[sync]\nexclude = ["a",{blank}"b"{blank}]\nwatch = true\n'
        assert ("sync", "watch") in {one.path for one in outline(text).pairs}


def test_deeply_nested_brackets_are_no_danger() -> None:
    for text in ("a = " + "[" * 5000, "a = " + "{ b = " * 3000):
        assert outline(text).pairs
    assert outline("a = [\nb" + "   .   " * 3000 + "x").pairs  # as fast as others


def test_a_good_file_has_the_same_outline_as_tomli_sees() -> None:
    text = (
        'name = "x"\n[link]\nprovider = "direct" # way in\nhost = "203.0.113.7"\n'
        '[sync]\nexclude = [\n  "a", # one\n  "b",\n]\n[remote]\nenv = { A = "1" }\n'
        '[[pull]]\nremote = "c"\n[[pull]]\nremote = "d"\n[profiles.p.link]\nport = 2\n'
    )
    assert check_config(text) == ()
    paths = {one.path for one in outline(text).pairs}
    assert {
        ("name",),
        ("link", "host"),
        ("sync", "exclude"),
        ("remote", "env", "A"),
        ("pull", 0, "remote"),
        ("pull", 1, "remote"),
        ("profiles", "p", "link", "port"),
    } <= paths
