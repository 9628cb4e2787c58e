"""PROTOCOL.md has every word that either end says."""

from __future__ import annotations

import re

from programs import ROOT

from filerep.farend import answers
from filerep.farend.batch import Batch
from filerep.farend.shell import script_text
from filerep.replica.scheduling.inflight import Flight, Sent
from filerep.replica.transfer.pace import Pace

FAREND = ROOT / "filerep/farend"
REUSE = script_text("reuse").decode()
PAGE = (FAREND / "PROTOCOL.md").read_text()
SCRIPTS = "".join(path.read_text() for path in sorted(FAREND.glob("scripts/*.sh")))


def first_words(heading: str) -> set[str]:
    """The first word of each row of the tables below ``heading``."""
    section = PAGE.partition(f"\n## {heading}")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `(?:filerep-NONCE )?(\w+)", section, re.M))


def test_each_answer_of_the_receiver_is_in_the_protocol() -> None:
    said = set(re.findall(r'(?:tell|echo) "?(?:-s )?(\w+) \$n', SCRIPTS))
    said |= set(re.findall(r"\becho (bye)\b", SCRIPTS))
    assert {"ok", "failed", "bad", "lost", "there", "kept", "bye"} <= said
    assert said <= first_words("5. ")


def test_each_answer_in_the_protocol_is_understood() -> None:
    words = first_words("5. ") - {"listing", "working"}  # which are for who waits
    assert {"ok", "modes", "stale", "bye"} <= words
    assert words <= {word.decode() for word in answers._FORMS}


def test_each_word_that_is_told_at_the_start_is_in_the_protocol() -> None:
    said = set()
    for line in re.findall(r'"filerep-\$nonce (here .*)"|say (ready .*)"', SCRIPTS):
        words = re.findall(r"(\w+)=", "".join(line))
        step, *_ = "".join(line).split()
        (shown,) = re.findall(rf"`filerep-NONCE {step} (.*)`", PAGE)
        assert re.findall(r"(\w+)=", shown) == words
        said |= set(words)
    assert {"ids", "tar", "empty"} <= said
    assert said <= first_words("2. ")


def test_each_verb_of_a_commit_is_in_the_protocol() -> None:
    commit = "".join((FAREND / name).read_text() for name in ("commit.py", "making.py"))
    verbs = set(re.findall(r'_removing\(b"(\w+)"|\.line\(\s*b"(\w+)"', commit))
    words = {word for pair in verbs for word in pair if word}
    assert {"del", "rmd", "mod", "put", "given", "sums", "retain"} <= words
    section = PAGE.partition("\n## 4. ")[2].partition("\n## ")[0]
    for word in words:
        assert f"&& {word} " in section
        assert f"\n{word}() " in script_text("receiver").decode() + REUSE


def test_each_way_of_reuse_is_in_the_protocol() -> None:
    verbs = re.findall(r'b"(\w+)"', (FAREND / "ways.py").read_text())
    section = PAGE.partition("\n### 4a. ")[2].partition("\n## ")[0]
    assert {"keep", "take", "piece"} <= set(verbs)
    for verb in [*verbs, "copy", "build", "last"]:
        assert f"&& {verb} " in section or f"; all $? {verb} " in section
        assert f"\n{verb}() " in REUSE


def test_no_script_has_a_function_of_anothers_name() -> None:
    # They are in one shell. One of the reuse took the place of one that clears up.
    one_of = {"unpack_counted", "unpack_gnu"}  # never both
    found: dict[str, str] = {}
    for file in sorted((FAREND / "scripts").glob("*.sh")):
        for name in set(re.findall(r"^(\w+)\(\)", file.read_text(), re.MULTILINE)):
            other = found.setdefault(name, file.stem)
            assert other == file.stem or {other, file.stem} == one_of, (name, other)
    assert {"put", "build", "unpack"} <= set(found)


def test_nothing_is_written_or_run_by_the_name_of_the_staging_directory() -> None:
    """Somebody else's link may have that: `hold` of receiver.sh has another name."""
    assert '>"$H/' in SCRIPTS and '. "$H/' in SCRIPTS
    assert not re.findall(r'(?:>|\. |f=)"?\$S/.*', SCRIPTS)


def test_the_receiver_knows_how_many_batches_may_be_under_way() -> None:
    behind = re.findall(r"astray=\$\(\(n \+ (\d+)\)\)", SCRIPTS)
    flight = Flight()
    pace = Pace(1.0)  # which seems slow
    while not pace.enough(flight):
        flight.add(Sent(Batch(b"stage")))
    assert behind and {int(one) + 1 for one in behind} == {len(flight)}
