"""A name in letters that are read across the room: five rows of blocks, drawn here."""

from __future__ import annotations

ROWS = 5
_GLYPHS = {
    "A": " ### /#   #/#####/#   #/#   #",
    "B": "#### /#   #/#### /#   #/#### ",
    "C": " ####/#    /#    /#    / ####",
    "D": "#### /#   #/#   #/#   #/#### ",
    "E": "#####/#    /#### /#    /#####",
    "F": "#####/#    /#### /#    /#    ",
    "G": " ####/#    /#  ##/#   #/ ####",
    "H": "#   #/#   #/#####/#   #/#   #",
    "I": "###/ # / # / # /###",
    "J": "  ###/   # /   # /#  # / ##  ",
    "K": "#   #/#  # /###  /#  # /#   #",
    "L": "#    /#    /#    /#    /#####",
    "M": "#   #/## ##/# # #/#   #/#   #",
    "N": "#   #/##  #/# # #/#  ##/#   #",
    "O": " ### /#   #/#   #/#   #/ ### ",
    "P": "#### /#   #/#### /#    /#    ",
    "Q": " ### /#   #/#   #/#  # / ## #",
    "R": "#### /#   #/#### /#  # /#   #",
    "S": " ####/#    / ### /    #/#### ",
    "T": "#####/  #  /  #  /  #  /  #  ",
    "U": "#   #/#   #/#   #/#   #/ ### ",
    "V": "#   #/#   #/#   #/ # # /  #  ",
    "W": "#   #/#   #/# # #/## ##/#   #",
    "X": "#   #/ # # /  #  / # # /#   #",
    "Y": "#   #/ # # /  #  /  #  /  #  ",
    "Z": "#####/   # /  #  / #   /#####",
    "0": " ### /#  ##/# # #/##  #/ ### ",
    "1": " # /## / # / # /###",
    "2": "#### /    #/ ### /#    /#####",
    "3": "#### /    #/ ### /    #/#### ",
    "4": "#  # /#  # /#####/   # /   # ",
    "5": "#####/#    /#### /    #/#### ",
    "6": " ### /#    /#### /#   #/ ### ",
    "7": "#####/    #/   # /  #  /  #  ",
    "8": " ### /#   #/ ### /#   #/ ### ",
    "9": " ### /#   #/ ####/    #/ ### ",
    "-": "   /   /###/   /   ",
    ".": " / / / /#",
}
"""Rows of each letter from the top, ``#`` where there is ink."""
_BLANK = " / / / / "
_INK = "█"
_GAP = "  "


def large(text: str, *, columns: int = 80) -> str:
    """Return a text in large letters, capitals for small ones; what has no letter here is left blank.

    Parameters
    ----------
    columns
        Of the terminal: a longer text goes on below.
    """
    lines: list[list[list[str]]] = [[]]
    width = 0
    for letter in text.upper():
        glyph = [_wide(row) for row in _GLYPHS.get(letter, _BLANK).split("/")]
        if lines[-1] and width + len(glyph[0]) > columns:
            lines.append([])
            width = 0
        lines[-1].append(glyph)
        width += len(glyph[0]) + len(_GAP)
    drawn = ("\n".join(_GAP.join(glyph[row] for glyph in line).rstrip() for row in range(ROWS)) for line in lines)
    return "\n\n".join(drawn)


def _wide(row: str) -> str:
    """Return a row with every point as wide as a terminal's line is high: two columns."""
    return "".join(2 * _INK if point == "#" else "  " for point in row)
