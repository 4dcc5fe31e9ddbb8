"""One image's ledger: queries, replies, remaining budget, and the best image so far."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from functools import cached_property

import cv2
import torch
from torch import Tensor

from iqattack.attacks import Answer, BudgetSpent, ImageFailed, SearchEnded, Task
from iqattack.constraints import Constraint, Floor, Region
from iqattack.engine.log import Row, Rows, image_hash
from iqattack.errors import InputError, RunError
from iqattack.objectives import Target
from iqattack.scoring import Request

MOST_VALUES = 2**31  # in the candidates that an attack yields at once: 8 GiB of floats
NO_SCORE = -1.0  # gain of a candidate with a non-finite score: the worst possible

EARLIER = 8  # earlier best images that may become the result under a floor
Scored = tuple[float, float, Tensor]
Watch = Callable[[int, Tensor], None]

CHANGED = "the image, the attack or a library has changed since; start again in another folder"


class Account:
    """Does for one image what attacks must not do themselves.

    Candidates are projected, rounded to 8 bits and kept above the floor; an image that was scored
    before is answered from memory; at most `queries` images are queried, the clean one included;
    the log of an earlier session is replayed; the best image is kept. A candidate with a non-finite
    score is a query like any other, without gain.

    Queries are numbered from 0, the clean image, in the order of the candidates; the log may have
    the clean image several times, as the model was checked with it. Replies may come in any order:
    `take_rows` gives those that have all others before them, `take_early` the rest.

    logged: rows of the log, the clean image's at least. early: replies of an earlier session that
    came before their turn, by number. watch: called with the number and the image of each query,
    including those that the log answers. Raises RunError for a clean image that is not the log's,
    and in `admit` if a replay generates images that the log does not have.
    """

    def __init__(
        self,
        name: str,
        image: Tensor,
        *,
        target: Target,
        constraint: Constraint,
        floor: Floor | None,
        queries: int,
        rng: torch.Generator,
        logged: Rows,
        early: Mapping[int, Row],
        watch: Watch | None = None,
    ) -> None:
        self.name = name
        self.clean = image
        self.target = target
        self.best = image
        self.best_gain = 0.0
        self.best_score = target.clean
        self.stages: list[tuple[int, str]] = []
        self.unscored: int | None = None  # first query with a score that is not finite
        self.failure: Exception | None = None
        self._queries = queries
        # One is kept for the result, which a floor may shorten.
        self._search_queries = queries - (floor is not None and floor.of_result)
        self._floor = floor
        self._rng = rng
        self._logged = logged
        self._early = dict(early)
        self._watch = watch
        self._region = constraint.around(image)
        self._found = self._region.found
        self._given: tuple[int, ...] = ()  # hashes of what the task holds
        self._hashes: dict[int, int] = {}  # of queries without a reply
        self._scores: dict[int, float] = {}  # by hash
        self.scored = 0  # pictures with a finite score, the clean one included
        self._numbered = 0
        self._settled = 0  # number of leading queries with a reply
        self._replies: dict[int, Row] = {}  # of later ones
        self._rows: list[Row] = []
        self._new_early: dict[int, Row] = {}
        self._images = image[None]
        self._asked: list[int] = []  # hashes of the candidates that the next answer is about
        self._exhausted = False
        self._shared = False  # it is a budget of several images that is spent first
        # Gain, score and image of the last ones that were the best, for a floor of the result.
        self._earlier: deque[Scored] = deque(maxlen=EARLIER)
        self._fallback: Scored | None = None
        self.floored = False  # nothing was left of what the search found
        self._shortest = math.inf  # distance of the best image, once one crossed the boundary
        digest = image_hash(image)
        self._known(digest, image)
        # Then come those with which the model was checked, of the clean image again.
        while self._numbered < len(logged) and int(logged["hash"][self._numbered]) == digest:
            self._known(digest, image)
        self._first = self._numbered  # query of the search

    @cached_property
    def task(self) -> Task:
        """The task for the attack."""
        self._given = tuple(map(image_hash, (self.clean, self._region.lower, self._region.upper)))
        return Task(
            image8=self.clean,
            lower8=self._region.lower,
            upper8=self._region.upper,
            project=self._region.project,
            queries=self._search_queries - self._first,
            reach=self.target.reach,
            boundary=self.target.boundary,
            rng=self._rng,
            rising=self.target.rising,
            stage=lambda name: self.stages.append((self._numbered + 1, name)),
        )

    @property
    def held(self) -> int:
        """Bytes that its constraint takes beside the box."""
        return self._region.memory

    @property
    def hopeless(self) -> bool:
        """Whether there is nothing left to query or to gain."""
        return self._search_queries <= self._first or self.target.reach <= 0.0

    def changed(self) -> str | None:
        """The attribute of its task that the attack changed in place; None if it changed
        nothing."""
        task: Task | None = self.__dict__.get("task")
        if task is None:
            return None
        held = {"image": task.image8, "lower": task.lower8, "upper": task.upper8}
        for (name, pixels), digest in zip(held.items(), self._given, strict=True):
            if image_hash(pixels) != digest:
                return f"{name}8"
            floats = vars(task).get(name)  # made once they are asked for
            # A channel at a time: floats of a large picture take much.
            if floats is not None and not all(map(_same, floats, pixels)):
                return name
        return None

    @property
    def found(self) -> float | None:
        """What the constraint had to find out about the image."""
        return self._found

    @property
    def queries(self) -> int:
        """The budget of the search."""
        return self._search_queries

    @property
    def spent(self) -> int:
        """Queries, those of earlier sessions and the clean image included."""
        return self._settled + len(self._replies)

    @property
    def numbered(self) -> int:
        """Queries that were asked for, those that the log answers and the clean image included."""
        return self._numbered

    # -- asking ---------------------------------------------------------------------------------

    def admit(self, candidates: Tensor, left: int | None = None) -> list[Request]:
        """What the model has to score before `answer` can be called; an image only once. left: of a
        budget that images share.
        """
        most = self._search_queries
        self._shared = left is not None and self._numbered + left < most
        if left is not None:
            most = min(most, self._numbered + left)
        images = self._encoded(candidates)
        self._images = images
        self._asked = []
        requests = []
        coming = set(self._hashes.values())
        for image in images:
            digest = image_hash(image)
            if digest not in self._scores and digest not in coming:
                if self._numbered == most:
                    self._exhausted = True
                    break
                if not self._known(digest, image):
                    coming.add(digest)
                    requests.append(Request(self.name, self._numbered - 1, image))
            self._asked.append(digest)
        return requests

    def admit_result(self) -> list[Request]:
        """The best image, shortened where it lies under the floor of the result: what the model has
        to score before `take_result` can be called.
        """
        floor = self._floor
        self._result = self.best
        if floor is None or not floor.of_result or self.failure is not None:
            return []
        self._result = self._above(floor, self.best[None])[0]
        if not torch.equal(self._result, self.best):
            clean = self.task.image
            above = (it for it in reversed(self._earlier) if floor.satisfied(clean, it[2].float()))
            self._fallback = next(above, None)
        digest = image_hash(self._result)
        if digest in self._scores or self._known(digest, self._result):
            return []
        return [Request(self.name, self._numbered - 1, self._result)]

    def take_result(self) -> None:
        """Keep what `admit_result` made of the best image, or an earlier best one that is above the
        floor as it is, whichever gains more; the clean one where nothing is left.
        """
        if self.failure is not None or torch.equal(self._result, self.best):
            return
        score = self._scores[image_hash(self._result)]
        shortened = (self._gain(image_hash(self._result)), score, self._result)
        nothing = (0.0, self.target.clean, self.clean)
        found = max((nothing, self._fallback or nothing, shortened), key=lambda it: it[0])
        self.best_gain, self.best_score, self.best = found
        self.floored = found is nothing

    def choose(self, picture: Tensor) -> None:
        """Have a picture (3, H, W) uint8 that was scored as the result, in place of the best;
        InputError for another one.
        """
        digest = image_hash(picture)
        score = self._scores.get(digest, math.nan)
        if not math.isfinite(score):
            raise InputError(f"{self.name}: the attack chose a picture without a score")
        self.best, self.best_score, self.best_gain = picture, score, self._gain(digest)

    def admit_clean(self) -> list[Request]:
        """The clean image once more, beyond the budget, which leaves room for it: what the model
        has to score. Nothing where the search asked nothing, as a log could not tell them apart.
        """
        if self._numbered == self._first or self._known(image_hash(self.clean), self.clean):
            return []
        return [Request(self.name, self._numbered - 1, self.clean, alone=True)]

    def _known(self, digest: int, image: Tensor) -> bool:
        """Give an image the next number; True if the log of an earlier session has its score."""
        number = self._numbered
        if self._watch is not None:
            self._watch(number, image)
        row = self._early.pop(number, None)
        early = row is not None
        if number < len(self._logged):
            row = (int(self._logged["hash"][number]), float(self._logged["score"][number]))
        if row is not None and row[0] != digest:
            raise RunError(
                f"{self.name}: query {number + 1} is another image than in the log; {CHANGED}"
            )
        self._numbered += 1
        if row is None:
            self._hashes[number] = digest
            return False
        self._take(number, row, logged=not early)
        return True

    def settle(self, number: int, score: float) -> None:
        """Take a reply; in any order."""
        row = (self._hashes.pop(number), score)
        if number > self._settled:
            self._new_early[number] = row
        self._take(number, row)

    def _take(self, number: int, row: Row, *, logged: bool = False) -> None:
        digest, score = row
        self.scored += digest not in self._scores and math.isfinite(score)
        self._scores.setdefault(digest, score)  # of the clean image the first one counts
        if not math.isfinite(score) and (self.unscored is None or number < self.unscored):
            self.unscored = number
        self._replies[number] = row
        while self._settled in self._replies:
            row = self._replies.pop(self._settled)
            if not logged:
                self._rows.append(row)
                self._new_early.pop(self._settled, None)
            self._settled += 1

    def take_rows(self) -> tuple[int, list[Row]]:
        """Replies that are to be logged next: the number of the first one, and all of them."""
        rows, self._rows = self._rows, []
        return self._settled - len(rows), rows

    def take_early(self) -> dict[int, Row]:
        """Replies that came before their turn since this was called last."""
        rows, self._new_early = self._new_early, {}
        return rows

    def _encoded(self, candidates: Tensor) -> Tensor:
        """What the model is to see of candidates (N, 3, H, W): allowed, and in 8 bits."""
        right = isinstance(candidates, Tensor) and not candidates.is_complex()
        if not right or candidates.shape[1:] != self.clean.shape:
            what = tuple(candidates.shape) if right else type(candidates).__name__
            raise InputError(
                f"the attack yielded {what}; expected a tensor (N, 3, H, W), here (N, "
                f"{', '.join(map(str, self.clean.shape))})"
            )
        if candidates.numel() > MOST_VALUES:
            raise InputError(
                f"the attack yielded {len(candidates):,} candidates of {self.clean.numel():,} "
                f"values, more than {MOST_VALUES:,} values at once; yield fewer at a time"
            )
        candidates = candidates.detach().cpu()
        if candidates.dtype not in (torch.uint8, torch.float32, torch.float64):
            candidates = candidates.float()
        _check_numbers(candidates)
        images = allowed(candidates, self._region)
        if self._floor is not None and not self._floor.of_result:
            images = self._above(self._floor, images)
        return images

    def _above(self, floor: Floor, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) uint8, those under a floor brought back within the constraint."""
        held = floor.enforce(self.task.image, images.float(), self._region.project)
        return held.to(torch.uint8)

    # -- answering ------------------------------------------------------------------------------

    def answer(self, left: int | None = None) -> Answer:
        """For the candidates of the last `admit`, once all of its requests have a reply.

        Those after the end of the budget, or of an image that failed, are left out. left: of a
        budget that images share.
        """
        asked = self._asked
        if self.failure is not None:
            known = (k for k, digest in enumerate(asked) if digest not in self._scores)
            asked = asked[: next(known, len(asked))]
        images = self._images[: len(asked)]
        gains = [self._gain(digest) for digest in asked]
        for image, digest, gain in zip(images, asked, gains, strict=True):
            if self._better(image, gain):
                self.best = image.clone()
                self.best_gain, self.best_score = gain, self._scores[digest]
                if self._floor is not None and self._floor.of_result:
                    self._earlier.append((self.best_gain, self.best_score, self.best))
        gain_of = torch.tensor(gains, dtype=torch.float64)
        own = self._search_queries - self._numbered
        left = own if left is None else min(own, left)
        return Answer(images, gain_of, left, self._end(Answer(images, gain_of, left)))

    def _end(self, answer: Answer) -> SearchEnded | None:
        if self.failure is not None:
            return ImageFailed(str(self.failure), answer)
        if self._exhausted:
            limit, whose = self._search_queries, f"the budget of {self.name}"
            if self._shared:  # what is left of it is this image's limit
                limit, whose = self._numbered, "the budget of all images"
            return BudgetSpent(limit, self._numbered, whose, answer)
        return None

    def _gain(self, digest: int) -> float:
        score = self._scores[digest]
        return self.target.gain(score) if math.isfinite(score) else NO_SCORE

    def _better(self, image: Tensor, gain: float) -> bool:
        """Whether an image is better than the best so far.

        The larger gain is better; among images that cross the score boundary of an objective, the
        smaller change is.
        """
        goal = self.target.boundary
        if goal is None or not goal.crossed(gain):
            return self._shortest == math.inf and gain > self.best_gain
        distance = float(torch.linalg.vector_norm(image.float() - self.task.image))
        shorter = distance < self._shortest
        self._shortest = min(distance, self._shortest)
        return shorter

    def close(self) -> None:
        """End; RunError where a replay has not come to the end of its log."""
        self.__dict__.pop("task", None)  # which refers to the account in turn
        del self._region  # a large one takes much
        self._earlier.clear()
        self._images = self._images[:0].clone()
        self._scores.clear()
        if self.failure is None and self._settled < len(self._logged):
            raise RunError(
                f"{self.name}: the search ends at query {self._settled}, but the log continues to "
                f"{len(self._logged)}; {CHANGED}"
            )


