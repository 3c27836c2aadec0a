"""Names of the files in a run folder: all that this program writes there, and all that it may delete."""

from __future__ import annotations

import re

HEAD, RECORD, HISTORY, CHECKPOINT = "head.safetensors", "run.json", "history.jsonl", "checkpoint.pt"
SPREAD = "heads.json"
REPORT = ("report.html", "report.json", "predictions.csv")
FIGURES = (
    *("learning_curves", "confusion_matrix", "predictions", "reliability", "projection", "contributions", "circuit"),
    *("devices", "curves"),
)
EXPORTS = ("model.onnx", "model.pth")
SEED = re.compile(r"seed-\d+")

_WHOLE = (HEAD, RECORD, HISTORY, CHECKPOINT, SPREAD, *REPORT, *EXPORTS, *(f"{name}.png" for name in FIGURES))
OURS = {*_WHOLE, *(f".{name}.part" for name in _WHOLE)}
# Left by an earlier version when a training was stopped in its first epoch.
UNFINISHED = {name for stem in (HISTORY, CHECKPOINT) for name in (stem, f".{stem}.part")}
