import numpy as np

from simulator.catalogue import MEDIA_FAULT_RATES, SEGMENT_SECONDS, TOPIC_AGREEMENT, make_videos, to_arrays
from simulator.topics import TOPICS
from tests.support.simulated_platforms import small_calendar

CALENDAR = small_calendar(videos=800, history_days=3, new_videos_per_day=20)
VIDEOS = make_videos(5, CALENDAR)


def test_modalities_mostly_agree_on_the_topic():
    visual, text, audio = np.array([video.topics for video in VIDEOS]).T
    by_chance = TOPIC_AGREEMENT["visual"] * TOPIC_AGREEMENT["text"]
    assert by_chance < (visual == text).mean() < by_chance + 0.15
    assert 0.2 < ((visual != text) | (visual != audio)).mean() < 0.8
    assert set(visual) == set(range(len(TOPICS)))


def test_segments_cover_the_video_and_differ_in_appeal():
    for video in VIDEOS:
        assert 3000 <= video.duration_ms <= 30_000
        assert len(video.segment_appeal) == len(video.segment_topics)
        assert len(video.segment_appeal) == -(-video.duration_ms // (SEGMENT_SECONDS * 1000))
    assert np.std([appeal for video in VIDEOS for appeal in video.segment_appeal]) > 0.9
    assert any(topic != video.topics[0] for video in VIDEOS for topic in video.segment_topics)


def test_the_caption_has_words_of_the_text_topic_and_the_record_no_ground_truth():
    video = next(video for video in VIDEOS if len(set(video.topics)) == 3 and not video.missing_fields)
    topic = TOPICS[video.topics[1]]
    assert sum(word in video.caption.split() for word in topic.words) == 4
    assert set(video.to_record()) == {
        "video_id", "author_id", "caption", "hashtags", "music_title",
        "duration_ms", "upload_time", "category", "media_uri",
    }  # fmt: skip


def test_rates_of_media_faults_and_missing_fields():
    for fault, rate in MEDIA_FAULT_RATES.items():
        assert rate / 3 < np.mean([video.media_fault == fault for video in VIDEOS]) < 3 * rate
    lacking = [video for video in VIDEOS if "duration_ms" in video.missing_fields]
    assert lacking
    assert all("duration_ms" not in video.to_record() for video in lacking)
    assert all("video_id" in video.to_record() for video in VIDEOS)


def test_a_video_is_uploaded_on_its_arrival_day_or_before_the_first_day():
    for video in VIDEOS:
        if video.arrival_day:
            assert video.upload_time.date() == CALENDAR.date(video.arrival_day)
        else:
            assert video.upload_time < CALENDAR.midnight(0)


def test_a_video_does_not_depend_on_the_number_of_videos():
    fewer = make_videos(5, small_calendar(videos=50, history_days=1, new_videos_per_day=0))
    assert fewer[7].caption == VIDEOS[7].caption
    assert to_arrays(fewer).topics[7].tolist() == list(VIDEOS[7].topics)
