"""The counted baselines that every night is compared with."""

from collections.abc import Mapping

# Name -> label in texts. evaluation/baselines.py says what each ranks by.
BASELINE_LABELS: Mapping[str, str] = {
    "popularity": "Popularity",
    "trending": "Trending",
    "itemcf": "ItemCF",
    "ease": "EASE",
    "content_kernel": "Content kernel",
    "ease_trending": "EASE + trending",
    "creator_trending": "Creator + trending",
}
