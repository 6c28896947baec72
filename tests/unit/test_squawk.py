"""squawk, a linter for PostgreSQL, on the scripts of the corpus; each disagreement is explained."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from tests.support.corpus import CASES
from tests.support.corpus.case import PG, Case
from tests.support.corpus.squawk import (
    ONLY_CORPUS_REFUSES,
    ONLY_SQUAWK_REFUSES,
    OTHER_SUBJECT,
    Disagreement,
)

_SQUAWK = Path(sysconfig.get_path("scripts")) / "squawk"


def test_each_disagreement_with_squawk_is_explained(tmp_path: Path) -> None:
    cases = [case for case in CASES if PG in case.servers]
    warnings = _warnings_of_squawk(tmp_path, cases)
    only_squawk = {case.id for case in cases if case.additive and warnings[case.id]}
    only_corpus = {case.id for case in cases if not case.additive and not warnings[case.id]}
    assert only_squawk == _explained(ONLY_SQUAWK_REFUSES)
    assert only_corpus == _explained(ONLY_CORPUS_REFUSES)


def _warnings_of_squawk(folder: Path, cases: Iterable[Case]) -> dict[str, set[str]]:
    """Returns the rules by which squawk refuses each case, by its id."""
    for case in cases:
        (folder / f"{case.id}.sql").write_text(f"{case.servers[PG].rstrip().rstrip(';')};\n")
    files = sorted(str(file) for file in folder.glob("*.sql"))
    command = [str(_SQUAWK), "--reporter", "json", "--pg-version", "15.0", *files]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    warnings = defaultdict(set)
    for warning in json.loads(result.stdout):
        if warning["rule_name"] not in OTHER_SUBJECT:
            warnings[Path(warning["file"]).stem].add(warning["rule_name"])
    return warnings


def _explained(disagreements: Iterable[Disagreement]) -> set[str]:
    return {id for disagreement in disagreements for id in disagreement.cases}
