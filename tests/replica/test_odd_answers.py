"""A far end that answers nonsense: the connection ends with a reason, and nothing is lost."""

from __future__ import annotations

import os
import random
import re
import select
import shlex
from pathlib import Path

import pytest
from fuzz import each_seed, hunts
from memory import at_most

from filerep.command import OutputError, Stop
from filerep.farend import answers
from filerep.farend.abilities import Far, heard
from filerep.farend.answers import Answers, understood
from filerep.farend.connection import Connection, Output
from filerep.replica.conversation import Conversation
from filerep.replica.known import entries
from filerep.replica.known.table import Table
from filerep.replica.options import Here, Options, Removal, Tell, Transfer
from filerep.source import Source

HERE = [b"a", b"b", b"d/a", b"d/e/b"]
GONE = [b"gone", b"d/gone"]
OWN = [b"own", b"d/own"]  # only at the far end
ROUNDS = 500
ODD = [b"9" * 5000, b"-1", b"", b"x", b"\xff", b"1" * 10, b"0x1", b"\xd9\xa3"]


class FarEnd(Output):
    """Standard output, whose other end answers each batch as it is told."""

    def __init__(self, fd: int, into: int, heard: Answers, dice: random.Random) -> None:
        super().__init__(fd, heard, 0.3)
        self._into = into
        self._dice = dice
        self.removed: set[bytes] = set()

    def write(self, data: bytes | memoryview) -> None:
        text = bytes(data)
        for words in re.findall(rb"&& (?:del|rmd) ([^\n]*)", text):
            self.removed |= {
                os.fsencode(one)[2:] for one in shlex.split(os.fsdecode(words))
            }
        for number in re.findall(rb"batch (\d+) \d+\n", text):
            self._answer(int(number), text)

    def _answer(self, number: int, text: bytes) -> None:
        dice = self._dice
        said = b"".join(
            line(dice, number) + b"\n" for _ in range(dice.choice([0, 0, 1, 3]))
        )
        if b"echo listing" in text and dice.random() < 0.8:
            said += b"listing\n" + listed(dice) + b"\0\0end\0"
        said += b"bye\n" if b"\nfinish\n" in text else b"ok %d\n" % number
        if dice.random() < 0.1:
            said = said[: dice.randrange(len(said))]
        if dice.random() < 0.1:
            said = dice.randbytes(dice.randrange(2000)) + said
        if dice.random() < 0.1:
            said += b"ok %d\n" % (number + dice.randrange(3))
        os.write(self._into, said)
        if dice.random() < 0.1:
            os.close(self._into)
            self._into = os.open(os.devnull, os.O_WRONLY)

    def close(self) -> None:
        os.close(self._into)


def line(dice: random.Random, number: int) -> bytes:
    """An answer, right or nearly right or neither."""
    word = dice.choice(
        b"ok failed torn bad lost there kept mode aside stale hook tools error bye again taken"
        b" listing other".split()
    )
    numbers = [b"%d" % number] * 6 + [b"%d" % dice.randrange(9), *ODD]
    others = [b"%d" % dice.randrange(12)] * 12 + ODD
    words = [
        word,
        dice.choice(numbers),
        dice.choice(others),
        dice.choice([b"why", b""]),
    ]
    return b" ".join(words[: dice.choice([1, 2, 3, 4, 4, 4])])


def listed(dice: random.Random) -> bytes:
    """A listing in find's form, right or nearly right."""
    parts = []
    for directory in (b".", b"./d", b"./d/e", b"./other"):
        parts.append(b"\0\0%s/.\0" % directory)
        for path in HERE + GONE + OWN + [b"x/../../y", b"..", b"d", b"d/e"]:
            above, _, name = path.rpartition(b"/")
            if (b"./" + above).rstrip(b"/") == directory and dice.random() < 0.8:
                letter = b"d" if path in (b"d", b"d/e") else dice.choice([b"f", b"l"])
                size = dice.choice([b"1", b"7", dice.choice(ODD)])
                time = dice.choice([b"1.5", b"1600000000.0", dice.choice(ODD)])
                parts.append(b"%s 644 %s %s %s\0\0" % (letter, size, time, name))
    if dice.random() < 0.2:
        dice.shuffle(parts)
    return b"".join(parts)


