"""Train the embedded default encoders: `python -m tasks.pretrain --landing DIR [DIR …]`.

Reads videos and their media from landing folders (`python -m world film --seed N --out DIR` writes one),
decodes and samples them as section `embed` of params.yaml says, and trains the tiny CLIP and CLAP by
contrast: what one video shows, says and sounds like belongs together; videos that share a caption, a
hashtag or a music title are never pushed apart. The weights of the epoch that is best on held-out videos
are written, with a card that says what they were made from. The same data, parameters and seed give the
same bytes.
"""

import argparse
import platform
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file
from tqdm import tqdm

from contracts import digests, landing
from contracts import params as parameters
from contracts.errors import DONE, REFUSED_INPUT, InputError
from contracts.params import Embed
from contracts.place import PROJECT
from contracts.receipts import write_json
from contracts.records import KINDS
from media.clip import Clip, Sampling, Unreadable
from media.decoders import Decoders, Limits
from models.determinism import settle
from models.encoders import ImageEncoder, SoundEncoder
from models.encoders.default import CLAP_FILE, CLIP_FILE, WEIGHTS, stored
from models.pretraining import Encoders, Example, Plan, train, untrained
from tasks.captions import clean

EPILOG = "exit codes: 0 done, 1 failed, 2 refused input"
HELD_OUT = 0.1  # share of the videos that choose the epoch
MIN_VIDEOS = 20
CARD = "card.json"
SAMPLING = ("segment_seconds", "max_segments", "frames_per_segment")
LIBRARIES = ("torch", "open-clip-torch", "transformers", "numpy", "av")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    args = _parser().parse_args(argv)
    plan = Plan(args.epochs, args.batch_size, args.learning_rate, args.seed)
    try:
        card = pretrain(args.landing, parameters.load(args.params).embed, plan, args.out)
    except InputError as error:
        print(f"pretrain: refused: {error}", file=sys.stderr)
        return REFUSED_INPUT
    best = min(card["curve"], key=lambda epoch: epoch["held_out"])
    print(f"pretrain: {card['videos']} videos; held-out loss {best['held_out']:.3f}; {args.out}")
    return DONE


def pretrain(landings: Sequence[Path], sampling: Embed, plan: Plan, out: Path) -> dict[str, Any]:
    """Train, and write the weights and their card.

    Returns:
        the card.

    Raises:
        InputError: a plan or data that cannot be trained with.
    """
    _check(plan)
    settle(plan.seed)
    encoders = untrained()
    examples, without = read(landings, sampling, encoders)
    if len(examples) < MIN_VIDEOS:
        raise InputError(
            f"{', '.join(map(str, landings))}: {len(examples)} videos with media that plays; "
            f"training needs {MIN_VIDEOS} or more, make a larger world"
        )
    order = np.random.default_rng(plan.seed).permutation(len(examples))
    held, training = np.split(order, [max(2, round(HELD_OUT * len(order)))])
    curve = train(encoders, [examples[i] for i in training], [examples[i] for i in held], plan)
    out.mkdir(parents=True, exist_ok=True)
    for file, model in zip((CLIP_FILE, CLAP_FILE), encoders.models, strict=True):
        save_file(stored(model), out / file)
    card = {
        "note": "the embedded default encoders, made by `python -m tasks.pretrain`",
        "landing": [str(folder) for folder in landings],
        "data": digests.of_lines(content for folder in landings for content in _contents(folder)),
        "videos": len(examples),
        "held_out": len(held),
        "without_media": dict(sorted(without.items())),
        "plan": vars(plan),
        "sampling": {name: getattr(sampling, name) for name in SAMPLING},
        "curve": [{name: round(value, 4) for name, value in epoch.items()} for epoch in curve],
        "digests": {file: digests.of_file(out / file) for file in (CLIP_FILE, CLAP_FILE)},
        "software": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
    }
    write_json(out / CARD, card)
    return card


def read(landings: Sequence[Path], params: Embed, encoders: Encoders) -> tuple[list[Example], Counter[str]]:
    """The videos of all folders whose media plays, and why that of the others does not."""
    examples: list[Example] = []
    without: Counter[str] = Counter()
    for folder in landings:
        records = videos(folder)
        found = clips(folder, records, params, encoders.image, encoders.sound)
        for record, clip in zip(records, found, strict=True):
            if isinstance(clip, Clip):
                examples.append(example(record, clip, encoders.sound))
            else:
                without[clip.reason] += 1
    return examples, without


