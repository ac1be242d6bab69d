"""A report that fits a comment: `python -m gate.comment FILE.md` prints as much of it as a pull request can hold."""

from pathlib import Path

from spec.arguments import Arguments
from spec.exits import Exit, InputError, end

#: GitHub takes 65,536 characters; the mark by which a comment is found again needs some of them.
MOST = 65_000
CUT = "*Cut here: a comment holds no more. The whole report is in the step summary and in the artifact.*"


def fitted(text: str, most: int = MOST) -> str:
    """The text, or its first lines as far as they fit, each of them whole, with what they open closed."""
    if len(text) <= most:
        return text
    lines = text.splitlines()
    size, kept = 0, 0
    open_ones: tuple[str, ...] = ()
    tail = _tail(open_ones)
    for line in lines:
        size += len(line) + 1
        open_ones = _open_after(line, open_ones)
        if size + sum(len(own) + 1 for own in _tail(open_ones)) > most:
            break
        kept, tail = kept + 1, _tail(open_ones)
    return "\n".join([*lines[:kept], *tail, ""])


def _tail(open_ones: tuple[str, ...]) -> list[str]:
    return [*reversed(open_ones), "", CUT]


def _open_after(line: str, open_ones: tuple[str, ...]) -> tuple[str, ...]:
    """The lines that would close what is open after `line`: blocks of code, and details."""
    if open_ones and line == open_ones[-1]:
        return open_ones[:-1]
    if open_ones and open_ones[-1].endswith("```"):
        return open_ones
    word = line.lstrip()
    if word.startswith("```"):
        return (*open_ones, line[: len(line) - len(word)] + "```")
    return (*open_ones, "</details>") if line.startswith("<details>") else open_ones


def main(arguments: list[str]) -> Exit:
    """Print what fits; raises InputError."""
    parser = Arguments(prog="python -m gate.comment", description=__doc__)
    parser.add_argument("report", type=Path, metavar="FILE.md")
    path = parser.parse_args(arguments).report
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: expected a report, found: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected UTF-8, found: {error}") from None
    print(fitted(text), end="")
    return Exit.PASSED


if __name__ == "__main__":
    end(main)
