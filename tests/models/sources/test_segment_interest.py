"""Segment interest as a source."""

from dataclasses import replace

import torch

from models.data.items import ItemTable
from models.data.segment_grid import MAX_SEGMENTS, SEGMENT_MS_KEY
from models.data.segments import build_segment_table
from models.segments.segment_interest import expected_watch_share, stay_probabilities
from models.sources.segment_interest import SegmentSource
from tests.models.sources.inputs import Event, batch_of, catalogue, to_sequences

USERS = [[Event(0, watch_ratio=0.5), Event(1, watch_ratio=1.0)], [Event(1, watch_ratio=0.1)], []]
DURATIONS = torch.tensor([8000, 12_000, 30_000, 0])
MEAN_SHARE = (0.5 + 1.0 + 0.1) / 3


def _items(durations: torch.Tensor = DURATIONS) -> ItemTable:
    items = catalogue([0, 1, 2, 3])
    features = {SEGMENT_MS_KEY: torch.tensor([5000])}
    return replace(items, segments=build_segment_table(durations, features, items.id_row_V + 1))


def _source() -> SegmentSource:
    torch.manual_seed(0)
    source = SegmentSource(4, {"visual": 3, "text": 2})
    for parameter in source.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    source.init_from_statistics(to_sequences(USERS), _items())
    return source


def test_the_score_is_the_expected_watch_share_minus_the_average():
    source, items, batch = _source(), _items(), batch_of(USERS)
    assert items.segments is not None
    user_N, row_N = torch.cartesian_prod(torch.arange(3), torch.arange(3)).unbind(1)
    share_N = expected_watch_share(*source.segment_curves(batch, items.segments, user_N, row_N))
    torch.testing.assert_close(source(batch, items)[:, :3].flatten(), share_N - MEAN_SHARE)
    assert source(batch, items).min() >= -MEAN_SHARE


def test_a_video_of_unknown_duration_has_the_score_0():
    assert not _source()(batch_of(USERS), _items())[:, 3].any()


def test_without_segments_all_scores_are_0():
    for items in (replace(_items(), segments=None), _items(torch.zeros(4).long())):
        assert not _source()(batch_of(USERS), items).any()


def test_a_user_without_events_has_a_curve_too():
    items = _items()
    assert items.segments is not None
    p_NT, mask_NT = _source().segment_curves(
        batch_of(USERS), items.segments, torch.tensor([2]), torch.tensor([1])
    )
    assert mask_NT[0].tolist() == [True] * 3 + [False] * 3
    assert stay_probabilities(p_NT, mask_NT).isfinite().all()


def test_scores_of_some_videos_equal_those_of_the_catalogue():
    source, items, batch = _source(), _items(), batch_of(USERS)
    rows_C = torch.tensor([2, 0])
    torch.testing.assert_close(source.scores(batch, items, rows_C), source(batch, items)[:, rows_C])


def test_a_very_long_video_is_read_up_to_its_last_segment():
    items = _items(torch.tensor([10**7, 12_000, 30_000, 0]))
    assert items.segments is not None
    assert items.segments.max_segments == MAX_SEGMENTS
    assert _source()(batch_of(USERS), items).isfinite().all()


def test_forgotten_videos_look_like_unknown_ones():
    source, items, batch = _source(), _items(), batch_of([[]])
    assert items.segments is not None
    source.forget_ids(torch.tensor([2]))
    ids = torch.tensor([1, 0, 3, 4])
    unknown = replace(items, segments=replace(items.segments, id_row_V=ids))
    assert torch.equal(source(batch, items), source(batch, unknown))


def test_a_source_does_not_change_the_random_numbers_that_follow():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    SegmentSource(4, {"visual": 3})
    assert torch.rand(1) == expected