def videos(folder: Path) -> list[dict[str, Any]]:
    """The videos of a landing folder whose records can be read and name media; a later record replaces an
    earlier one.

    Raises:
        InputError: there is none.
    """
    kind = KINDS["videos"]
    files = [path for day in landing.days(folder, "videos") for path in landing.files(folder, "videos", day)]
    rows = [row for path in files for _, _, row in landing.read(path, kind) if isinstance(row, dict)]
    newest = {row["video_id"]: row for row in rows}
    found = [row for _, row in sorted(newest.items()) if row["media_uri"]]
    if not found:
        raise InputError(f"{folder}: no videos with media in videos/dt=…; `python -m world make` writes some")
    return found


def clips(
    folder: Path,
    records: Sequence[Mapping[str, Any]],
    params: Embed,
    image: ImageEncoder,
    sound: SoundEncoder,
) -> Iterator[Clip | Unreadable]:
    """The media of each video, decoded and sampled for two encoders as section `embed` says."""
    sampling = Sampling(
        params.segment_seconds,
        params.max_segments,
        params.frames_per_segment,
        image.image_size,
        image.image_fit,
        sound.sample_rate,
    )
    limits = Limits(params.decode_seconds, params.decode_memory_mib << 20)
    uris = [record["media_uri"] for record in records]
    with Decoders(folder.resolve(), sampling, limits, params.decode_workers) as decoders:
        yield from tqdm(decoders.decode(uris), f"decode {folder}", total=len(uris), unit="video")


def tags(record: Mapping[str, Any]) -> frozenset[str]:
    """What names a video's subject, in small letters: its hashtags, also those within the caption."""
    caption, listed = record["caption"] or "", record["hashtags"] or []
    return frozenset(tag.lstrip("#").casefold() for tag in (*listed, *re.findall(r"#\w+", caption)))


def example(record: Mapping[str, Any], clip: Clip, sound: SoundEncoder) -> Example:
    """What training reads of a video. A caption and a music title are tags as a whole."""
    caption, music = record["caption"] or "", record["music_title"] or ""
    fields = (caption, " ".join(f"#{tag}" for tag in record["hashtags"] or ()), music)
    texts = tuple(text for text in map(clean, fields) if text)
    same = tags(record) | {text.casefold() for text in (caption, music) if text}
    levels = {n: sound.spectrograms([samples])[0].half() for n, samples in clip.sound.items()}
    return Example(texts, same, clip.frames, levels)


def _contents(folder: Path) -> Iterator[str]:
    """A line for each file that was read: where it lies in the landing folder, and its digest."""
    records = videos(folder)
    files = sorted(path for path in (folder / "videos").rglob("*") if path.is_file())
    media = [folder / record["media_uri"] for record in records]
    for path in (*files, *(path for path in media if path.is_file())):
        yield f"{path.relative_to(folder).as_posix()} {digests.of_file(path)}"


def _check(plan: Plan) -> None:
    for name, bound in (("epochs", 0), ("batch_size", 1), ("learning_rate", 0)):
        value = getattr(plan, name)
        if value <= bound:
            raise InputError(f"--{name.replace('_', '-')} is {value}; it must be above {bound}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tasks.pretrain",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--landing", required=True, nargs="+", type=Path, metavar="DIR", help="landing folders"
    )
    parser.add_argument(
        "--out", type=Path, default=WEIGHTS, help="folder of the weights (default: models/weights)"
    )
    parser.add_argument("--params", type=Path, default=PROJECT / "params.yaml", help="default: %(default)s")
    parser.add_argument(
        "--epochs", type=int, default=20, help="passes over the videos (default: %(default)s)"
    )
    parser.add_argument("--batch-size", type=int, default=128, help="videos in a step (default: %(default)s)")
    parser.add_argument(
        "--learning-rate", type=float, default=2e-3, help="at its highest (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="of the start and of all that is drawn (default: %(default)s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
