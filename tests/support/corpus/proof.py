"""Whether a server confirms a case of the corpus: the old code, the script, and the old code again."""

from __future__ import annotations

from tests.support.corpus.base import BASES
from tests.support.corpus.bench import Bench, Result, Session
from tests.support.corpus.case import LITE, MA, MY, PG, Case, Effect, Harm

_ONLINE = ("ALGORITHM=INSTANT", "ALGORITHM=INPLACE, LOCK=NONE")


def problem_of(bench: Bench, case: Case) -> str | None:
    """Returns what the server contradicts in *case*; None if it confirms the case."""
    if case.harm is None:
        return _problem_of_allowed(bench, case)
    return _CHECKS[case.harm.effect](bench, case, case.harm)


def _problem_of_allowed(bench: Bench, case: Case) -> str | None:
    reference = bench.reference(case.base)
    bench.begin(case)
    files = bench.filenodes() if bench.product == PG else {}
    with bench.session() as session:
        refusal = _run_online(bench, session, case)
        if refusal is not None:
            return refusal
        after = bench.old_code(BASES[case.base], 2)
    for key, result in after.items():
        if result != reference[key]:
            return f"{key}: {result}; without the script: {reference[key]}"
    if bench.product == PG:
        now = bench.filenodes()
        rewritten = [table for table, file in files.items() if now.get(table) != file]
        return f"rewritten: {', '.join(rewritten)}" if rewritten else None
    return None


def _run_online(bench: Bench, session: Session, case: Case) -> str | None:
    """Executes the script, in a form that lets writers go on; returns why the server accepts none."""
    script = bench.script(case)
    optimized = script.removeprefix("OPTIMIZE TABLE ")
    if optimized != script:
        script = f"ALTER TABLE {optimized} FORCE"  # what the server does for it
    if bench.product not in (MY, MA) or not _has_online_form(script):
        session.run(script)
        return None
    refusals = []
    for form in _ONLINE:
        options = f", {form}" if script.upper().startswith("ALTER") else f" {form.replace(',', '')}"
        try:
            session.run(script + options)
        except session.driver_error as error:
            refusals.append(f"{form}: {error}")
        else:
            return None
    return f"writers wait for the copy: {'; '.join(refusals)}"


def _has_online_form(script: str) -> bool:
    """Whether *script* is one statement that takes ALGORITHM and LOCK, and has none."""
    upper = script.upper()
    words = upper.split()
    alters = words[:2] == ["ALTER", "TABLE"] and "PARTITION" not in words and "RENAME TO" not in upper
    creates = words[0] == "CREATE" and "INDEX" in words[:3]
    return (
        ";" not in script
        and "ALGORITHM" not in upper
        and "IF NOT EXISTS" not in upper
        and (alters or creates)
    )


def _second_round(bench: Bench, case: Case) -> dict[str, Result]:
    """Returns the results of the second round, after the script."""
    bench.begin(case)
    with bench.session() as session:
        session.run(bench.script(case))
        return bench.old_code(BASES[case.base], 2)


def _not_broken(bench: Bench, case: Case, harm: Harm) -> str | None:
    bench.reference(case.base)
    results = _second_round(bench, case)
    if results[harm.what].error:
        return None
    failed = {key: result.error for key, result in results.items() if result.error}
    return f"{harm.what} does not fail: {results[harm.what]}; those that fail: {failed}"


def _not_wrong(bench: Bench, case: Case, harm: Harm) -> str | None:
    reference = bench.reference(case.base)
    results = _second_round(bench, case)
    result = results[harm.what]
    if result.error is None and result != reference[harm.what]:
        return None
    other = {key: str(result) for key, result in results.items() if result != reference[key]}
    return f"{harm.what} has the same result: {result}; those with another result: {other}"


def _not_lost(bench: Bench, case: Case, harm: Harm) -> str | None:
    reference = bench.reference(case.base)
    results = _second_round(bench, case)
    result = results[harm.what]
    if result.error is None and len(result.rows) < len(reference[harm.what].rows):
        return None
    other = {key: str(result) for key, result in results.items() if result != reference[key]}
    return f"{harm.what} returns all rows: {result}; other results: {other}"


def _not_rewritten(bench: Bench, case: Case, harm: Harm) -> str | None:
    if bench.product != PG:
        bench.reset(BASES[case.base])
        with bench.session() as session:
            online = _run_online(bench, session, case) is None
        return f"{harm.what}: an online form is accepted" if online else None
    bench.begin(case)
    before = bench.filenodes()
    with bench.session() as session:
        session.run(bench.script(case))
    return None if bench.filenodes()[harm.what] != before[harm.what] else f"{harm.what} is not rewritten"


def _not_scanned(bench: Bench, case: Case, harm: Harm) -> str | None:
    bench.begin(case)
    with bench.session() as session:
        session.run("BEGIN; " + bench.script(case))
        scans = session.answer(_SCANS.format(harm.what)).rows[0][0]
        exclusive = session.answer(_EXCLUSIVE.format(harm.what)).rows[0][0]
    return (
        None if scans and exclusive else f"{harm.what}: {scans} scans, {exclusive} locks that block writers"
    )


_SCANS = "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relid = '{}'::regclass"
_EXCLUSIVE = (
    "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation = '{}'::regclass"
    " AND mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock')"
)


def _not_blocked(bench: Bench, case: Case, harm: Harm) -> str | None:
    bench.reference(case.base)
    bench.begin(case)
    base = BASES[case.base]
    statement = next(statement for statement in base.old_code if statement.key == harm.what)
    with bench.session() as session, bench.session() as other:
        session.run(_OPEN[bench.product] + bench.script(case))
        bench.make_impatient(other)
        result = other.answer(statement.on(bench.product).format(n=2))
    return None if result.error else f"{harm.what} is not blocked: {result}"


_OPEN = {PG: "BEGIN; ", MY: "", MA: "", LITE: ""}


def _not_failed(bench: Bench, case: Case, harm: Harm) -> str | None:
    bench.begin(case)
    with bench.session() as session:
        try:
            session.run(bench.script(case))
        except session.driver_error as error:
            return None if harm.what.lower() in str(error).lower() else f"fails, but says: {error}"
    return "the script does not fail"


_CHECKS = {
    Effect.BREAKS: _not_broken,
    Effect.WRONG: _not_wrong,
    Effect.LOST: _not_lost,
    Effect.REWRITE: _not_rewritten,
    Effect.SCANS: _not_scanned,
    Effect.BLOCKS: _not_blocked,
    Effect.FAILS: _not_failed,
}
