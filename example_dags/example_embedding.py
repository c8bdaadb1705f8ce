"""An embedding model for LlamaIndex that needs no network and no GPU: ``pip install 'wordllama>=0.4'``.

The package contains the model's weights (256 dimensions, MIT license).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import wordllama
from llama_index.core.embeddings import BaseEmbedding


@cache
def model() -> wordllama.WordLlamaInference:
    """The model from the package's own folder, where ``load`` alone does not look for all of its files."""
    return wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)


class LocalEmbedding(BaseEmbedding):
    """WordLlama as a LlamaIndex embedding model."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return model().embed(text, norm=True)[0].tolist()

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)
