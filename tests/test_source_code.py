"""Properties of source code, marked by hand below each line: a caret where they hold."""

import pytest

from train.data.source_code import properties

MARKED = {
    "inside quotes": '''
x = "ab" + r'c' + f"{x}d"
    ^^^     ^^     ^^^^^
y = '' # "no"
    ^
''',
    "inside triple quotes": '''
""\" a
^^^^^^
b""\" + 'c'
^
x = rf""\"{x}""\"
      ^^^^^^
''',
    "inside the condition of an if": '''
if a(b[1:2]) :
 ^^^^^^^^^^^^
    c = 1 if d else 2
elif (e and
   ^^^^^^^^
      "é:") : pass
^^^^^^^^^^^^
else:
    if not g: pass
     ^^^^^^^
''',
    "inside a comment": '''
x = "# no" # yes
           ^^^^^
# yes
^^^^^
''',
    "in the indentation of a line": '''
if x:
    y = (1,
^^^^
      2)
^^^^^^
''',
}  # fmt: skip


def unmarked(text):
    """The source, and the places of the carets; an end of line counts where the line below it goes on."""
    source, start, places = "", 0, set()
    for line in text.lstrip("\n").replace('""\\"', '"""').splitlines():
        if line.strip() and set(line) <= {" ", "^"}:
            places |= {start + column for column, character in enumerate(line) if character == "^"}
        else:
            start = len(source)
            source += line + "\n"
    return source, places


@pytest.mark.parametrize("name", MARKED)
def test_properties(name):
    source, places = unmarked(MARKED[name])
    assert {int(index) for index in properties(source)[name].nonzero()[0]} - ends(source) == places - ends(source)


def ends(source):
    return {index for index, character in enumerate(source) if character == "\n"}


def test_columns():
    holds = properties("x = 1\n" + "y" * 43 + " = 2\n")["past column 40 of a line"]
    assert list(holds.nonzero()[0]) == list(range(6 + 40, 6 + 48))


@pytest.mark.parametrize("text", [
    "Once upon a time\n", "Once (upon a time\n", '"""Once upon\n', "if once \\\n", "if once:\n  upon\n a\n",
    "if once:\r    upon = 1\rif a:\r    time\r", "once = 1\rif upon: a\n", "once\0upon\n", "\ud800\n", "-" * 9000 + "1",
])  # fmt: skip
def test_text_that_is_no_source(text):
    with pytest.raises(SyntaxError):
        properties(text)


def test_lines_may_end_in_both_characters():
    assert list(properties("if a:\r\n  b # c\r\n")["inside a comment"].nonzero()[0]) == [11, 12, 13]
