import numpy as np

from tests.world.worlds import days
from world.catalogue import AGREES, BROKEN, SEGMENT_SECONDS, make_videos, shelf
from world.topics import TOPICS

CALENDAR = days(videos=800, history_days=3, new_videos_per_day=20)
VIDEOS = make_videos(5, CALENDAR)


def test_frames_caption_and_sound_mostly_agree_and_sometimes_do_not():
    seen, read, heard = np.array([video.topics for video in VIDEOS]).T
    by_chance = AGREES["visual"] * AGREES["text"]
    assert by_chance < (seen == read).mean() < by_chance + 0.15
    assert 0.2 < ((seen != read) | (seen != heard)).mean() < 0.8
    assert set(seen) == set(range(len(TOPICS)))


def test_segments_cover_the_video_and_differ_in_appeal():
    for video in VIDEOS:
        assert 3000 <= video.duration_ms <= 30_000
        assert len(video.appeal) == len(video.segment_topics)
        assert len(video.appeal) == -(-video.duration_ms // (SEGMENT_SECONDS * 1000))
    assert np.std([appeal for video in VIDEOS for appeal in video.appeal]) > 0.9
    assert any(topic != video.topics[0] for video in VIDEOS for topic in video.segment_topics)


def test_the_caption_speaks_of_the_topic_read_and_the_record_tells_no_truth():
    video = next(video for video in VIDEOS if len(set(video.topics)) == 3 and not video.left_out)
    topic = TOPICS[video.topics[1]]
    assert sum(word in video.caption.split() for word in topic.words) == 4
    assert set(video.record()) == {
        "video_id", "author_id", "caption", "hashtags", "music_title",
        "duration_ms", "upload_time", "category", "media_uri",
    }  # fmt: skip


def test_some_media_are_broken_and_some_records_lack_fields_in_the_shares_named():
    for kind, share in BROKEN.items():
        assert share / 3 < np.mean([video.broken == kind for video in VIDEOS]) < 3 * share
    lacking = [video for video in VIDEOS if "duration_ms" in video.left_out]
    assert lacking
    assert all("duration_ms" not in video.record() for video in lacking)
    assert all("video_id" in video.record() for video in VIDEOS)


def test_a_video_is_uploaded_on_the_day_it_arrives_or_before_the_world_began():
    for video in VIDEOS:
        if video.arrives:
            assert video.upload_time.date() == CALENDAR.date(video.arrives)
        else:
            assert video.upload_time < CALENDAR.midnight(0)


def test_a_video_is_the_same_however_many_others_there_are():
    fewer = make_videos(5, days(videos=50, history_days=1, new_videos_per_day=0))
    assert fewer[7].caption == VIDEOS[7].caption
    assert shelf(fewer).topics[7].tolist() == list(VIDEOS[7].topics)
