"""What the four commands share: usage, messages, standard streams, exit status.

The only user of docopt and sys. A stage's core raises and calls back; here that becomes
one line on stderr and a number.
"""

from __future__ import annotations

import errno
import gc
import os
import sys

from filerep import __version__
from filerep.pathstream import quote
from filerep.wrapping import is_terminal, terminal_width, usage_in_rows, wrapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from typing import Any, NoReturn, Optional

# sysexits(3), so that a script can tell the reasons apart.
OK = 0
SKIPPED = 1
USAGE = 64
NO_INPUT = 66
UNAVAILABLE = 69
BUG = 70
OS_ERROR = 71
IO_ERROR = 74
INTERRUPTED = 130
TERMINATED = 143

# What the machine lacks or has broken, or somebody has locked away; all else is our own doing.
_REFUSALS = frozenset(
    getattr(errno, name)
    for name in (
        *("EACCES", "EAGAIN", "EDQUOT", "EIO", "EMFILE", "ENFILE", "ENOLCK"),
        *("ENOMEM", "ENOSPC", "EPERM", "EROFS", "ESTALE"),
    )
)

# What others have written, and an installation brings: the names by which it is loaded.
_NEEDED = ("docopt", "inotify_simple", "pathspec", "tqdm")
_BRINGS = "`pipx install .` in the clone of file-replicator brings it"

_LARGEST = 700_000
_INDENT = 2  # columns, of what goes on in the next row


class Stop(Exception):
    """The end of a run that a user can understand: an exit status and one line."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class BySignal(int):
    """The exit status 128+N as a shell has it: ``leave`` ends the process by signal N.

    A shell that sees a program die of Ctrl-C ends the loop or script around it too. One that
    exits with 130 has dealt with it, for all the shell knows.
    """


class OutputError(Exception):
    """Standard output took no more; ``errno`` is EPIPE when its reader has gone."""

    def __init__(self, error: OSError) -> None:
        super().__init__(os.strerror(error.errno or 0))
        self.errno = error.errno


def reason(error: OSError) -> str:
    """The system's words for ``error``, without Python's number and path."""
    return os.strerror(error.errno) if error.errno else str(error)


def refused(error: BaseException) -> str:
    """What the system refused, in words, if ``error`` means that; nothing if it is a bug."""
    if isinstance(error, MemoryError):
        return f"the system refused: {os.strerror(errno.ENOMEM)}"
    missing = _not_loaded(error)
    if missing in _NEEDED:
        return f"{missing} is not installed for {_python()}; {_BRINGS}"
    if missing:
        # Parts are loaded when they are needed, and the disk may fail or an upgrade come before.
        name = quote(missing)
        said = f"cannot load {name}, a part of the program"
        return f"{said}: was it replaced meanwhile? then start it again"
    if isinstance(error, FileNotFoundError) and _nowhere():
        return "the current directory is gone: start from another one"
    if isinstance(error, OSError) and error.errno in _REFUSALS:
        named = isinstance(error.filename, (str, bytes))
        where = f" {quote(error.filename)}" if named else ""
        return f"the system refused{where}: {reason(error)}"
    return ""


def _python() -> str:
    return sys.executable or "this Python"


def _not_loaded(error: BaseException) -> str:
    """The module that could not be, if ``error`` means that."""
    if isinstance(error, ImportError):
        return error.name or "?"
    unknown = "unknown encoding: "  # each is a module, all we ask for are there
    if isinstance(error, LookupError) and str(error).startswith(unknown):
        return f"encodings.{str(error)[len(unknown):]}"
    return ""


def _nowhere() -> bool:
    """Is the current directory gone? A path that is relative to it has no name then."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False


