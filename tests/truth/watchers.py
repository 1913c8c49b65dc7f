"""The programs that watch the database, and what each of them reported when. Another one is a class with a look()."""
import collections
import datetime
import json
import threading
import time

from harness import fastcgi

# at: when the answer came, by the monotonic clock. age_s: the age of the data in a green answer; None: unknown.
Answer = collections.namedtuple("Answer", "at is_green says age_s")


class Timeline:
    """Answers in the order of time. Each is valid until the next one."""

    def __init__(self, answers):
        self.answers = answers

    def seconds(self, is_green, begin, end):
        """Returns how many seconds from begin to end were green, or red."""
        ends = [answer.at for answer in self.answers[1:]] + [end]
        return sum(max(0.0, min(until, end) - max(answer.at, begin))
                   for answer, until in zip(self.answers, ends) if answer.is_green == is_green)

    def first(self, is_green, since):
        """Returns the first green, or red, answer since then; None: there is none."""
        return next((answer for answer in self.answers if answer.is_green == is_green and answer.at >= since), None)

    def between(self, begin, end):
        return [answer for answer in self.answers if begin <= answer.at <= end]

    def longest_gap_s(self, begin, end):
        """Returns the longest time without an answer. No measured time is more exact than this."""
        times = [begin] + [answer.at for answer in self.between(begin, end)] + [end]
        return max(later - earlier for earlier, later in zip(times, times[1:]))


class Watcher:
    """Calls look() again and again on a thread, until the context ends."""

    name = None
    every_s = 0.05

    def __init__(self):
        self._answers = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.failure = None

    def look(self):
        """Returns an Answer; may block for any time."""
        raise NotImplementedError

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._closing.set()
        self._thread.join(15)

    def _watch(self):
        try:
            while not self._closing.wait(self.every_s):
                self._answers.append(self.look())
        except Exception as failure:  # the main thread reports it
            self.failure = failure

    def timeline(self):
        """Returns all answers so far."""
        if self.failure:
            raise AssertionError(f"{self.name} cannot be watched any more: {self.failure!r}")
        return Timeline(list(self._answers))

    def forget(self, before):
        """Drops older answers, except the one that is valid at that time."""
        answers = self._answers
        del answers[:max(0, sum(answer.at <= before for answer in answers) - 1)]


class HealthApi(Watcher):
    """Watches health-api itself, with requests on one connection."""

    name = "health-api"
    every_s = 0.01

    def __init__(self, address):
        super().__init__()
        self.connection = fastcgi.Connection(address, timeout_s=30)

    def look(self):
        response = self.connection.ask()
        at, document = time.monotonic(), json.loads(response.body)
        if response.status == 200:
            age = datetime.datetime.now(datetime.timezone.utc) - datetime.datetime.fromisoformat(document["time"])
            return Answer(at, True, "healthy", age.total_seconds())
        return Answer(at, False, "{check} {reason}".format(**document["failing"][0]), None)
