"""The twelve topics, each with its look, sound and words."""

from dataclasses import dataclass

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class VisualStyle:
    """The look of a topic.

    Attributes:
        dark, light: the two colours (RGB).
        texture: a key of `frames.TEXTURES`.
        motion: a key of `frames.MOTIONS`.
    """

    dark: Colour
    light: Colour
    texture: str
    motion: str


@dataclass(frozen=True)
class Motif:
    """The sound of a topic.

    Attributes:
        root: lowest note in Hz.
        notes: semitones above the root.
        tempo: notes per second.
        timbre: a key of `audio.TIMBRES`.
    """

    root: float
    notes: tuple[int, ...]
    tempo: float
    timbre: str


@dataclass(frozen=True)
class Topic:
    """A topic in its three modalities. `group` serves as the category of a video."""

    name: str
    group: str
    visual_style: VisualStyle
    audio_motif: Motif
    words: tuple[str, ...]


def _topic(name: str, group: str, visual_style: VisualStyle, audio_motif: Motif, words: str) -> Topic:
    return Topic(name, group, visual_style, audio_motif, tuple(words.split()))


TOPICS = (
    _topic(
        "cooking", "home",
        VisualStyle((120, 20, 0), (255, 170, 60), "blobs", "pulse"),
        Motif(98.0, (0, 3, 7), 2.0, "pluck"),
        "recipe garlic noodles oven soup chef spicy dinner pan delicious",
    ),
    _topic(
        "garden", "home",
        VisualStyle((0, 60, 10), (150, 220, 90), "waves", "sway"),
        Motif(523.3, (0, 2, 4, 7, 9), 1.5, "sine"),
        "seeds tomato roses soil balcony bloom watering pruning greenhouse sprout",
    ),
    _topic(
        "cats", "home",
        VisualStyle((90, 60, 40), (250, 235, 215), "dots", "bounce"),
        Motif(880.0, (0, 5, 1), 3.0, "glide"),
        "kitten purr whiskers paws meow nap tabby fluffy litter adoption",
    ),
    _topic(
        "football", "sport",
        VisualStyle((10, 110, 40), (240, 250, 240), "stripes", "pan"),
        Motif(146.8, (0, 0, 12, 0), 6.0, "drum"),
        "goal striker penalty derby keeper league dribble offside stadium header",
    ),
    _topic(
        "fitness", "sport",
        VisualStyle((30, 30, 30), (255, 70, 60), "chevrons", "climb"),
        Motif(65.4, (0, 0, 3, 5), 4.0, "saw"),
        "squat plank cardio reps muscle stretch workout dumbbell sweat protein",
    ),
    _topic(
        "cars", "sport",
        VisualStyle((20, 20, 60), (190, 200, 215), "grid", "zoom"),
        Motif(55.0, (0, 1, 0, 2), 8.0, "square"),
        "engine turbo drift exhaust garage gearbox torque racing tyres coupe",
    ),
    _topic(
        "dance", "style",
        VisualStyle((90, 0, 110), (255, 90, 220), "rays", "spin"),
        Motif(220.0, (0, 7, 12, 7), 5.0, "square"),
        "choreo beat spin footwork crew stage rhythm freestyle ballet shuffle",
    ),
    _topic(
        "makeup", "style",
        VisualStyle((200, 80, 120), (255, 225, 230), "rings", "pulse"),
        Motif(659.3, (0, 4, 7, 11), 2.5, "bell"),
        "lipstick palette blush eyeliner glow foundation brush contour lashes shimmer",
    ),
    _topic(
        "travel", "style",
        VisualStyle((0, 90, 160), (245, 225, 160), "gradient", "pan"),
        Motif(196.0, (0, 5, 7, 12), 1.0, "organ"),
        "beach passport sunset island backpack flight temple hostel mountains itinerary",
    ),
    _topic(
        "gaming", "mind",
        VisualStyle((10, 0, 40), (0, 255, 200), "checks", "climb"),
        Motif(329.6, (0, 4, 7, 12, 16), 8.0, "square"),
        "boss loot speedrun console quest respawn pixel combo headset raid",
    ),
    _topic(
        "science", "mind",
        VisualStyle((0, 0, 90), (120, 160, 255), "spiral", "spin"),
        Motif(1046.5, (0, 6, 11), 1.2, "bell"),
        "atom telescope enzyme orbit quantum fossil experiment gravity molecule laboratory",
    ),
    _topic(
        "comedy", "mind",
        VisualStyle((230, 180, 0), (255, 250, 120), "diamonds", "bounce"),
        Motif(261.6, (0, 2, 3, 7, 6), 3.5, "glide"),
        "prank joke sketch laugh awkward parody punchline improv sarcasm standup",
    ),
)  # fmt: skip