class Command:
    """One run of a program: its arguments, its messages, what became of its paths."""

    def __init__(self, program: str, args: Mapping[str, Any]) -> None:
        self.program = program
        self.args = args
        self.skipped = 0

    def say(self, message: str) -> None:
        """One line on stderr; never an error of its own (stderr may be closed)."""
        text = f"{self.program}: {message}"
        if sys.stderr is not None and is_terminal(sys.stderr):
            text = wrapped(text, terminal_width(sys.stderr), _INDENT)
        try:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()
        except (OSError, ValueError, AttributeError):  # AttributeError: it is None
            pass

    def on_error(self, action: str, path: bytes, error: OSError) -> None:
        """Report one bad path, ``cannot read 'a b': Permission denied``, and go on."""
        self.skipped += 1
        self.say(f"cannot {action} {quote(path)}: {reason(error)}")

    def on_bad(self, message: str) -> None:
        """Report one thing left out, and go on."""
        self.skipped += 1
        self.say(message)

    @property
    def status(self) -> int:
        return SKIPPED if self.skipped else OK


def run(
    program: str,
    usage: str,
    body: Callable[[Command], int],
    argv: Sequence[str] | None = None,
    arrange: Callable[[list[str], dict[str, bool]], list[str]] | None = None,
) -> int:
    """Parse ``argv`` by the docopt text ``usage``, run ``body``, return the exit status.

    ``arrange`` may reorder the words before docopt sees them; it is given the options
    and whether each takes a value.
    """
    command = Command(program, {})
    # What is made here by the thousand refers to nothing that refers to it. To look for that
    # as often as Python does by itself takes 3 % of a first copy.
    gc.set_threshold(100_000)
    try:
        words = list(sys.argv[1:] if argv is None else argv)
        plain = None if arrange else parse_plain(usage, words)
        command.args = plain or parse(usage, words, arrange)
        if command.args.get("--help"):
            text = short_usage(usage) if command.args.get("short") else usage
            if is_terminal(sys.stdout):
                text = usage_in_rows(text, terminal_width(sys.stdout))
            write_all(1, (text.strip() + "\n").encode())
            return OK
        if command.args.get("--version"):
            write_all(1, f"{program} {__version__}\n".encode())
            return OK
        return body(command)
    except Stop as stop:
        if str(stop):
            command.say(str(stop))
        return stop.status
    except OutputError as error:
        # A closed reader is how a pipeline says "enough" (`fr-walk . | head`).
        if error.errno == errno.EPIPE:
            return OK
        command.say(f"cannot write output: {error}")
        return IO_ERROR
    except KeyboardInterrupt:
        return BySignal(INTERRUPTED)
    except Exception as error:
        # In one line, whole with --debugging.
        if command.args.get("--debugging") or os.environ.get("FILEREP_DEBUG"):
            import traceback

            traceback.print_exc()
        said = refused(error)
        if said:
            command.say(said)
            return OS_ERROR
        words_ = f"{type(error).__name__}: {error}".replace("\n", " ")
        command.say(f"internal error, please report it: {words_}")
        return BUG