def _same(floats: Tensor, pixels: Tensor) -> bool:
    return torch.equal(floats, pixels.float())


def _check_numbers(candidates: Tensor) -> None:
    """InputError where a candidate is NaN throughout; single values are rounded like others.

    A sum costs next to nothing, and only where it is NaN are the values looked at.
    """
    if candidates.dtype == torch.uint8 or not math.isnan(float(candidates.sum())):
        return
    if bool(candidates.isnan().flatten(1).all(1).any()):
        raise InputError("the attack yielded a candidate that is NaN throughout")


def allowed(candidates: Tensor, region: Region) -> Tensor:
    """The pictures (N, 3, H, W) uint8 in a region nearest to the candidates."""
    if not region.is_box:
        candidates = region.project(candidates.float())
    # Bounds are whole grey levels, so that clamping after the rounding is the same as before it,
    # on a quarter of the memory; and what was not finite ends within them, too.
    return torch.clamp(to_8_bits(candidates), region.lower, region.upper)


def to_8_bits(images: Tensor) -> Tensor:
    """Grey levels (N, 3, H, W) as uint8: clipped to 0..255, rounded half to even, NaN as 0.

    OpenCV rounds and casts in one pass over the memory, where PyTorch takes two slower ones.
    """
    if images.dtype == torch.uint8 or not len(images):
        return images.to(torch.uint8)  # an attack may ask nothing; OpenCV may not
    rows = images.clamp(0.0, 255.0).reshape(-1, images.shape[-1]).numpy()
    return torch.from_numpy(cv2.convertScaleAbs(rows)).view(images.shape)
