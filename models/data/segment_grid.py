"""The grid of video segments, which the snapshot and the model share. It does not need torch."""

MAX_SEGMENTS = 40  # segments of a video that a model reads: N of SegMM
SEGMENT_MS_KEY = "segments.milliseconds"  # tensor of the snapshot with the length of a segment
