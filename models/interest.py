"""The whole model: what a person is interested in, and how well each video meets it.

Legend: B users, T events, S = T + 1 states, M modalities, D width, V videos, C profile categories,
P profile numbers, N (person, moment) pairs, E = D + M, K streams: sequences that the encoder reads for one
person.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.answers import Answers
from models.evidence import taste
from models.fusion import Catalogue, Fusion, Items, look_up
from models.histories import Batch, Histories
from models.likes import known_likes, liked_rows
from models.matching import fuse, joined, products, score, score_pairs
from models.preference import Preference
from models.profiles import ProfileEmbedding, Profiles
from models.ranking import RankingHeads, worth
from models.ranks import top
from models.sequence import EventEmbedding, action_width, build_encoder
from models.walk import Walk

START = 0.1  # share of the usual size that the gate's weights begin with
PAST, PAST_OF_IDS = 0.3, 1.0  # share of h that z begins with, where videos have content and where none has
FORETOLD = 0.3  # × √D: what a response foretold counts beside the log of popularity, before training
LEARNED = ("attention", "user", "late", "hybrid")  # levels of fusion whose α depends on the person


@dataclass(frozen=True)
class Spec:
    """Everything needed to build the model again; all of it known from training data only.

    Attributes:
        model, fusion, encoder, layers, heads, dropout, positions, profile, max_length, skip_below: as in
            params.yaml, section train.
        positive_watch_ratio: from this share on a viewing counted as liked by watching.
        width: D.
        modalities: name -> width of its features; fingerprints: name -> the encoder that made them.
        behaviours: names of the logged behaviours, in the order of `Batch.did_BTA`.
        categories: profile column -> its known values; any other value is "unknown".
        numbers: profile column -> (mean, standard deviation).
        video_numbers: catalogue column that the ranking heads read -> (mean, standard deviation).
        video_ids: the videos that the rows of the ID embedding stand for.
        rerank: candidates of the second stage, and what it adds to their scores, as in params.yaml; none:
            no second stage.
        walk: weight of a random walk's ends in the scores of retrieval; 0: nothing is walked.
        contexts: context of a viewing -> its known values; any other value is "unknown".
    """

    model: str
    fusion: str
    encoder: str
    layers: int
    heads: int
    dropout: float
    positions: bool
    profile: bool
    max_length: int
    skip_below: float
    positive_watch_ratio: float
    width: int
    modalities: Mapping[str, int]
    fingerprints: Mapping[str, str]
    behaviours: Sequence[str]
    categories: Mapping[str, Sequence[str]]
    numbers: Mapping[str, tuple[float, float]]
    video_numbers: Mapping[str, tuple[float, float]]
    video_ids: Sequence[str]
    rerank: Mapping[str, float] = field(default_factory=dict)
    walk: float = 0.0
    contexts: Mapping[str, Sequence[str]] = field(default_factory=dict)


class StaticGate(nn.Module):
    """Equation (4) with a way around it: z = ReLU(W_c [Δh ; s] + b) + a ⊙ Δh, Δh = h − h_∅.

    h_∅ is the encoder's state before the first event: who has watched nothing differs from everybody by the
    profile only. As it is, h_∅ is a taste drawn by lot that all who are new would start with.
    Without the way around, what was watched has to pass a ReLU that starts near 0, and is learned an order of
    magnitude more slowly (docs/experiments.md, Beauty).
    """

    def __init__(self, width: int, past: float) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * width, width)
        self.past = nn.Parameter(torch.full((width,), past))
        with torch.no_grad():  # near z = 0 the softmax is popularity (`Fusion.start_from`): begin there
            self.linear.weight.mul_(START)
            self.linear.bias.fill_(START**2)

    def forward(self, h_KBSD: Tensor, s_BD: Tensor) -> Tensor:
        """z_KBSD; the first of the S states is the one before any event."""
        told_KBSD = h_KBSD - h_KBSD[:, :, :1]
        s_KBSD = s_BD.unsqueeze(1).expand_as(h_KBSD)
        return torch.relu(self.linear(torch.cat([told_KBSD, s_KBSD], -1))) + self.past * told_KBSD


@dataclass(frozen=True)
class Interest:
    """What the model knows of a person at a moment: z to score with, u to weigh modalities with.

    u_NE: what meets the content of each modality, and its tag (`matching.affinity`).
        A baseline keeps here and in z what its own scores need.
    own_NMD: what meets each modality instead of z (late and hybrid fusion); None: z meets them all.
    lift_NX: what a random walk adds to the score of each ID row, and behind them 0 for a new video.
    """

    z_ND: Tensor
    u_NE: Tensor
    own_NMD: Tensor | None = None
    lift_NX: Tensor | None = None

    def at(self, index: Tensor | slice | tuple[Tensor | slice, ...]) -> "Interest":
        """Those moments only."""
        own_NMD = None if self.own_NMD is None else self.own_NMD[index]
        lift_NX = None if self.lift_NX is None else self.lift_NX[index]
        return Interest(self.z_ND[index], self.u_NE[index], own_NMD, lift_NX)


class InterestModel(nn.Module):
    """Fusion → sequence → static gate → retrieval and ranking.

    Beside what the gate makes of history and profile, z holds θ, what a Gaussian process foretells the person
    to like (models/evidence.py), with a learned weight. Like u it reads histories of any length. With
    `Spec.walk` the scores also hold where a random walk over who liked what ends (models/walk.py).

    Levels of fusion (arXiv 2509.04751 and its survey):
        attention: equations (1) and (2), one stream of fused events.
        user: the same with weights that depend on the person only, so that scores are inner products.
        uniform: the same with even weights. early: one joint vector a video, made before any weighing.
        late: a stream a modality; what they make of a video is weighed by α (decision level).
        hybrid: the fused stream and those of the modalities; a modality is met by the sum of two interests.
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        if spec.fusion not in (*LEARNED, "uniform", "early"):
            raise ValueError(f"unknown fusion {spec.fusion!r}: choose {', '.join(LEARNED)}, uniform or early")
        self.spec = spec
        D, M = spec.width, len(spec.modalities)
        self.late, self.hybrid = (M > 0 and spec.fusion == level for level in ("late", "hybrid"))
        learned, early = M > 0 and spec.fusion in LEARNED, spec.fusion == "early"
        self.fusion = Fusion(spec.modalities, D, len(spec.video_ids), early, aligned=learned)
        contexts = [len(values) for values in spec.contexts.values()]
        self.events = EventEmbedding(D, len(spec.behaviours), spec.max_length, spec.positions, contexts)
        actions, by_video = action_width(len(spec.behaviours)), spec.fusion != "user"
        sizes = [len(values) for values in spec.categories.values()] if spec.profile else []
        self.preference = Preference(M, actions, D, sizes, content=by_video) if learned else None
        self.profile = ProfileEmbedding(sizes, len(spec.numbers), D) if spec.profile else None
        states = spec.max_length + 1
        self.encoder = build_encoder(
            spec.encoder, D, spec.layers, spec.heads, spec.dropout, states, spec.positions
        )
        self.gate = StaticGate(D, PAST if M else PAST_OF_IDS)
        self.answers = Answers(spec.behaviours, len(spec.video_ids))
        self.foretold = nn.Parameter(torch.tensor(FORETOLD)) if M else None
        self.walk = Walk(len(spec.video_ids)) if spec.walk else None
        self.ranking = RankingHeads(D, spec.dropout, len(spec.video_numbers), len(spec.video_ids))

    @torch.no_grad()
    def start_from(self, past: Histories, profiles: Profiles, catalogue: Catalogue) -> None:
        """What is counted before training, but for what `fusion` starts from: that has to come before."""
        self.answers.start_from(past, catalogue.id_row_V)
        if self.preference is not None:
            self.preference.start_from(
                past, profiles, self.answers, self.items(catalogue), self.spec.max_length
            )
        if self.walk is not None:
            self.walk.start_from(known_likes(past, catalogue.id_row_V))

    def items(self, catalogue: Catalogue, dropped_V: Tensor | None = None) -> Items:
        """Every video in the shared space."""
        return self.fusion(catalogue, dropped_V)

    def read(self, batch: Batch, profiles: Profiles, items: Items) -> Interest:
        """The interest at every state: [B, S, D] each. Rows beyond a user's length mean nothing."""
        s_BD = self.static(profiles)
        x_KBSD, u_BSE = self._streams(batch, profiles, items)
        h_KBSD = self.encoder(x_KBSD.flatten(0, 1)).view_as(x_KBSD)
        z_KBSD = self.gate(h_KBSD, s_BD)
        if self.foretold is not None:
            x_BTMD, response_BT = look_up(items.x_VMD, batch.video_BT), self.answers(batch, items.id_row_V)
            z_KBSD = z_KBSD + self.foretold * self.spec.width**0.5 * taste(x_BTMD, response_BT, batch)
        if self.late:
            return Interest(z_KBSD.mean(0), u_BSE, z_KBSD.movedim(0, 2))
        if self.hybrid:
            return Interest(z_KBSD[0], u_BSE, (z_KBSD[0] + z_KBSD[1:]).movedim(0, 2))
        return Interest(z_KBSD[0], u_BSE)

    def newest(self, batch: Batch, profiles: Profiles, items: Items) -> Interest:
        """The interest after the last event: [B, D] each. Only here, never in training, is there a walk."""
        now = self.read(batch, profiles, items).at((torch.arange(len(batch.users_B)), batch.lengths))
        if self.walk is None:
            return now
        lift_BI = self.spec.walk * self.walk(*liked_rows(batch, items.id_row_V))
        return replace(now, lift_NX=F.pad(lift_BI, (0, 1)))

    def scores(self, interest: Interest, items: Items) -> tuple[Tensor, Tensor]:
        """Retrieval: score_NV of every video, and the modality weights alpha_MNV behind it."""
        score_NV, alpha_MNV = score(interest.z_ND, interest.u_NE, items, interest.own_NMD)
        if interest.lift_NX is not None:  # −1, a new video: the last
            score_NV = score_NV + interest.lift_NX[:, items.id_row_V]
        return score_NV, alpha_MNV

    def products(self, interest: Interest, items: Items) -> tuple[Tensor, Tensor] | None:
        """People q_NX and videos w_VX whose inner products are the scores; None: α depends on both.

        Of the scores without a walk, which training knows; with one there is an addend by pairs.
        The last of X is the bias, which meets a 1.
        """
        if self.preference is None:
            return F.pad(interest.z_ND, (0, 1), value=1.0), joined(items)
        return None if self.preference.content else products(interest.z_ND, interest.u_NE, items)

    def score_pairs(self, interest: Interest, items: Items, rows_N: Tensor) -> Tensor:
        """Retrieval: score_N of one video per pair."""
        return score_pairs(interest.z_ND, interest.u_NE, items, rows_N, interest.own_NMD)

    def rank(self, interest: Interest, items: Items, rows_N: Tensor) -> Tensor:
        """Ranking: logits [N, H] of each behaviour, for one video per pair."""
        f_ND, _ = fuse(interest.u_NE, items, rows_N)
        return self.ranking(interest.z_ND, f_ND, items.id_row_V[rows_N], items.number_VK[rows_N])

    def rerank(self, interest: Interest, items: Items, score_NV: Tensor) -> Tensor:
        """The second stage: the scores with what each pair's best candidates are worth added to theirs.

        A candidate never falls behind a video that is none; −inf stays −inf.
        """
        if not (candidates := int(self.spec.rerank.get("candidates", 0))):
            return score_NV
        best_NC = top(score_NV, candidates)
        pair_P = torch.arange(len(best_NC)).repeat_interleave(best_NC.shape[1])
        row_P = best_NC.flatten()
        some = Interest(interest.z_ND, interest.u_NE).at(pair_P)  # no walk: it is as wide as the catalogue
        p_PH = torch.sigmoid(self.rank(some, items, row_P))
        worth_P = worth(p_PH, self._negativity(items)[row_P], self.spec.rerank)
        return score_NV.scatter_add(1, best_NC, worth_P.view_as(best_NC))

    def _negativity(self, items: Items) -> Tensor:
        """How negative the comments of each video are, 0 to 1; 0 where unknown."""
        if "comment_sentiment" not in self.spec.video_numbers:
            return torch.zeros_like(items.g_V)
        column = list(self.spec.video_numbers).index("comment_sentiment")
        mean, deviation = self.spec.video_numbers["comment_sentiment"]
        known_V = items.number_VK[:, len(self.spec.video_numbers) + column]
        return (-(items.number_VK[:, column] * deviation + mean)).clamp(0, 1) * known_V

    def attention(self, batch: Batch, profiles: Profiles, items: Items) -> Tensor | None:
        """How much the newest state looks at each past event [B, T], or None where the encoder cannot say."""
        x_KBSD, _ = self._streams(batch, profiles, items)
        weights_XSS = self.encoder.attention(x_KBSD.flatten(0, 1))  # type: ignore[operator]
        if weights_XSS is None:
            return None
        weights_BSS = weights_XSS.unflatten(0, x_KBSD.shape[:2]).mean(0)
        return weights_BSS[torch.arange(len(weights_BSS)), batch.lengths, 1:] * batch.mask_BT

    def static(self, profiles: Profiles) -> Tensor:
        """s_BD; zeros without a profile."""
        if self.profile is None:
            return torch.zeros(len(profiles.category_BC), self.spec.width)
        return self.profile(profiles)

    def preferences(self, batch: Batch, profiles: Profiles, items: Items) -> Tensor:
        """u_BSE at every state. Unlike the encoder it reads histories of any length."""
        if self.preference is None:  # a softmax over zeros is even
            B, T = batch.mask_BT.shape
            return items.x_VMD.new_zeros(B, T + 1, sum(items.x_VMD.shape[1:]))
        return self.preference(
            self.shares(batch, profiles, items),
            items,
            self.events.actions(batch),
            batch,
            self.static(profiles),
        )

    def shares(self, batch: Batch, profiles: Profiles, items: Items) -> Tensor:
        """share_BSM of each modality in what a person goes by, at every state. No training moves it."""
        assert self.preference is not None
        if batch.share_BTM is None:
            return self.preference.shares(batch, profiles, self.answers(batch, items.id_row_V), items)
        return F.pad(batch.share_BTM, (0, 0, 1, 0), value=1 / len(self.spec.modalities))  # even at first

    def _streams(self, batch: Batch, profiles: Profiles, items: Items) -> tuple[Tensor, Tensor]:
        """The encoder's inputs [K, B, S, D], and u at every state; an event is fused with the u before it."""
        at, u_BSE = batch.video_BT, self.preferences(batch, profiles, items)
        streams = [] if self.late else [fuse(u_BSE[:, :-1], items, at)[0]]
        if self.late or self.hybrid:
            g_BT1 = look_up(items.g_V, at).unsqueeze(2)
            id_BTD, x_BTMD = look_up(items.id_VD, at), look_up(items.x_VMD, at)
            alone_BTMD = (1 - g_BT1.unsqueeze(3)) * x_BTMD + (g_BT1 * id_BTD).unsqueeze(2)
            streams += alone_BTMD.unbind(2)
        return torch.stack([self.events(x_BTD, batch) for x_BTD in streams]), u_BSE