def converse(source: Source, status: os.stat_result, dice: random.Random) -> set[bytes]:
    """One connection to such a far end; what it was told to remove."""
    table = Table()
    for path in HERE + GONE:
        table.put(path, entries.entry(status, entries.OURS | entries.UNSEEN))
    far = Far("staging=.filerep-x-1 tar=gnu list=find empty=%d" % (dice.random() < 0.2))
    answer, into = os.pipe()
    urgent, names = os.pipe()
    heard = Answers(answer, far)
    out = FarEnd(os.open(os.devnull, os.O_WRONLY), into, heard, dice)
    os.write(names, b"\0".join([*HERE, b"gone", b"d/", b".", b"a", b""]))
    os.close(names)
    say = lambda *_: None
    talk = Conversation(
        Here(source, table, None, None),
        Connection(far, heard, out),
        Options(Removal(), Transfer(), keepalive=0.02),
        Tell(say, say, say),
    )
    try:
        talk.run(-1, urgent, -1, -1)
    except Stop as stop:
        assert str(stop).isprintable() and len(str(stop)) <= 1000
    finally:
        out.close()
        for fd in (answer, urgent, out.fd):
            os.close(fd)
    return out.removed


@hunts
def test_nonsense_is_a_lost_connection_and_removes_nothing_it_should_not(
    tmp_path: Path,
) -> None:
    for path in HERE:
        place = tmp_path / os.fsdecode(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path)
    removed: set[bytes] = set()
    source, status = Source(os.fsencode(tmp_path)), os.stat(tmp_path / "a")

    def one(dice: random.Random) -> None:
        with at_most(64 << 20):
            now = converse(source, status, dice)
        # What is a directory here may be a file there, which is in its way.
        assert now <= {*GONE, b"d", b"d/e"}
        removed.update(now)

    each_seed(ROUNDS, one)
    assert removed  # it comes as far as that


@pytest.mark.parametrize("word", [b"ok", b"bad", b"failed", b"hook", b"torn", b"tools"])
@pytest.mark.parametrize("number", ODD)
def test_a_number_that_is_none_makes_no_sense(word: bytes, number: bytes) -> None:
    with pytest.raises(Stop, match="makes no sense"):
        understood(word + b" " + number)


def test_a_line_that_is_no_answer_is_passed_over() -> None:
    for one in (b"", b"hello", b"okay 1", bytes([255, 254])):
        assert understood(one) is None


@pytest.mark.parametrize(
    "said, why",
    [
        (b"x" * 1000, "a line without end"),
        (b"bad 1 0 why\n" * 100, "without end"),
        (b"filerep-1 hook 0\n" * 100, "on-sync"),
        (b"listing\n", "nobody asked for"),
    ],
)
def test_what_has_no_end_is_not_kept(said: bytes, why: str) -> None:
    heard = Answers(os.open("/dev/null", os.O_RDONLY), Far("staging=.filerep-x-1"))
    reader, writer = os.pipe()
    heard.fd = reader
    os.set_blocking(writer, False)
    with at_most(64 << 20), pytest.raises(Stop, match=why):
        while True:
            while select.select([], [writer], [], 0)[1]:
                os.write(writer, said[:4000])
            heard.fill()
            if b"listing" in said or b"xx" in said:
                list(heard.take())
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(
    ("said", "ends", "why"),
    [
        (b"ok 1\nfilerep-1 error too full\n", True, "too full"),
        (b"ok 1\nfilerep-1 taken\n", True, "another run of the same source"),
        (b"ok 1\n", True, "Broken pipe"),
        (b"ok 1\n", False, "Broken pipe"),
    ],
)
def test_who_reads_no_more_may_have_said_why(said: bytes, ends: bool, why: str) -> None:
    reader, writer = os.pipe()
    nobody, out = os.pipe()
    os.close(nobody)
    os.write(writer, said)
    if ends:
        os.close(writer)
    output = Output(out, Answers(reader, Far("staging=.filerep-x-1")), 0)
    with pytest.raises((Stop, OutputError), match=why):
        output.write(b"batch")
    os.close(reader)
    os.close(out)


def test_a_listing_has_a_bound_that_grows_with_the_tree(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answers, "_MOST_LISTING", 1000)
    monkeypatch.setattr(answers, "_MOST_LINES", 1000)
    row = b"f 644 1 1.0 name\0\0"
    for known, size, good in ((0, 1500, True), (0, 3000, False), (10, 3000, True)):
        reader, writer = os.pipe()
        heard = Answers(reader, Far("staging=.filerep-x-1 list=find"))
        heard.expect_listing(known)
        os.write(writer, b"listing\n" + row * (size // len(row)))
        try:
            heard.fill()
            assert good
        except Stop as stop:
            assert not good and "--exclude" in str(stop)
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize(
    "words", ["", "tar", "tar=\udcff list=unknown full=2", "list=none tar=x"]
)
def test_a_ready_line_that_says_nothing_sensible_is_one_of_a_plain_far_end(
    words: str,
) -> None:
    found = heard(words)
    assert (found["tar"], found["list"], found["full"]) == ("other", "none", "")
    far = Far(f"staging=x way=inf {words}")
    assert far.counted and not far.precise and far.way == 0
