"""What a query string costs with 100 checks: the ready answer with and without a parameter that the program ignores,
answers that it renders for ?only=, and the most expensive query."""
from . import load, settings
from .checks import write_checks

GROUP = "requests per second by query"
CPU = "backend CPU per request by query"
QUERIES = {
    "plain": ("", "no query"),
    "ignored": ("?v=1", "an ignored parameter"),
    "process": ("?only=process", "?only=process"),
    "check": ("?only=check_050", "?only=check_050"),
    "long": ("?" + "&".join(["only=check_099"] * 258), "?only=check_099, 258 times: as often as it is accepted"),
}


def checks(stage):
    return {"HEALTH_CHECKS": write_checks(stage, 100)}


def measure(stage, health, results):
    def run(query):
        path = f"/api/health{query}"
        load.wrk(stage, path, settings.WARM_UP_S)
        stage.settle()
        before = load.cpu_seconds(health.pid)
        done = load.wrk(stage, path)
        return done.rate, 1e6 * (load.cpu_seconds(health.pid) - before) / max(1, done.requests)
    measured = load.interleave({name: lambda query=query: run(query) for name, (query, _) in QUERIES.items()})
    for name, (_, label) in QUERIES.items():
        results.add(GROUP, name, [max(rate, 0.1) for rate, _ in measured[name]], "/s", label)
        results.add(CPU, name, [max(cpu, 0.01) for _, cpu in measured[name]], "us", label)
    results.judge_ratio("requests/s with an ignored parameter", GROUP, "ignored", "plain", 0.95, at_least=True)
    results.judge_ratio("CPU per request with ?only=process", CPU, "process", "plain", 2)
    results.judge_ratio("CPU per request with the most expensive query", CPU, "long", "plain", 5)
