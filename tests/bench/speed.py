"""Requests per second through nginx, and the backend's CPU time per request, from the same loads."""
from . import load, settings

GROUP = "requests per second"
CPU = "backend CPU per request"


def measure(stage, contenders, results):
    def run(contender):
        stage.settle()
        load.wrk(stage, contender.path, settings.WARM_UP_S)
        stage.settle()
        before = contender.cpu_seconds()
        done = load.wrk(stage, contender.path)
        return done.rate, 1e6 * (contender.cpu_seconds() - before) / max(1, done.requests)
    measured = load.interleave({name: lambda c=c: run(c) for name, c in contenders.items()})
    for name, contender in contenders.items():
        results.add(GROUP, name, [max(rate, 0.1) for rate, _ in measured[name]], "/s", contender.label)
    for name, contender in contenders.items():
        # The times of fcgiwrap do not include its scripts that have ended, so it gets no figure.
        if contender.root_pid and name != "cgi_script":
            # The clock has ticks of 10 ms. A load that is too short for one tick has no figure; zero would be wrong.
            results.add(CPU, name, [max(cpu, 0.01) for _, cpu in measured[name]], "us", contender.label)
    for than, target in (("least", 0.9), ("go_cached", 2), ("fastapi_cached", 4), ("fastapi_query", 400)):
        results.judge_ratio("requests/s", GROUP, "health", than, target, at_least=True)
    for than, target in (("least", 1.2), ("threads", 0.45), ("go_cached", 0.2)):
        results.judge_ratio("CPU per request", CPU, "health", than, target)
