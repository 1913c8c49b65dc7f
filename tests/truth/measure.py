"""Does one run of one row, and measures how each watcher judged it."""
import contextlib
import dataclasses
import time

from . import plan


@dataclasses.dataclass
class Run:
    """What one watcher reported about one run; times in seconds."""

    row: str
    number: int
    phase: float
    false_green_s: float  # while the fault lasted
    noticed_s: float  # from the begin of the fault to the first red answer; None: there was none
    says: str  # the text of the first red answer; None: there was none
    recovery_s: float  # from the end of the fault to the first green answer
    false_red_s: float  # while there was no fault
    oldest_green_s: float  # the greatest age of the data in a green answer
    gap_s: float  # the longest time without an answer


BACK_S = 40  # after a refused login the next one comes 10 s later


def _oldest(answers):
    return max((answer.age_s for answer in answers if answer.is_green and answer.age_s is not None), default=0.0)


def _judge(row, number, phase, timeline, began, ended, until):
    is_outage = isinstance(row, plan.Outage)
    is_own_stop = isinstance(row, plan.OwnStop)
    red = timeline.first(False, began)
    red = red if red and red.at <= (ended if is_outage else until) else None
    return Run(row.name, number, phase,
               false_green_s=timeline.seconds(True, began, ended) if is_outage else 0.0,
               noticed_s=red.at - began if red else None,
               says=red.says if red else None,
               recovery_s=timeline.first(True, ended).at - ended,
               false_red_s=0.0 if is_outage or is_own_stop else timeline.seconds(False, began, until),
               oldest_green_s=_oldest(timeline.between(began, until)),
               gap_s=0.0 if is_own_stop else timeline.longest_gap_s(began, until))


class Measurement:
    def __init__(self, stage, watchers):
        self.stage, self.watchers = stage, watchers
        self.quiet_since = time.monotonic()

    def timelines(self):
        return [watcher.timeline() for watcher in self.watchers]

    def run(self, row, number, phase):
        """Returns two Runs for each watcher: one of the quiet time before, one of the row."""
        if phase is not None:
            self.stage.wait_phase(phase)
        with contextlib.closing(row.steps(self.stage)) as steps:
            began = next(steps)
            row.last(self.stage, self.timelines, began)
            ended = next(steps)
        self.stage.last_until(lambda: all(timeline.first(True, ended) for timeline in self.timelines()), BACK_S)
        still_red = [watcher.name for watcher in self.watchers if not watcher.timeline().first(True, ended)]
        assert not still_red, f"{still_red}: not green within {BACK_S} s after {row.name}"
        if not isinstance(row, plan.Outage):
            self.stage.last_until(lambda: False, plan.WATCHED_AFTER_S)
        until = time.monotonic()
        found = [(_judge(plan.QUIET, number, None, timeline, self.quiet_since, began, began),
                  _judge(row, number, phase, timeline, began, ended, until)) for timeline in self.timelines()]
        self.quiet_since = until
        for watcher in self.watchers:
            watcher.forget(until)
        return found
