"""The twelve topics: what each looks like, sounds like and reads like."""

from dataclasses import dataclass

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """How a topic looks: two colours (RGB), the texture they form, and how it moves."""

    dark: Colour
    light: Colour
    texture: str
    motion: str


@dataclass(frozen=True)
class Motif:
    """How a topic sounds: lowest note (Hz), notes above it (semitones), notes per second, timbre."""

    root: float
    notes: tuple[int, ...]
    tempo: float
    timbre: str


@dataclass(frozen=True)
class Topic:
    """One topic in its three forms."""

    name: str
    group: str
    look: Look
    motif: Motif
    words: tuple[str, ...]


def _topic(name: str, group: str, look: Look, motif: Motif, words: str) -> Topic:
    return Topic(name, group, look, motif, tuple(words.split()))


TOPICS = (
    _topic(
        "cooking", "home",
        Look((120, 20, 0), (255, 170, 60), "blobs", "pulse"),
        Motif(98.0, (0, 3, 7), 2.0, "pluck"),
        "recipe garlic noodles oven soup chef spicy dinner pan delicious",
    ),
    _topic(
        "garden", "home",
        Look((0, 60, 10), (150, 220, 90), "waves", "sway"),
        Motif(523.3, (0, 2, 4, 7, 9), 1.5, "sine"),
        "seeds tomato roses soil balcony bloom watering pruning greenhouse sprout",
    ),
    _topic(
        "cats", "home",
        Look((90, 60, 40), (250, 235, 215), "dots", "bounce"),
        Motif(880.0, (0, 5, 1), 3.0, "glide"),
        "kitten purr whiskers paws meow nap tabby fluffy litter adoption",
    ),
    _topic(
        "football", "sport",
        Look((10, 110, 40), (240, 250, 240), "stripes", "pan"),
        Motif(146.8, (0, 0, 12, 0), 6.0, "drum"),
        "goal striker penalty derby keeper league dribble offside stadium header",
    ),
    _topic(
        "fitness", "sport",
        Look((30, 30, 30), (255, 70, 60), "chevrons", "climb"),
        Motif(65.4, (0, 0, 3, 5), 4.0, "saw"),
        "squat plank cardio reps muscle stretch workout dumbbell sweat protein",
    ),
    _topic(
        "cars", "sport",
        Look((20, 20, 60), (190, 200, 215), "grid", "zoom"),
        Motif(55.0, (0, 1, 0, 2), 8.0, "square"),
        "engine turbo drift exhaust garage gearbox torque racing tyres coupe",
    ),
    _topic(
        "dance", "style",
        Look((90, 0, 110), (255, 90, 220), "rays", "spin"),
        Motif(220.0, (0, 7, 12, 7), 5.0, "square"),
        "choreo beat spin footwork crew stage rhythm freestyle ballet shuffle",
    ),
    _topic(
        "makeup", "style",
        Look((200, 80, 120), (255, 225, 230), "rings", "pulse"),
        Motif(659.3, (0, 4, 7, 11), 2.5, "bell"),
        "lipstick palette blush eyeliner glow foundation brush contour lashes shimmer",
    ),
    _topic(
        "travel", "style",
        Look((0, 90, 160), (245, 225, 160), "gradient", "pan"),
        Motif(196.0, (0, 5, 7, 12), 1.0, "organ"),
        "beach passport sunset island backpack flight temple hostel mountains itinerary",
    ),
    _topic(
        "gaming", "mind",
        Look((10, 0, 40), (0, 255, 200), "checks", "climb"),
        Motif(329.6, (0, 4, 7, 12, 16), 8.0, "square"),
        "boss loot speedrun console quest respawn pixel combo headset raid",
    ),
    _topic(
        "science", "mind",
        Look((0, 0, 90), (120, 160, 255), "spiral", "spin"),
        Motif(1046.5, (0, 6, 11), 1.2, "bell"),
        "atom telescope enzyme orbit quantum fossil experiment gravity molecule laboratory",
    ),
    _topic(
        "comedy", "mind",
        Look((230, 180, 0), (255, 250, 120), "diamonds", "bounce"),
        Motif(261.6, (0, 2, 3, 7, 6), 3.5, "glide"),
        "prank joke sketch laugh awkward parody punchline improv sarcasm standup",
    ),
)  # fmt: skip
