"""The report: ``report.json`` for programs, ``report.html`` and pictures for people, a short table for the terminal."""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from typing import Any

from pipeline.devices.levels import table
from pipeline.evaluation import Report
from pipeline.run import write_atomically


def write_report(report: Report) -> Path:
    """Write the report into the run folder.

    Returns:
        The path of ``report.html``, one self-contained page.
    """
    from pipeline.pictures import draw_pictures

    folder = report.run.path
    for name in ("predictions.png", "devices.png"):
        (folder / name).unlink(missing_ok=True)
    pictures = draw_pictures(report, folder)
    record = report.record | {"pictures": pictures}
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    page = _page(record, folder)
    write_atomically(folder / "report.json", lambda part: part.write_text(text, encoding="utf-8"))
    write_atomically(folder / "report.html", lambda part: part.write_text(page, encoding="utf-8"))
    return folder / "report.html"


def summary(record: dict[str, Any]) -> str:
    """A short table of both epochs, and what was checked or not run."""
    lines = [f"{'':5}  {'epoch':>5}  {'accuracy':>8}  {'95 % interval':>15}  {'loss':>6}  correct"]
    for which in ("last", "best"):
        row = record["epochs"][which]
        low, high = row["wilson95"]
        interval = f"{low:.3f} to {high:.3f}"
        lines.append(
            f"{which:5}  {row['epoch']:5d}  {row['accuracy']:8.4f}  {interval:>15}  {row['loss']:6.4f}  "
            f"{row['correct']}/{row['total']}"
        )
    lines.append("best: the epoch with the highest validation accuracy, chosen on these same images, so flattered")
    on_device = [] if record["devices"] is None else table(record["devices"])
    return "\n".join([*lines, *on_device, *checks(record)])


def checks(record: dict[str, Any]) -> list[str]:
    """What was run on the images, in sentences; what was not, and what it needs."""
    parity = record["parity"]
    if record["not_run"]:
        return [
            "Not run: the whole network on the images. These figures are from the cached features alone. It needs:",
            *(f"  {reason}" for reason in record["not_run"]),
        ]
    seconds = record["seconds"]["images_end_to_end"]
    total = record["epochs"]["last"]["total"]
    lines = [f"The whole network, backbone and head, classified {total} images end to end in {seconds} s."]
    if parity is None:
        lines.append("The backbone is not the one that made the features (--other-weights), so parity was not judged.")
    else:
        verdict = "agree with" if parity["holds"] else "DIFFER from"
        lines.append(
            f"Its logits {verdict} those from the cached features: largest difference {parity['max_difference']:.1e} "
            f"(at most {parity['tolerance']:.0e} allowed)."
        )
    return lines


def _page(record: dict[str, Any], folder: Path) -> str:
    last = record["epochs"]["last"]
    low, high = last["wilson95"]
    sentence = (
        f"{last['correct']} of {last['total']} validation images are classified correctly: accuracy "
        f"{last['accuracy']:.3f}, 95 % Wilson interval {low:.3f} to {high:.3f}."
    )
    figures = "\n".join(
        f'<figure><img src="data:image/png;base64,{_base64(folder / name)}" alt="{html.escape(words)}">'
        f"<figcaption>{html.escape(words)}</figcaption></figure>"
        for name, words in record["pictures"].items()
    )
    notes = "".join(f"<p>{html.escape(line)}</p>" for line in checks(record))
    provenance = json.dumps({"run": record["run"], "features": record["features"]}, indent=2, ensure_ascii=False)
    return _TEMPLATE.format(
        title=f"Quantum transfer learning: {html.escape(', '.join(record['classes']))}",
        sentence=html.escape(sentence),
        notes=notes,
        epochs=_epoch_table(record),
        classes=_class_table(record),
        figures=figures,
        provenance=html.escape(provenance),
    )


def _epoch_table(record: dict[str, Any]) -> str:
    rows = []
    for which in ("last", "best"):
        row = record["epochs"][which]
        low, high = row["wilson95"]
        cells = (row["epoch"], f"{row['accuracy']:.4f}", f"{low:.3f} to {high:.3f}", f"{row['loss']:.4f}")
        rows.append(f'<tr><th scope="row">{which}</th>' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return "\n".join(rows)


def _class_table(record: dict[str, Any]) -> str:
    last = record["epochs"]["last"]
    rows = []
    for index, name in enumerate(record["classes"]):
        cells = [f"{last[score][index]:.3f}" for score in ("precision", "recall", "f1")] + [last["support"][index]]
        head = f'<tr><th scope="row">{html.escape(name)}</th>'
        rows.append(head + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return "\n".join(rows)


def _base64(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()


_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }}
body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; margin: 1rem 0; }}
th, td {{ padding: .3rem .8rem; text-align: left; border-bottom: 1px solid #8886; }}
figure {{ margin: 1.5rem 0; }}
img {{ max-width: 100%; background: white; }}
figcaption {{ font-size: .9rem; }}
pre {{ overflow-x: auto; font-size: .8rem; }}
.lead {{ font-size: 1.25rem; }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p class="lead">{sentence}</p>
{notes}
<h2>Last and best epoch</h2>
<p>The best epoch is the one with the highest validation accuracy. It was chosen on the very images it is scored on, so
its figure is flattered; the last epoch's is not.</p>
<table>
<thead><tr><td></td><th scope="col">epoch</th><th scope="col">accuracy</th><th scope="col">95 % interval</th>
<th scope="col">loss</th></tr></thead>
<tbody>
{epochs}
</tbody>
</table>
<h2>Classes, last epoch</h2>
<table>
<thead><tr><td></td><th scope="col">precision</th><th scope="col">recall</th><th scope="col">F1</th>
<th scope="col">images</th></tr></thead>
<tbody>
{classes}
</tbody>
</table>
{figures}
<details><summary>Where this comes from</summary>
<pre>{provenance}</pre>
</details>
</main>
</body>
</html>
"""
