"""All rows of the table, in its order. Their functions are imported when they run, because flags name rows."""

from __future__ import annotations

from features.util.commands import Late
from pipeline.experiments.paper.row import Row

ROWS = (
    Row(
        name="cc",
        system="CC",
        words="ResNet18 → linear or classical head, ants / bees",
        published=0.9542,
        published_time="9 min 56 s",
        prepare=Late("pipeline.experiments.paper.images:prepare_cc"),
    ),
    Row(
        name="cq",
        system="CQ",
        words="ResNet18 → dressed quantum head, ants / bees",
        published=0.9673,
        published_time="87 min 21 s",
        prepare=Late("pipeline.experiments.paper.images:prepare_cq"),
    ),
    Row(
        name="cats-dogs",
        system="CQ",
        words="ResNet18 → dressed quantum head, CIFAR-10 cats / dogs",
        published=0.8270,
        published_time="676 min",
        prepare=Late("pipeline.experiments.paper.images:prepare_cats_dogs"),
    ),
    Row(
        name="planes-cars",
        system="CQ",
        words="ResNet18 → dressed quantum head, CIFAR-10 planes / cars",
        published=0.9605,
        published_time="478 min",
        prepare=Late("pipeline.experiments.paper.images:prepare_planes_cars"),
    ),
    Row(
        name="spirals",
        system="dressed circuit",
        words="the dressed circuit alone, two spirals",
        published=0.970,
        published_time="669 min",
        prepare=Late("pipeline.experiments.paper.plane.tasks:prepare_spirals"),
    ),
    Row(
        name="shapes",
        system="dressed circuit",
        words="the dressed circuit alone, square and moons",
        published=0.930,
        published_time="114 min",
        prepare=Late("pipeline.experiments.paper.plane.tasks:prepare_shapes"),
    ),
    Row(
        name="qc",
        system="QC",
        words="pretrained quantum network → linear head, tetromino states",
        published=0.8067,
        published_time="2 s a batch",
        prepare=Late("pipeline.experiments.paper.states.transfer:prepare_qc"),
    ),
    Row(
        name="qq",
        system="QQ",
        words="pretrained quantum network → quantum layers, tetromino states",
        published=0.8755,
        published_time="0.05 s a batch",
        prepare=Late("pipeline.experiments.paper.states.transfer:prepare_qq"),
    ),
)
