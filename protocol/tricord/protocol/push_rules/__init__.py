"""Push rules: which events a user is notified of, and how.

A user's ruleset is plain JSON, as clients see it. It is compiled once, and evaluated for each event:

    rules = compile_rules(default_rules(user_id))
    event = PushedEvent(client_event, member_count=2, sender_level=0)
    outcome = rules.evaluate(event, display_name="Alice")

https://spec.matrix.org/v1.19/client-server-api/#push-rules
"""

from tricord.protocol.push_rules.evaluation import (
    NOTHING,
    CompiledRules,
    Outcome,
    Ruleset,
    compile_rules,
)
from tricord.protocol.push_rules.predefined import default_rules
from tricord.protocol.push_rules.pushed_event import PushedEvent

__all__ = [
    "NOTHING",
    "CompiledRules",
    "Outcome",
    "PushedEvent",
    "Ruleset",
    "compile_rules",
    "default_rules",
]
