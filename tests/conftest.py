"""What holds for every test: how Hypothesis looks for examples, and that Ctrl-C can be tried.

Time decides nothing: neither how long an example takes, nor how long it takes to make one. Where `CI` is set the examples follow from
the code alone, so that the same tree gives the same answer twice; elsewhere each run looks at others.
"""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

CI = bool(os.environ.get("CI"))
settings.register_profile(
    "perdure",
    deadline=None,
    derandomize=CI,
    database=None if CI else settings.default.database,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("perdure")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what runs in the background, and all its children with it
    signal.signal(signal.SIGINT, signal.default_int_handler)
