"""Adds to a counter and prints its totals. Needs Python 3.9 and nothing else.

    python3 client.py http://127.0.0.1:4000 clicks 5 1 -2
"""

import http.client, itertools, json, random, secrets, sys, threading, time
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

ANSWER_MAX = 5  # seconds
QUIET_MAX = 45  # seconds; a quiet stream carries a comment every 15
BUSY = {429, 500, 502, 503, 504}  # statuses after which the same add is sent again
BROKEN = (OSError, http.client.HTTPException, ValueError)  # no answer, or half of one


class Counter:
    """A counter at one node. Each add has an id, and counts once however often it is sent."""

    def __init__(self, url, name):
        self.address = f"{url.rstrip('/')}/api/counters/{quote(name, safe='')}"
        self.client, self.numbers = secrets.token_hex(8), itertools.count(1)  # no gaps
        self.token = ""  # the state that this client has seen: no node answers with less

    def ask(self, path="", body=None, **headers):
        headers |= {"Content-Type": "application/json", "Counter-Token": self.token}
        data = json.dumps(body).encode() if body else None
        with urlopen(Request(self.address + path, data, headers), timeout=ANSWER_MAX) as answer:
            self.token = answer.headers.get("Counter-Token", self.token)
            return json.load(answer)

    def add(self, amount):
        """Returns once the server has acknowledged the add. Raises ValueError if it is refused."""
        key = {"Idempotency-Key": f"{self.client}:{next(self.numbers)}"}
        for attempt in itertools.count():
            try:
                return self.ask("/add", {"amount": amount}, **key)
            except HTTPError as refusal:
                if refusal.code not in BUSY:
                    answer = json.load(refusal)
                    if answer["error"] == "cannot_tell":  # too old for the server to know: done
                        return None
                    raise ValueError(answer["message"]) from None
            except BROKEN:
                pass  # it may have been applied
            back_off(attempt)

    def totals(self):
        """Yields every total from now on. A lost stream is opened again."""
        for attempt in itertools.count():
            try:
                with urlopen(self.address + "/events", timeout=QUIET_MAX) as lines:
                    for line in lines:
                        if line.startswith(b"data:"):
                            yield int(json.loads(line[5:])["total"])  # a string beyond 2^53 - 1
            except BROKEN:
                pass
            back_off(attempt)


def back_off(attempt):
    """Waits longer each time, and at random, so that clients do not come back together."""
    time.sleep(random.uniform(0.1, min(10, 2.6 * 2 ** min(attempt, 2))))


if __name__ == "__main__":
    counter = Counter(*sys.argv[1:3])
    adds = [int(amount) for amount in sys.argv[3:]]
    threading.Thread(target=lambda: [counter.add(amount) for amount in adds], daemon=True).start()
    for total, _ in itertools.groupby(counter.totals()):
        print(total, flush=True)
