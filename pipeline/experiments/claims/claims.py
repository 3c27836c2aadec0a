"""Published claims, put to the test one after the other.

In: a ``ClaimsConfig``. Out: in ``config.out``, ``claims.html``, ``claims.md``, ``claims.png`` and ``claims.json``; and
below it ``blocks/``, a file for each piece of work that is done.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

from features.util.errors import InputError
from features.util.files import write_text
from features.util.provenance import versions
from pipeline.experiments.claims.claim import Claim, read_claims
from pipeline.experiments.claims.config import ClaimsConfig
from pipeline.experiments.claims.evidence import Evidence, gather
from pipeline.experiments.claims.table import document_of
from pipeline.experiments.claims.verdict import Verdict, judge
from pipeline.pages.document import as_markdown, write_document
from pipeline.training.folder import make_folder
from pipeline.util.drawing import style
from pipeline.util.records import to_record

FORMAT_VERSION = 1


def claims(config: ClaimsConfig) -> list[Verdict]:
    """Test all claims whose data are at hand, then write the table.

    Raises:
        InputError: For a file of claims or a folder that can't be used.
        KeyboardInterrupt: At Ctrl-C; what is trained is kept.
    """
    from tqdm import tqdm

    started = time.perf_counter()
    asked = [(claim, data) for claim in read_claims(config) for data in claim.data]
    make_folder(config.out)
    found: list[tuple[Claim, str, Evidence | str]] = []
    for claim, data in asked:
        print(f"{claim.name}, {data}: {claim.statement}")
        try:
            found.append((claim, data, gather(config, claim, data)))
        except InputError as error:
            print(f"skipped: {error}")
            found.append((claim, data, str(error)))
    bar = tqdm(found, unit="test", desc="false positives", disable=None)
    rates = [each.false_positives(config.simulations) if isinstance(each, Evidence) else None for _, _, each in bar]
    verdicts = judge(found, config.simulations, rates)
    record = {
        "format_version": FORMAT_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": to_record(config),
        "versions": versions(),
        "seconds": round(time.perf_counter() - started, 1),
        "verdicts": to_record(verdicts),
    }
    write_text(config.out / "claims.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    with style():
        document = document_of(verdicts, config, time.perf_counter() - started)
        page = write_document(document, config.out, "claims")
    print(f"\n{as_markdown(document, with_figures=False)}\n")
    print(f"{page}: verdicts, figure and claims; the same in claims.md, all numbers in claims.json")
    return verdicts
