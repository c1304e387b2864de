"""Tables of text."""

from core.text_table import format_table


def test_columns_are_as_wide_as_their_longest_cell_and_lines_end_without_spaces():
    table = format_table([("step", "reason"), ("evaluate", ""), ("gate", "no champion")])
    assert table.splitlines() == ["step      reason", "evaluate", "gate      no champion"]
