"""The one thread that uses the model: parts wait in a queue and are judged in their order."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from PIL import Image

from common.errors import RunError
from common.inspection.verdict import Rule
from common.line.service.bounds import RETRY, NotNow
from common.line.service.resident import Resident
from common.patchcore import Prediction
from common.patchcore.exact.device import accelerator

_LOOK: Final = 0.2
_SHARE: Final = 0.3
"""So long, in times of one image, another one is waited for while the network is at work;"""
_LONGEST_WAIT: Final = 0.05
"""seconds at most."""


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


class Judge:
    """Judges pictures one after another, by the model that is resident when their turn comes.

    Parameters
    ----------
    resident : Resident

    Notes
    -----
    Pictures of one bank that wait together go through `PatchCore.predict_each` as one stream, in
    which the network is at work on the next while this one is searched: as fast as `predict`. On a
    CPU every image is a call of its own there, and its score does not depend on its neighbours. On
    a GPU, where images of a batch may differ in the last bit, every picture is a stream of its own.
    """

    def __init__(self, resident: Resident) -> None:
        self._resident = resident
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._ending = self._held = self._busy = False
        self._typical = 0.1
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
        """Let another model judge from the next stream on."""
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
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                while self._held or not self._waiting:
                    if self._ending:
                        return
                    self._changed.wait(_LOOK)
                job, resident = self._waiting.popleft(), self._resident
                self._busy = True
            self._stream(job, resident)
            del job, resident  # a model that is dropped must be nobody's

    def _stream(self, first: _Job, resident: Resident) -> None:
        """Judge a picture and those that come behind it while it is judged."""
        begun: deque[_Job] = deque()
        try:
            rule, bank = _fitting(first, resident)
        except Exception as error:
            first.done.set_exception(error)
            return
        alone = accelerator(resident.model.extractor.device) is not None

        def images() -> Iterator[Image.Image]:
            job: _Job | None = first
            while job is not None:
                begun.append(job)
                yield job.image
                job = None if alone else self._next(resident, bank)

        clock = time.monotonic()
        try:
            for prediction in resident.model.predict_each(images(), rule.category):
                job = begun.popleft()
                own = resident.rule(job.category)
                job.done.set_result(Judged(prediction, own, resident))
                now = time.monotonic()
                self._typical = 0.8 * self._typical + 0.2 * (now - clock)
                clock = now
        except Exception:
            # One of those begun; the stream reads ahead, so each is asked for by itself.
            for job in begun:
                self._single(job, resident)

    def _next(self, resident: Resident, bank: str) -> _Job | None:
        """The next picture for the same model and bank, if it is there or comes in a moment."""
        until = time.monotonic() + min(_LONGEST_WAIT, _SHARE * self._typical)
        with self._changed:
            while not self._waiting and not self._held:
                left = until - time.monotonic()
                if left <= 0 or self._ending:
                    return None
                self._changed.wait(left)
            if self._resident is not resident or self._held:
                return None
            job = self._waiting[0]
            try:
                same = _fitting(job, resident)[1] == bank
            except Exception:
                return None  # its own turn tells it what is wrong
            return self._waiting.popleft() if same else None

    def _single(self, job: _Job, resident: Resident) -> None:
        try:
            rule = resident.rule(job.category)
            prediction = resident.model.predict_single(job.image, rule.category)
            job.done.set_result(Judged(prediction, rule, resident))
        except Exception as error:
            job.done.set_exception(error)


class AnotherModel(Exception):
    """A picture was to be judged by one model alone, and another is resident."""


def _fitting(job: _Job, resident: Resident) -> tuple[Rule, str]:
    """Rule and bank of a picture."""
    if job.only is not None and job.only != resident.found.sha256:
        raise AnotherModel
    rule = resident.rule(job.category)
    return rule, resident.model.bank_name(rule.category)


def _ends() -> NotNow:
    return NotNow("the service is ending; send the part again later", RETRY)
