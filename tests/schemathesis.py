"""What Schemathesis is told beside the description, since no schema can say it."""

import itertools
import re

import schemathesis

KEY = re.compile(r'[!#-+\--:<-\[\]-~]{1,255}|"([!#-\[\]-~]|\\["\\]){1,255}"')
HOST = re.compile(r"^(https?://)[^/?#@]+")
numbers = itertools.count()


@schemathesis.hook
def before_call(context, case, **kwargs):
    """Mends what is only wrong in this way; whatever is meant to be wrong stays so."""
    give_a_key_of_its_own(case.headers)
    if isinstance(case.body, dict):
        let_checks_end_before_the_next(case.body)
        let_nobody_out_there_be_checked(case.body)


def give_a_key_of_its_own(headers):
    """A key is for one request, and Schemathesis asks many."""
    for name in list(headers or {}):
        if name.lower() == "idempotency-key" and KEY.fullmatch(str(headers[name])):
            headers[name] = f"key-{next(numbers)}"


def let_checks_end_before_the_next(target):
    """A timeout is not longer than the interval; and 60.0 is no whole number to most that read JSON."""
    fields = ["interval_seconds", "timeout_seconds"]
    for field in fields:
        value = target.get(field)
        if isinstance(value, float) and value.is_integer():
            target[field] = int(value)
    interval, timeout = (target.get(field, usual) for field, usual in zip(fields, [60, 10]))
    if type(interval) is int and type(timeout) is int and 10 <= interval < timeout <= 86400:
        target["timeout_seconds"] = interval


def let_nobody_out_there_be_checked(batch):
    """URLs are made up, and some of them may be somebody's: this machine refuses to ask itself."""
    urls = batch.get("urls")
    if isinstance(urls, list):
        batch["urls"] = [HOST.sub(r"\g<1>127.0.0.1", url) if isinstance(url, str) else url for url in urls]
    failures = batch.get("max_failures")
    if isinstance(failures, float) and failures.is_integer():
        batch["max_failures"] = int(failures)
