"""Hover, links and corrections of a configuration. `|` is the cursor."""

from __future__ import annotations

import pytest

from colab_devsync.core.config import check_config
from colab_devsync.core.config.introspect import tables
from colab_devsync.core.editing.fixes import Fix, fixes, pin_host_key
from colab_devsync.core.editing.hover import hover
from colab_devsync.core.editing.links import file_links

KEY = "SHA256:uNiVztksCsDhcc0u9e8BrYXiVx4fUYE6QJfX2e6JPj0"


def hovered(marked: str) -> tuple[str, str]:
    """What is said, and about which part of the text."""
    text = marked.replace("|", "", 1)
    found = hover(text, marked.index("|"))
    assert found is not None, marked
    return found.markdown, text[found.span.start : found.span.end]


def fixed(text: str, title: str) -> str:
    found = {
        one.title: one for problem in check_config(text) for one in fixes(text, problem)
    }
    assert title in found, list(found)
    return apply(text, found[title])


def apply(text: str, fix: Fix) -> str:
    for edit in sorted(fix.edits, key=lambda one: -one.span.start):
        text = text[: edit.span.start] + edit.text + text[edit.span.end :]
    return text


# --- hover ----------------------------------------------------------------------------


def test_a_key_says_what_the_reference_page_says() -> None:
    for name, table in tables().items():
        header = f"[[{name}]]\n" if table.repeated else f"[{name}]\n" if name else ""
        for key in table.keys.values():
            said, about = hovered(f"{header}|{key.name} = {key.about.example}\n")
            assert about == key.name
            assert key.about.doc in said
            assert key.about.example in said
            assert key.default_text in said


def test_headers_and_values_say_something_too() -> None:
    said, about = hovered("[sy|nc]\n")
    assert about == "[sync]"
    assert "`max_file_size`" in said
    said, about = hovered('[link]\nprovider = "di|rect"\n')
    assert about == '"direct"'
    assert "Its own keys: `host`, `port`." in said
    said, _ = hovered('[sync]\nmax_file_size = "1.5|GB"\n')
    assert "1,500,000,000 bytes" in said
    said, about = hovered("[profiles.gpu2.l|ink]\n")
    assert "The way in" in said
    assert "overrides" in hovered("[prof|iles.gpu2]\n")[0].lower()


def test_a_broken_file_still_says_it() -> None:
    said, _ = hovered('[sync]\nexclude = ["a\n[run]\nent|ry = \n')
    assert "Script to run" in said


@pytest.mark.parametrize("marked", ["# com|ment", "[run]\n|\nx=1", "fo|o = 1", "|"])
def test_nothing_is_said_about_what_is_not_known(marked: str) -> None:
    assert hover(marked.replace("|", ""), marked.index("|")) is None


# --- links ----------------------------------------------------------------------------


def test_files_of_the_configuration_are_linked() -> None:
    text = (
        "[link]\nidentity_file = \"~/.ssh/id_ed25519\"\n[run]\nentry = 'a.py'\n"
        '[[pull]]\nremote = "x"\nlocal = "runs"\n[profiles.p.run]\nentry = "b.py"\n'
    )
    found = [(one.key, one.name, one.place) for one in file_links(text)]
    assert found == [
        ("link.identity_file", "~/.ssh/id_ed25519", "home"),
        ("run.entry", "a.py", "project"),
        ("pull.local", "runs", "project"),
        ("run.entry", "b.py", "project"),
    ]
    assert all(text[o.span.start : o.span.end] == o.name for o in file_links(text))


# --- corrections ----------------------------------------------------------------------


def test_a_mistyped_key_is_renamed() -> None:
    text = '[link]\nprovidr = "sandbox"  # why\n'
    assert fixed(text, "Change to provider") == '[link]\nprovider = "sandbox"  # why\n'


def test_a_mistyped_value_is_replaced_with_its_quotes() -> None:
    text = "[sync]\nmode = 'miror'\n"
    assert fixed(text, 'Change to "mirror"') == '[sync]\nmode = "mirror"\n'


def test_an_unknown_key_is_removed_with_all_its_lines() -> None:
    text = '[sync]\nfoo = [\n  "a",\n]\nwatch = true\n'
    assert fixed(text, "Remove foo") == "[sync]\nwatch = true\n"


def test_an_unknown_table_is_removed_with_its_keys() -> None:
    text = "[sync]\nwatch = true\n\n[foo]\nx = 1\n\n[run]\nargs = []\n"
    left = "[sync]\nwatch = true\n\n[run]\nargs = []\n"
    assert fixed(text, "Remove [foo] and its keys") == left


def test_comments_of_the_next_table_stay() -> None:
    text = "[foo]\nx = 1 # one\n# two\n\n# about run\n[run]\nargs = []\n"
    left = "# two\n\n# about run\n[run]\nargs = []\n"
    assert fixed(text, "Remove [foo] and its keys") == left


@pytest.mark.parametrize(
    "text",
    [
        "[sync]\nwatch = true\nwacth = false\n",
        "[sync]\nwatch = true\n[snyc]\nwatch = false\n",
        '[sync]\nentry = "a.py"\n[run]\nentry = "b.py"\n',
    ],
)
def test_no_correction_gives_a_key_or_a_table_twice(text: str) -> None:
    for problem in check_config(text):
        titles = [one.title for one in fixes(text, problem)]
        assert titles
        assert all(one.startswith("Remove ") for one in titles)


def test_a_key_of_another_table_is_moved_there() -> None:
    text = '[sync]\nentry = "a.py" # main\n\n[run]\nargs = []\n'
    moved = '[sync]\n\n[run]\nargs = []\nentry = "a.py" # main\n'
    assert fixed(text, "Move to [run]") == moved
    assert check_config(moved) == ()
    text = '[sync]\nentry = "a.py"'
    assert fixed(text, "Move to [run]") == '[sync]\n\n\n[run]\nentry = "a.py"\n'


def test_a_host_key_is_pinned_where_the_link_in_use_is_written() -> None:
    text = '[link]\nprovider = "direct"\nhost = "203.0.113.7"\n\n[run]\n'
    fix = pin_host_key(text, KEY, None)
    assert fix is not None
    done = apply(text, fix)
    assert done == text.replace("\n\n", f'\nhost_key = "{KEY}"\n\n')
    assert check_config(done) == ()
    assert pin_host_key(done, KEY, None) is None

    text += '[profiles.b.link]\nhost = "203.0.113.8"\n'
    fix = pin_host_key(text, KEY, "b")
    assert fix is not None
    assert apply(text, fix).endswith(f'host = "203.0.113.8"\nhost_key = "{KEY}"\n')


def test_line_ends_stay_as_they_are() -> None:
    text = '[link]\r\nprovider = "direct"\r\nhost = "203.0.113.7"\r\n'
    fix = pin_host_key(text, KEY, None)
    assert fix is not None
    assert apply(text, fix) == f'{text}host_key = "{KEY}"\r\n'
    text = '[sync]\r\nentry = "a.py"\r\n[run]\r\nargs = []\r\n'
    moved = '[sync]\r\n[run]\r\nargs = []\r\nentry = "a.py"\r\n'
    assert fixed(text, "Move to [run]") == moved


def test_a_key_that_changes_with_each_vm_is_not_pinned() -> None:
    assert pin_host_key('[link]\nprovider = "colab"\n', KEY, None) is None
    assert pin_host_key("", KEY, None) is None
    assert pin_host_key('link.provider = "direct"\n', KEY, None) is None
