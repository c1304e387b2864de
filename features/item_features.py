"""Item statistics: numbers of a video that are counted from its interactions."""

import pyarrow as pa
import pyarrow.compute as pc


def item_statistics(interactions: pa.Table, video_ids: pa.ChunkedArray) -> pa.Table:
    """Count the interactions of each video, and the sentiment of its comments.

    Args:
        interactions: Columns `video_id`, `viewed` and `comment_sentiment` (null: no known sentiment).
        video_ids: The videos.

    Returns:
        A row for each video: `num_interactions` (with a view), `comment_sentiment` (the mean, null without
        comments) and `comments`.
    """
    viewed = interactions.filter(interactions["viewed"])
    counts = viewed.group_by("video_id").aggregate([("viewed", "count")])
    comments = interactions.filter(pc.is_valid(interactions["comment_sentiment"]))
    # A mean depends on the order of its terms, and a scan returns rows in any order.
    comments = comments.sort_by([("video_id", "ascending"), ("comment_sentiment", "ascending")])
    sentiments = comments.group_by("video_id", use_threads=False).aggregate(
        [("comment_sentiment", "mean"), ("comment_sentiment", "count")]
    )
    count_row = pc.index_in(video_ids, counts["video_id"].combine_chunks())
    sentiment_row = pc.index_in(video_ids, sentiments["video_id"].combine_chunks())
    return pa.table(
        {
            "num_interactions": pc.fill_null(counts["viewed_count"].take(count_row), 0).cast(pa.int32()),
            "comment_sentiment": sentiments["comment_sentiment_mean"].take(sentiment_row),
            "comments": pc.fill_null(sentiments["comment_sentiment_count"].take(sentiment_row), 0),
        }
    )
