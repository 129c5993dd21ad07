"""What Schemathesis is told beside the description, since no schema can say it."""

import itertools
import re

import schemathesis

KEY = re.compile(r'[!#-+\--:<-\[\]-~]{1,255}|"([!#-\[\]-~]|\\["\\]){1,255}"')
SITE = re.compile(r"^(https?://)[A-Za-z0-9.-]+(?=(:[0-9]*)?([/?#]|$))")
numbers = itertools.count()


@schemathesis.hook
def before_call(context, case, **kwargs):
    """Mends what is only wrong in this way; whatever is meant to be wrong stays so."""
    give_a_key_of_its_own(case.headers)
    if isinstance(case.body, dict):
        write_whole_numbers_as_such(case.body)
        let_checks_end_before_the_next(case.body)
        ask_nobody_out_there(case.body)


def give_a_key_of_its_own(headers):
    """A key is for one request, and Schemathesis asks many."""
    for name in list(headers or {}):
        if name.lower() == "idempotency-key" and KEY.fullmatch(str(headers[name])):
            headers[name] = f"key-{next(numbers)}"


def write_whole_numbers_as_such(body):
    """60.0 is a whole number to a schema, and none to most that read JSON."""
    for field, value in body.items():
        if isinstance(value, float) and value.is_integer():
            body[field] = int(value)


def let_checks_end_before_the_next(target):
    """A timeout is not longer than the interval."""
    fields = ["interval_seconds", "timeout_seconds"]
    given = (target.get(field) for field in fields)
    interval, timeout = (usual if it is None else it for it, usual in zip(given, [60, 10]))
    if type(interval) is int and type(timeout) is int and 10 <= interval < timeout <= 86400:
        target["timeout_seconds"] = interval


def ask_nobody_out_there(body):
    """Another site for each URL, in a network that the service does not go to."""
    if isinstance(body.get("url"), str):
        body["url"] = elsewhere(body["url"])
    if isinstance(body.get("urls"), list):
        body["urls"] = [elsewhere(url) if isinstance(url, str) else url for url in body["urls"]]


def elsewhere(url):
    number = next(numbers)
    return SITE.sub(rf"\g<1>10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", url)
