"""Plot ``results/upsert.json`` as ``results/upsert.svg``, for the README."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

RESULTS = Path(__file__).parent / "results"
NAMES = {
    "loop": "requests.post in a loop",
    "http_hook": "HttpHook",
    "pymilvus": "pymilvus (gRPC)",
    "list": "this provider, list",
    "jsonl": "this provider, JSONL",
    "parquet": "this provider, Parquet",
    "ceiling": "the endpoint\u2019s ceiling",
}


def main() -> None:
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "upsert"
    from matplotlib import pyplot

    found = json.loads((RESULTS / "upsert.json").read_text())
    names = [name for name in NAMES if name in found["medians"]][::-1]
    rates = [found["medians"][name]["rows_per_second"] for name in names]
    colours = ["#c8c8c8" if name == "ceiling" else "#1f9bcf" if "this" in NAMES[name] else "#8a8a8a" for name in names]
    figure, axes = pyplot.subplots(figsize=(7, 2.8))
    bars = axes.barh([NAMES[name] for name in names], rates, color=colours)
    axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=4)
    axes.set_title(f"Rows/s, 768 dimensions, {found['batch']} rows a request, client and server on 2 cores", fontsize=9)
    axes.set_xticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.margins(x=0.12)
    figure.tight_layout()
    figure.savefig(RESULTS / "upsert.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
