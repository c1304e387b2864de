"""What holds for every source."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from models.data.items import ItemTable
from models.data.segment_grid import SEGMENT_MS_KEY
from models.data.segments import build_segment_table
from models.data.sequences import SECONDS_PER_DAY, SequenceBatch, Sequences
from models.sources import SOURCES, Source, build_sources
from tests.models.sources.inputs import catalogue, likes, score, to_sequences
from tests.support.model_inputs import BEHAVIOURS, WIDTHS, all_users, make_item_table, make_sequences

LENGTHS = (0, 1, 5, 8, 12, 7)


NEW_VIDEOS = ("creator_affinity", "category_affinity", "content_kernel", "segment_interest")  # score them


def items_with_columns() -> ItemTable:
    items = replace(make_item_table(), author_V=torch.arange(12) % 4, category_V=torch.arange(12) % 3)
    features = {
        SEGMENT_MS_KEY: torch.tensor([5000]),
        "visual.segments": torch.randn(24, WIDTHS["visual"], generator=torch.Generator().manual_seed(3)),
        "visual.segment_rows": torch.cartesian_prod(torch.arange(12), torch.arange(2)),
    }
    durations = 4000 + 3000 * torch.arange(12)
    return replace(items, segments=build_segment_table(durations, features, items.id_row_V + 1))


def build(name: str) -> Source:
    return build_sources([name], 9, BEHAVIOURS, WIDTHS)[name]  # type: ignore[return-value]


def fitted(name: str, sequences: Sequences | None = None, last_day: int | None = None) -> Source:
    source = build(name)
    sequences = make_sequences(LENGTHS, seed=6) if sequences is None else sequences
    source.init_from_statistics(sequences, items_with_columns(), last_day)
    return source


def example_batch() -> SequenceBatch:
    sequences = make_sequences()
    return sequences.padded_batch(all_users(sequences), 8)


@pytest.mark.parametrize("name", SOURCES)
def test_scores_are_finite_and_differ_between_videos(name: str) -> None:
    score_BV = fitted(name)(example_batch(), items_with_columns())
    assert score_BV.shape == (4, 12)
    assert score_BV.isfinite().all()
    assert len(score_BV[3].unique()) > 2


@pytest.mark.parametrize("name", SOURCES)
def test_nothing_is_known_before_counting_or_without_events(name: str) -> None:
    if name not in ("creator_affinity", "category_affinity", "content_kernel"):
        assert not build(name)(example_batch(), items_with_columns()).any()
    source, nothing = build(name), make_sequences((0, 0))
    source.init_from_statistics(nothing, items_with_columns())
    score_BV = source(nothing.padded_batch(torch.arange(2), 8), items_with_columns())
    assert score_BV.tolist() == [[0] * 12] * 2


@pytest.mark.parametrize("name", SOURCES)
def test_a_saved_source_scores_the_same(name: str) -> None:
    source, loaded = fitted(name), build(name)
    loaded.load_state_dict(load(save({key: x.contiguous() for key, x in source.state_dict().items()})))
    scores = [each(example_batch(), items_with_columns()) for each in (source, loaded)]
    assert torch.equal(*scores)


@pytest.mark.parametrize("name", SOURCES)
def test_a_video_outside_the_vocabulary_is_scored_by_content_and_creator_only(name: str) -> None:
    score_BV = fitted(name)(example_batch(), items_with_columns())[:, 9:]
    assert bool(score_BV.any()) == (name in NEW_VIDEOS)


@pytest.mark.parametrize("name", SOURCES)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), last_day=st.integers(0, 2))
def test_later_events_are_not_counted(name: str, seed: int, last_day: int) -> None:
    sequences = make_sequences(LENGTHS, seed=6)
    sequences.timestamp_E[:] = sequences.timestamp_E * 5  # about four days
    generator = torch.Generator().manual_seed(seed)
    later_E = sequences.timestamp_E >= (last_day + 1) * SECONDS_PER_DAY
    count = int(later_E.sum())
    changed = replace(
        sequences,
        video_E=sequences.video_E.masked_scatter(later_E, torch.randint(12, (count,), generator=generator)),
        positive_E=sequences.positive_E.masked_scatter(later_E, torch.rand(count, generator=generator) < 0.5),
        watch_ratio_E=sequences.watch_ratio_E.masked_scatter(later_E, torch.rand(count, generator=generator)),
    )
    before, after = (fitted(name, each, last_day).state_dict() for each in (sequences, changed))
    assert all(torch.equal(before[key], after[key]) for key in before)
    cut = fitted(name, sequences.until(last_day), last_day).state_dict()
    assert all(torch.equal(before[key], cut[key]) for key in before)


@pytest.mark.parametrize("name", SOURCES)
def test_padding_and_other_users_change_nothing(name: str) -> None:
    source, sequences = fitted(name), make_sequences()
    alone = torch.cat(
        [source(sequences.padded_batch(torch.tensor([u]), 8), items_with_columns()) for u in range(4)]
    )
    assert torch.allclose(source(example_batch(), items_with_columns()), alone, atol=1e-6)


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_works_with_a_later_catalogue(name: str) -> None:
    order, source, items = (
        torch.tensor([7, 10, 3, 0, 1, 2, 4, 5, 6, 8, 9, 11]),
        fitted(name),
        items_with_columns(),
    )
    batch = example_batch()
    moved = replace(batch, video_BT=order.argsort()[batch.video_BT])
    assert torch.allclose(source(moved, items.select(order)), source(batch, items)[:, order], atol=1e-6)


def test_settings_reach_their_source_and_unknown_names_are_refused() -> None:
    sources = build_sources(["ease", "popularity"], 9, settings={"ease": {"max_videos": 4}})
    assert list(sources) == ["ease", "popularity"]
    assert len(sources["ease"].row_C) == 4
    with pytest.raises(ValueError, match="unknown sources easy; known are popularity, "):
        build_sources(["easy"], 9)
    with pytest.raises(ValueError, match="unknown sources pop"):
        build_sources(["ease"], 9, settings={"pop": {}})


def test_an_empty_vocabulary_gives_0() -> None:
    items = catalogue([-1, -1])
    for source in build_sources(list(SOURCES), 0, BEHAVIOURS).values():
        source.init_from_statistics(to_sequences([likes(0, 1)]), items)
        assert score(source, [likes(0)], items).tolist() == [[0, 0]]
