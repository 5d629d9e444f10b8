"""Parts wait in a queue and are judged in their order: by the network's threads, then by one."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.errors import RunError
from common.inspection.verdict import Rule
from common.line.service.bounds import RETRY, NotNow
from common.line.service.resident import Resident
from common.patchcore import Prediction
from common.patchcore.exact.device import accelerator
from common.patchcore.network.inputs import ImageInput

_LOOK: Final = 0.2


@dataclass(frozen=True)
class Judged:
    """What the model said of a picture, and which one it was."""

    prediction: Prediction
    rule: Rule
    resident: Resident


@dataclass
class _Job:
    image: Image.Image
    category: str | None
    only: str | None
    done: Future[Judged] = field(default_factory=Future)


@dataclass(frozen=True)
class _Begun:
    """A picture in the network, or behind it."""

    job: _Job
    rule: Rule
    resident: Resident
    image: ImageInput
    features: Future[NDArray[np.floating]]


class Judge:
    """Judges pictures in their order, each by the model that is resident when its turn comes.

    Parameters
    ----------
    resident : Resident

    Notes
    -----
    On a CPU a picture goes into the network as soon as one of its threads is free, whatever has
    become of those before it, and its bank is searched while the next ones are computed: as fast as
    `predict`. There, too, every image is a call of its own, and its score does not depend on its
    neighbours. On a GPU, where images of a batch may differ in the last bit, each goes alone.
    """

    def __init__(self, resident: Resident) -> None:
        self._resident = resident
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._ending = self._held = self._busy = False
        self._typical = 0.1
        self._since: float | None = None
        self._beside = resident.model.source.side_by_side
        self._thread = threading.Thread(target=self._run, name="judge", daemon=True)
        self._thread.start()

    @property
    def resident(self) -> Resident:
        """The model that the next picture is judged by."""
        return self._resident

    @property
    def waiting(self) -> int:
        """Pictures that wait for their turn."""
        return len(self._waiting)

    @property
    def typical_seconds(self) -> float:
        """What a picture took lately."""
        return self._typical

    def judge(self, image: Image.Image, category: str | None, only: str | None = None) -> Judged:
        """Judge a picture; returns when its turn came.

        Parameters
        ----------
        image : PIL image
            8-bit RGB.
        category : str or None
        only : str, optional
            Sha256 of a model: another one refuses.

        Raises
        ------
        NotNow
            If the service ends first.
        InputError
            If the model cannot judge it.
        """
        job = _Job(image, category, only)
        with self._changed:
            if self._ending:
                raise _ends()
            self._waiting.append(job)
            self._changed.notify_all()
        return job.done.result()

    def take_over(self, resident: Resident) -> None:
        """Let another model judge what the network has not begun with."""
        with self._changed:
            self._resident = resident

    def hold(self, seconds: float) -> None:
        """Finish what the model has in hand, and begin nothing; returns when that is so.

        Parameters
        ----------
        seconds : float
            How long to wait for that.

        Raises
        ------
        RunError
            If it takes longer; then it goes on as before.
        """
        until = time.monotonic() + seconds
        with self._changed:
            self._held = True
            while self._busy:
                if time.monotonic() >= until:
                    self._held = False
                    self._changed.notify_all()
                    raise RunError(f"the parts in hand were not done within {seconds:g} seconds")
                self._changed.wait(_LOOK)

    def go_on(self, resident: Resident) -> None:
        """Judge what waits, and all that comes, by this model."""
        with self._changed:
            self._resident, self._held = resident, False
            self._changed.notify_all()

    def end(self) -> None:
        """Finish what the model has in hand; what waits is told to come again."""
        with self._changed:
            self._ending = True
            left = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        for job in left:
            job.done.set_exception(_ends())

    def join(self) -> None:
        """Wait for the thread."""
        self._thread.join()

    def _run(self) -> None:
        with ThreadPoolExecutor(self._beside, thread_name_prefix="network") as pool:
            begun: deque[_Begun] = deque()
            while (turn := self._turn(begun)) is not None:
                for job, resident in turn:
                    if (own := self._begin(pool, job, resident)) is not None:
                        begun.append(own)
                del turn
                if begun and begun[0].features.done():
                    self._finish(begun.popleft())
                    self._clock(bool(begun))

    def _turn(self, begun: deque[_Begun]) -> list[tuple[_Job, Resident]] | None:
        """Wait until something can be done; the pictures to begin with, or None at the end."""
        with self._changed:
            while True:
                self._busy = bool(begun)
                self._changed.notify_all()
                room = 0 if self._held else 2 * self._beside - len(begun)
                taken = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
                if taken or (begun and begun[0].features.done()):
                    self._busy = True
                    return [(job, self._resident) for job in taken]
                if self._ending and not begun:
                    return None
                self._changed.wait(_LOOK)

    def _begin(self, pool: ThreadPoolExecutor, job: _Job, resident: Resident) -> _Begun | None:
        """Let the network compute a picture; on a GPU, judge it at once and alone."""
        try:
            rule = _rule(job, resident)
            if accelerator(resident.model.extractor.device) is not None:
                prediction = resident.model.predict_single(job.image, rule.category)
                job.done.set_result(Judged(prediction, rule, resident))
                self._clock(False)
                return None
            own = ImageInput(job.image)
            features = pool.submit(resident.model.source.single, own)
        except Exception as error:
            job.done.set_exception(error)
            return None
        features.add_done_callback(self._wake)
        return _Begun(job, rule, resident, own, features)

    def _finish(self, own: _Begun) -> None:
        """Search the bank for a picture whose features are there."""
        try:
            prediction = own.resident.model.predict_features(
                own.image, own.features.result(), own.rule.category
            )
            own.job.done.set_result(Judged(prediction, own.rule, own.resident))
        except Exception as error:
            own.job.done.set_exception(error)

    def _wake(self, _features: Future[NDArray[np.floating]]) -> None:
        with self._changed:
            self._changed.notify_all()

    def _clock(self, more: bool) -> None:
        """Note what a picture takes while there is always another one."""
        now = time.monotonic()
        if self._since is not None:
            self._typical = 0.8 * self._typical + 0.2 * (now - self._since)
        self._since = now if more else None


class AnotherModel(Exception):
    """A picture was to be judged by one model alone, and another is resident."""


def _rule(job: _Job, resident: Resident) -> Rule:
    """The rule of a picture, for which there is a bank."""
    if job.only is not None and job.only != resident.found.sha256:
        raise AnotherModel
    rule = resident.rule(job.category)
    resident.model.bank_name(rule.category)
    return rule


def _ends() -> NotNow:
    return NotNow("the service is ending; send the part again later", RETRY)