def leave(status: int) -> NoReturn:
    """End the process, without freeing one by one what goes with it anyway."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # AttributeError: it was closed
            pass
    if isinstance(status, BySignal):
        import signal

        signal.signal(status - 128, signal.SIG_DFL)
        os.kill(os.getpid(), status - 128)
    os._exit(status)


def usage(spec: Optional[ModuleSpec]) -> str:
    """The docstring of a program that `python -OO` has started without any."""
    import ast

    source = getattr(spec and spec.loader, "get_source", lambda name: "")
    return ast.get_docstring(ast.parse(source(spec and spec.name) or ""), False) or ""


def parse(
    usage: str,
    words: list[str],
    arrange: Callable[[list[str], dict[str, bool]], list[str]] | None = None,
) -> Mapping[str, Any]:
    """The arguments as docopt's dictionary; raises ``Stop(USAGE)``.

    docopt takes any unique beginning of an option for the option and exits 1. An
    abbreviation may come to mean something else in a later version (``--clean``), so
    every option must stand here as it is spelled in the usage text.
    """
    import docopt

    if not hasattr(docopt, "parse_docstring_sections"):
        said = f"what {_python()} finds as docopt is not docopt-ng, which is needed"
        raise Stop(OS_ERROR, f"{said}; {_BRINGS}")
    sections = docopt.parse_docstring_sections(usage)
    options = docopt.parse_options(sections.after_usage)
    takes_value = {
        name: bool(option.argcount)
        for option in options
        for name in (option.short, option.longer)
        if name
    }
    if arrange:
        words = arrange(words, takes_value)
    words, typed, places = _look_over(words, takes_value, arrange is not None)
    if typed in (["-h"], ["--help"]):
        return {"--help": True, "short": typed == ["-h"]}
    if typed in (["-V"], ["--version"]):
        return {"--version": True}
    _refuse_twice(typed, options, sections.usage_body)
    try:
        args = docopt.docopt(
            _of_use(sections.usage_body, options, set(typed), places),
            words,
            default_help=False,
            options_first=arrange is not None,
        )
    except docopt.DocoptExit as error:
        said = str(error).splitlines()[0] if str(error) else ""
        said = said.replace("requires argument", "needs a value behind it")
        if not said.startswith("-"):  # docopt names an option, or prints its objects
            said = f"expected: {' or '.join(_short_forms(sections.usage_body))}"
        raise Stop(USAGE, f"{said}; see --help") from None
    names = dict.fromkeys(filter(str.isupper, sections.usage_body.split()))
    return {**names, **{one.name: one.value for one in options}, **args}


def _look_over(
    words: list[str], takes_value: dict[str, bool], options_first: bool
) -> tuple[list[str], list[str], bool]:
    """``words`` as docopt takes them, the options among them, and whether there are others.

    One that asks for the help or the version is all, whatever stands behind it. Raises ``Stop``
    for one that is no option.
    """
    rest = iter(words)
    typed: list[str] = []
    places = False
    for word in rest:
        if word == "--":
            # docopt would take it for a word itself, and what follows for options.
            behind = [f"./{one}" if one.startswith("-") else one for one in rest]
            words = words[: len(words) - len(behind) - 1] + behind
            break
        if not word.startswith("-") or word == "-":
            places = True
            if options_first:
                break
            continue
        name = word.partition("=")[0] if word.startswith("--") else word[:2]
        if name not in takes_value and name != "-h":
            hint = close_to(name, takes_value)
            raise Stop(USAGE, f"unknown option {quote(name)}; {hint}")
        several = word[1:] if word[:2] == name and not takes_value.get(name) else ""
        these = [f"-{letter}" for letter in several] or [name]
        for one in these:
            if one in ("-h", "--help", "-V", "--version"):
                return words, [one], places
        if takes_value[name] and word == name:
            next(rest, None)
        typed += these
    return words, typed, places


def _refuse_twice(typed: list[str], options: list[Any], body: str) -> None:
    """Raise ``Stop`` for an option that is typed twice, and may not be."""
    for one in options:
        names = (one.short, one.longer)
        given = [name for name in typed if name in names]
        if len(given) > 1 and not any(
            f"[{name}]..." in body or f"[{name} " in body for name in names if name
        ):
            raise Stop(USAGE, f"{given[1]} is given twice; see --help")


def parse_plain(usage: str, words: list[str]) -> Mapping[str, Any] | None:
    """What ``parse`` gives where no option is among ``words``, and each place has one.

    None for all else. docopt has nothing to do there, and to load it takes half as long
    as all the rest of a program's start.
    """
    body, _, rest = usage.partition("Usage:\n")[2].partition("\n\n")
    places = [word for word in body.split() if word.isalpha() and word.isupper()]
    if len(places) != len(words) or any(word.startswith("-") for word in words):
        return None
    args: dict[str, Any] = dict(zip(places, words))
    for option in rest.split("\n  -")[1:]:
        names = f"-{option}".partition("\n")[0].partition("  ")[0].replace(",", "")
        longer = next(name for name in names.split() if name.startswith("--"))
        takes_value = not names.split()[-1].startswith("-")
        if f"[{names}]..." in " ".join(body.split()):
            args[longer] = [] if takes_value else 0
        elif "[default: " in option:
            args[longer] = option.partition("[default: ")[2].partition("]")[0]
        else:
            args[longer] = None if takes_value else False
    return args


def _of_use(body: str, options: list[Any], typed: set[str], places: bool) -> str:
    """A usage text with the one form that has ``places``, or has none, and few options.

    What docopt does grows with the square of all the options in all the forms: those will do
    that were ``typed``, or stand in that form by their names.
    """
    program, forms = _forms(body)
    form = next((one for one in forms if places == bool(one[1:])), forms[0])
    needed = typed | {word.strip("[]") for word in form}
    lines = []
    for one in options:
        if needed & {one.short, one.longer}:
            value = " VALUE" if one.argcount else ""
            default = f"  [default: {one.value}]" if value and one.value else ""
            spelled = ", ".join(filter(None, (one.short, one.longer)))
            lines.append(f"  {spelled}{value}{default}\n")
    return f"Usage:\n  {program} {' '.join(form)}\n\nOptions:\n{''.join(lines)}"


def _forms(body: str) -> tuple[str, list[list[str]]]:
    """The program, and the words behind it in each of its forms."""
    program, *words = body.split()
    forms: list[list[str]] = [[]]
    for word in words:
        if word == program:
            forms.append([])
        else:
            forms[-1].append(word)
    return program, forms


def _short_forms(body: str) -> list[str]:
    """Each form that has more than options, which are but named as such."""
    program, forms = _forms(body)
    apart = ("[--", "PATTERN]", "FILE]", "WORD]")
    kept = [[one for one in words if not one.startswith(apart)] for words in forms]
    return [f"{program} {' '.join(one)}" for one in kept if one[1:]]


def short_usage(usage: str) -> str:
    """What ``-h`` shows of a usage text that has more: the most of use, on one screen.

    That is the summary, the usage without what `[options]` stands for, of each option in the
    section `Options` the first line, and the examples.
    """
    if "\n  --help " not in usage:
        return usage
    summary, form, *parts = usage.strip().split("\n\n")
    shown = [f"  {one}" for one in _short_forms(form.partition("\n")[2])]
    found = [summary, "\n".join(["Usage:", *shown])]
    for part in parts:
        if part.startswith("Options:"):
            firsts = [one for one in part.splitlines() if not one.startswith("   ")]
            found.append("\n".join(firsts))
        if part.startswith("Examples:"):
            found.append(part)
    return "\n\n".join(found)


def close_to(name: str, options: Collection[str]) -> str:
    """What may have been meant by the unknown option ``name``."""
    import difflib

    longer = [one for one in options if one.startswith("--")]
    found = difflib.get_close_matches(name, longer, 1, 0.7)
    return f"did you mean {found[0]}? see --help" if found else "see --help"


def refuse_pattern(option: str, pattern: str) -> None:
    """Raise ``Stop(USAGE)`` for what is no pattern, and would match nothing: gitignore(5)."""
    if not pattern:
        raise Stop(USAGE, f"{option} has an empty pattern; is a variable not set?")
    if pattern.startswith("./"):
        said = f"{option} {quote(pattern)} would match nothing, as in a .gitignore"
        raise Stop(USAGE, f"{said}; write {quote(pattern[1:])}")


def number(text: str, option: str) -> float:
    """``text`` as a number of 0 or more; raises ``Stop(USAGE)``.

    Three times it, in milliseconds, must be an int of C: for poll(2).
    """
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value != value:
        raise Stop(USAGE, f"{option} takes a number, not {quote(text)}")
    if value < 0:
        raise Stop(USAGE, f"{option} takes 0 or more, not {quote(text)}")
    if value > _LARGEST:
        raise Stop(USAGE, f"{option} takes at most {_LARGEST:,}, not {quote(text)}")
    return value


def descriptor(text: str | None, option: str) -> int | None:
    """The open descriptor that ``text`` names, if it names one; raises ``Stop(USAGE)``."""
    if text is None:
        return None
    try:
        os.fstat(int(text))
    except (ValueError, OverflowError, OSError):
        why = f"{option} takes an open descriptor, not {quote(text)}"
        raise Stop(USAGE, why) from None
    return int(text)


def source_root(text: str) -> bytes:
    """SRC as bytes, known to be a directory; raises ``Stop(NO_INPUT)``."""
    root = os.fsencode(text)
    try:
        if not os.path.isdir(root):
            os.stat(root)
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not root.startswith(b"/"):
            os.getcwd()  # `.` is a directory, also where that was removed
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise Stop(NO_INPUT, f"cannot open {quote(root)}: {why}") from None
    return root


def write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    """Write every byte to ``fd``, waiting as long as it takes; raises ``OutputError``."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError as error:
        raise OutputError(error) from None
