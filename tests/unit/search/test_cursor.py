from pathlib import Path

from search.cursor import CURSOR_NAME, load_cursor, save_cursor


def test_a_cursor_of_another_address_or_a_broken_one_is_none(tmp_path: Path) -> None:
    path = tmp_path / CURSOR_NAME
    cursor = load_cursor(path, "http://a")
    assert (cursor.offset, cursor.runs) == (0, {})
    moved = type(cursor)("http://a", "id", 77, {None: "p", 3: "c"})
    save_cursor(path, moved)
    assert load_cursor(path, "http://a") == moved
    assert load_cursor(path, "http://b").offset == 0
    path.write_text('{"uri": "http://a"')
    assert load_cursor(path, "http://a").offset == 0
