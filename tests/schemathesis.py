"""Hooks for the rules that a schema cannot express."""

import itertools
import re

import schemathesis

KEY = re.compile(r'[!#-+\--:<-\[\]-~]{1,255}|"[!#-+\--:<-\[\]-~]{1,255}"')
SITE = re.compile(r"^(https?://)[A-Za-z0-9.-]+(?=(:[0-9]*)?([/?#]|$))")
numbers = itertools.count()


@schemathesis.hook
def before_call(context, case, **kwargs):
    """Corrects requests that break only these rules; deliberately invalid requests stay invalid."""
    make_keys_unique(case.headers)
    if isinstance(case.body, dict):
        write_integers_without_fraction(case.body)
        limit_timeout_to_interval(case.body)
        replace_hosts(case.body)


def make_keys_unique(headers):
    """Each request needs its own idempotency key."""
    for name in list(headers or {}):
        if name.lower() == "idempotency-key" and KEY.fullmatch(str(headers[name])):
            headers[name] = f"key-{next(numbers)}"


def write_integers_without_fraction(body):
    """A schema accepts 60.0 as an integer; most JSON parsers do not."""
    for field, value in body.items():
        if isinstance(value, float) and value.is_integer():
            body[field] = int(value)


def limit_timeout_to_interval(target):
    """The timeout must not exceed the interval."""
    fields = ["interval_seconds", "timeout_seconds"]
    given = (target.get(field) for field in fields)
    interval, timeout = (usual if it is None else it for it, usual in zip(given, [60, 10]))
    if type(interval) is int and type(timeout) is int and 10 <= interval < timeout <= 86400:
        target["timeout_seconds"] = interval


def replace_hosts(body):
    """Moves each URL to a different host in a network that the service does not request."""
    if isinstance(body.get("url"), str):
        body["url"] = private_url(body["url"])
    if isinstance(body.get("urls"), list):
        body["urls"] = [private_url(url) if isinstance(url, str) else url for url in body["urls"]]


def private_url(url):
    number = next(numbers)
    return SITE.sub(rf"\g<1>10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", url)
