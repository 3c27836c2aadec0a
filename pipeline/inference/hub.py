"""A whole network on the Hugging Face hub: ``huggingface_hub``'s mixin around what ``HybridClassifier`` saves.

In: a classifier, or the name of a repository or folder. Out: the same with a model card, or the classifier.
:mod:`pipeline.inference.hybrid` imports this when it is used, because huggingface_hub is an extra (``hub``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from huggingface_hub import ModelCard, ModelHubMixin, hf_hub_download

from features.util.errors import InputError, shortened
from pipeline.heads.registry import HEADS
from pipeline.inference.saved import CONFIG, MODEL, configuration, holds_network

CARD = "README.md"


class OnHub(
    ModelHubMixin,
    library_name="quantum-transfer",
    pipeline_tag="image-classification",
    tags=["quantum-machine-learning", "transfer-learning", "pennylane"],
):
    """A classifier with the mixin's ``save_pretrained``, ``push_to_hub`` and ``from_pretrained``.

    Args:
        classifier: A ``HybridClassifier``.
    """

    def __init__(self, classifier: Any) -> None:
        self.classifier = classifier

    def generate_model_card(self, *_: Any, **values: Any) -> ModelCard:
        """The card of the classifier, for a repository ``repo_id`` if that is given."""
        return self._card(self.classifier.config(), **values)

    def _save_pretrained(self, save_directory: Path) -> None:
        # The mixin keeps a card that is there. One that nobody has edited would tell of the network before.
        card = save_directory / CARD
        if card.exists() and holds_network(save_directory):
            before = self._card(configuration(save_directory / MODEL))
            if card.read_text(encoding="utf-8") == str(before):
                card.unlink()
        self.classifier.save(save_directory)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        **given: Any,  # ours, and options of earlier versions of the mixin
    ) -> Self:
        if Path(model_id).is_dir():
            return cls(given["load"](model_id))
        # It alone is the network; the mixin has got config.json beside it.
        model = hf_hub_download(
            model_id,
            MODEL,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
        )
        folder = Path(model).parent
        circuit = configuration(folder / MODEL)["provenance"]["run"]["circuit"]
        if circuit is not None and circuit["source"] is not None and not given["trust_remote_code"]:
            raise InputError(
                f"{model_id} brings the code of its circuit, {circuit['name']}, which would run on this machine; read "
                f"it in {folder / CONFIG}, then give trust_remote_code=True"
            )
        return cls(given["load"](folder))

    @classmethod
    def _card(cls, config: dict[str, Any], repo_id: str = "FOLDER", **_: Any) -> ModelCard:
        data = cls._hub_mixin_info.model_card_data.to_yaml()
        return ModelCard(f"---\n{data}\n---\n\n{_text(config, repo_id)}", ignore_metadata_errors=True)


def _text(config: dict[str, Any], repo_id: str) -> str:
    """What a card says of a network, in Markdown."""
    provenance, classes = config["provenance"], config["classes"]
    run, tuned = provenance["run"], config["fine_tuned"]
    width, weights = run["features"]["width"], provenance["weights"]
    layer = f", layer {provenance['layer']}" if provenance["layer"] else ""
    named = shortened(classes)
    trained_on = f"{run['features']['data']}, {provenance['epoch']} epochs on precomputed features"
    further = f"; {' and '.join(tuned)} trained further since" if tuned else ""
    rows = [
        f"| classes | {len(classes)}: {named} |",
        f"| backbone | {provenance['backbone']}{layer}, {width} features; weights: {weights} |",
        f"| head | {_head(run)} |",
        f"| trained on | {trained_on}{further} |",
        f"| accuracy | {_accuracy(provenance, tuned)} |",
    ]
    return f"""\
# Pictures of {len(classes)} classes

A network turns a picture into numbers, and a small head classifies these. Made by quantum-transfer
{config["versions"]["quantum-transfer"]}.

| | |
|---|---|
{chr(10).join(rows)}

## Use

```python
from pipeline import HybridClassifier  # pip install quantum-transfer[hub], from its repository

classifier = HybridClassifier.from_pretrained("{repo_id}")
for prediction in classifier.predict(["picture.jpg"]):
    print(prediction.label, prediction.probabilities)
```

`config.json` holds where all of it comes from: data, weights, settings, fingerprints, versions.

## The quantum part

{_quantum_part(run)}

## Licence

None is given yet: the author has to choose one. Weights of a backbone have a licence of their own, pictures too.
"""


def _head(run: dict[str, Any]) -> str:
    config, circuit = run["config"], run["circuit"]
    kind = HEADS[config["head"]].summary
    if circuit is None:
        return f"{config['head']}: {kind}"
    return f"{config['head']}: {kind}; circuit {circuit['name']}, {config['qubits']} qubits, depth {config['depth']}"


def _accuracy(provenance: dict[str, Any], tuned: list[str]) -> str:
    found = provenance["val_accuracy"]
    if found is None:
        return "not recorded"
    epochs = provenance["run"]["epochs"]
    chosen = provenance["epoch"] == epochs["best"] != epochs["last"]
    flattered = ", an epoch chosen on these pictures, so flattered" if chosen else ""
    before = "; measured before it was trained further, and not since" if tuned else ""
    return f"{found:.4f} of the validation pictures, after epoch {provenance['epoch']}{flattered}{before}"


def _quantum_part(run: dict[str, Any]) -> str:
    if run["circuit"] is None:
        return "There is none: this head has no circuit."
    return (
        "The head's circuit is simulated on an ordinary computer; no quantum processor takes part. That such a circuit "
        "classifies better than a classical layer in its place has not been shown: on the features of ants and bees, "
        "heads without it did as well. The project's command `compare` measures that on other data."
    )
