"""One image's search in progress: what it asked, what it was told, what it may still spend."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import torch
from torch import Tensor

from iqattack.attacks.contract import Answer, Attack, Task
from iqattack.constraints import Constraint, Floor
from iqattack.engine.log import Rows, image_hash
from iqattack.errors import InputError, RunError
from iqattack.objectives import Target

# Answers in a row that needed no query, after which a search is held to go round in circles.
FREE_ANSWERS = 200

NO_SCORE = -1.0  # gain of a candidate whose score is no number: as far the wrong way as can be

CHANGED = "the image, the attack or a library changed since: start anew in another folder"


@dataclass(frozen=True)
class Query:
    """An image that waits for its score: uint8 (3, H, W)."""

    image: Tensor
    digest: int


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread: a sum depends on how many share it, and a replay must not."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Search:
    """Runs one attack on one image and does for it what attacks must not do themselves.

    Candidates are projected, rounded to 8 bits and held above the floor; an image that was scored
    before is answered from memory; what the log of an earlier session holds is replayed, query
    by query; the best image is kept; and the search is closed once `queries` images, the clean
    one included, were scored. A candidate whose score is no finite number is a query like any
    other that gained nothing.

    Raises RunError when the replay asks for other images than the log has, InputError when the
    attack cannot take the image.
    """

    @one_thread()
    def __init__(
        self,
        name: str,
        image: Tensor,
        *,
        attack: Attack,
        target: Target,
        constraint: Constraint,
        floor: Floor | None,
        queries: int,
        rng: torch.Generator,
        logged: Rows,
    ) -> None:
        clean = image.float()
        box = constraint.box(clean)
        self.name = name
        self.clean = image
        self.target = target
        self.best = image
        self.best_gain = 0.0
        self.best_score = target.clean
        self.spent = 0
        self.done = False
        self.waiting: deque[Query] = deque()
        self._queries = queries
        self._constraint = constraint
        self._floor = floor
        self._box = box
        self._box8 = tuple(bound.to(torch.uint8) for bound in box)
        self._grey = clean
        self._logged = logged
        self._scores: dict[int, float] = {}
        self._asked: list[int] = []  # hashes of the candidates of the current yield
        self._images = image[None]
        self._exhausted = False
        self._free = 0
        self.stages: list[tuple[int, str]] = []
        self._shortest = math.inf  # distance of the best image, once one crossed the boundary
        self._account(image_hash(image), target.clean)
        task = Task(
            image8=image,
            lower8=self._box8[0],
            upper8=self._box8[1],
            project=lambda candidates: constraint.project(clean, candidates, box),
            queries=queries - 1,
            reach=target.reach,
            boundary=target.boundary,
            rng=rng,
            stage=lambda name: self.stages.append((self.spent + 1, name)),
        )
        self._attack = attack(task)
        if queries == 1 or target.reach <= 0.0:
            self._end()
        else:
            self._resume(None)

    @one_thread()
    def score(self, query: Query, score: float) -> None:
        """Take the model's score of an image that was waiting."""
        self._account(query.digest, score)
        self._settle()

    def _account(self, digest: int, score: float) -> None:
        """Count one query, and hold it against the log of an earlier session."""
        if self.spent < len(self._logged) and self._logged["hash"][self.spent] != digest:
            raise RunError(
                f"{self.name}: query {self.spent + 1} asks for another image than the log has; "
                f"{CHANGED}"
            )
        self.spent += 1
        self._scores[digest] = score

    def _ask(self, candidates: Tensor) -> None:
        """Prepare candidates for the model; those that it does not know yet wait for a score."""
        images = self._encoded(candidates)
        self._images = images
        self._asked = []
        self.waiting.clear()
        coming: set[int] = set()
        for image in images:
            digest = image_hash(image)
            if digest not in self._scores and digest not in coming:
                if self.spent + len(coming) == self._queries:
                    self._exhausted = True
                    break
                coming.add(digest)
                self.waiting.append(Query(image, digest))
            self._asked.append(digest)
        self._free = 0 if coming else self._free + 1

    def _encoded(self, candidates: Tensor) -> Tensor:
        """What the model is to see of candidates (N, 3, H, W): allowed, and in 8 bits."""
        if not self._constraint.is_box:
            candidates = self._constraint.project(self._grey, candidates.float(), self._box)
        # Bounds are whole grey levels, so that clamping after the rounding is the same as before
        # it, on a quarter of the memory; and what was no number ends within them, too.
        images = torch.clamp(to_8_bits(candidates), *self._box8)
        if self._floor is not None:
            images = self._floor.enforce(self._grey, images.float()).to(torch.uint8)
        return images

    def _replay(self) -> None:
        while self.waiting and self.spent < len(self._logged):
            self._account(self.waiting.popleft().digest, float(self._logged["score"][self.spent]))

    def _settle(self) -> None:
        """Once every candidate has its score: keep the best and let the attack go on."""
        if all(digest in self._scores for digest in self._asked):
            self._resume(self._answer())

    def _answer(self) -> Answer:
        gains = [self._gain(digest) for digest in self._asked]
        for image, digest, gain in zip(self._images, self._asked, gains, strict=False):
            if self._better(image, gain):
                self.best = image.clone()
                self.best_gain, self.best_score = gain, self._scores[digest]
        return Answer(
            self._images, torch.tensor(gains, dtype=torch.float64), self._queries - self.spent
        )

    def _gain(self, digest: int) -> float:
        score = self._scores[digest]
        return self.target.gain(score) if math.isfinite(score) else NO_SCORE

    def _better(self, image: Tensor, gain: float) -> bool:
        """Whether an image goes before the best so far.

        The larger gain does; where the objective has a score boundary, of the images that cross it
        the one that is least different does.
        """
        goal = self.target.boundary
        if goal is None or not goal.crossed(gain):
            return self._shortest == math.inf and gain > self.best_gain
        distance = float(torch.linalg.vector_norm(image.float() - self._grey))
        shorter = distance < self._shortest
        self._shortest = min(distance, self._shortest)
        return shorter

    def _nothing_left(self) -> bool:
        """Whether the score is at its end, and no crossing of a boundary may come nearer."""
        return self.target.boundary is None and self.best_gain >= self.target.reach

    def _resume(self, answer: Answer | None) -> None:
        while not self.done:
            if self._exhausted or self._nothing_left() or self._free >= FREE_ANSWERS:
                self._end()
                return
            try:
                candidates = next(self._attack) if answer is None else self._attack.send(answer)
            except StopIteration:
                self._end()
                return
            except InputError:
                self.close()
                raise
            self._ask(candidates)
            self._replay()
            if self.waiting:
                return
            answer = self._answer()

    def close(self) -> None:
        """End at once."""
        self.done = True
        self._attack.close()

    def _end(self) -> None:
        self.close()
        if self.spent < len(self._logged):
            raise RunError(
                f"{self.name}: the search ends at query {self.spent}, the log goes on to "
                f"{len(self._logged)}; {CHANGED}"
            )


def to_8_bits(images: Tensor) -> Tensor:
    """Grey levels (N, 3, H, W) as uint8: clipped to 0..255, rounded half to even, NaN as 0.

    OpenCV rounds and casts in one pass over the memory, where PyTorch takes two slower ones.
    """
    if images.dtype == torch.uint8 or not len(images):
        return images.to(torch.uint8)  # an attack may ask nothing; OpenCV may not
    rows = images.clamp(0.0, 255.0).reshape(-1, images.shape[-1]).numpy()
    return torch.from_numpy(cv2.convertScaleAbs(rows)).view(images.shape)
