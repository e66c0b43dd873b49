"""The commands of a workflow task: all checked, each against the state as those before it will leave it; then carried out (2.2).

Writes nothing itself: the tables name who does, by command. Decides which command is wrong, and why. What a wrong one
leads to is `completion`'s.

Easily got wrong: checking changes nothing. A completion whose last command is bad must leave no trace of the first, so
the check keeps what it expects in a `Plan`, and only a plan without fault is carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from temporalio.api.command.v1 import Command

from perdure.engine.core import activity_options, codes, update_messages
from perdure.engine.core import close_commands as close
from perdure.engine.core import nexus_commands as nexus
from perdure.engine.core import outbound_commands as outbound
from perdure.engine.core import pending_commands as pending
from perdure.engine.core import upsert_commands as upserts
from perdure.engine.core.outcome import Env
from perdure.engine.core.plan import Plan
from perdure.engine.core.start import metadata_complaint
from perdure.engine.core.state import Run
from perdure.engine.core.transaction import Transaction
from perdure.engine.core.update_messages import Answers
from perdure.model.rpc import invalid_argument

_CHECKS: Final[dict[int, Callable[[Plan, Command], None]]] = {
    codes.SCHEDULE_ACTIVITY: pending.check_schedule_activity,
    codes.CANCEL_ACTIVITY: pending.check_cancel_activity,
    codes.START_TIMER: pending.check_start_timer,
    codes.CANCEL_TIMER: pending.check_cancel_timer,
    codes.RECORD_MARKER: upserts.check_marker,
    codes.UPSERT_ATTRIBUTES: upserts.check_upsert,
    codes.MODIFY_PROPERTIES: upserts.check_properties,
    codes.START_CHILD: outbound.check_start_child,
    codes.SIGNAL_EXTERNAL: outbound.check_signal_external,
    codes.CANCEL_EXTERNAL: outbound.check_cancel_external,
    codes.SCHEDULE_OPERATION: nexus.check_schedule,
    codes.CANCEL_OPERATION: nexus.check_cancel,
    codes.COMPLETE_WORKFLOW: close.check_complete,
    codes.FAIL_WORKFLOW: close.check_fail,
    codes.CANCEL_WORKFLOW: close.check_cancel,
    codes.CONTINUE_AS_NEW: close.check_continue,
}
_ACTIONS: Final[dict[int, Callable[[Transaction, Command, int], None]]] = {
    codes.CANCEL_ACTIVITY: pending.cancel_activity,
    codes.START_TIMER: pending.start_timer,
    codes.CANCEL_TIMER: pending.cancel_timer,
    codes.RECORD_MARKER: upserts.record_marker,
    codes.UPSERT_ATTRIBUTES: upserts.upsert,
    codes.MODIFY_PROPERTIES: upserts.modify_properties,
    codes.START_CHILD: outbound.start_child,
    codes.SIGNAL_EXTERNAL: outbound.signal_external,
    codes.CANCEL_EXTERNAL: outbound.cancel_external,
    codes.SCHEDULE_OPERATION: nexus.schedule,
    codes.CANCEL_OPERATION: nexus.cancel,
    codes.COMPLETE_WORKFLOW: close.complete,
    codes.FAIL_WORKFLOW: close.fail,
    codes.CANCEL_WORKFLOW: close.cancel,
    codes.CONTINUE_AS_NEW: close.continue_run,
}
"""Those that need nothing of the plan; scheduling an activity does (its options)."""
_CLOSING: Final = frozenset((codes.COMPLETE_WORKFLOW, codes.FAIL_WORKFLOW, codes.CANCEL_WORKFLOW, codes.CONTINUE_AS_NEW))
_KNOWN: Final = frozenset((*_CHECKS, codes.PROTOCOL_MESSAGE))


def check(run: Run, commands: Iterable[Command], completed_event_id: int, env: Env, answers: Answers | None = None) -> Plan:
    """Checks all commands of a completion whose event will have the id `completed_event_id`.

    Raises:
        RpcError: InvalidArgument for a sequence that is no sequence of commands: the task stays started.
        Refused: for the first command that is wrong.
    """
    plan = Plan(run, commands, completed_event_id, env)
    plan.answers = answers
    kinds = [command.command_type for command in plan.commands]
    if not _CLOSING.isdisjoint(kinds[:-1]):
        raise invalid_argument("invalid command sequence: a command that closes the workflow must be the last one")
    if not _KNOWN.issuperset(kinds):
        raise invalid_argument(f"unknown command type: {next(kind for kind in kinds if kind not in _KNOWN)}")
    for kind, command in zip(kinds, plan.commands, strict=True):
        if command.HasField("user_metadata"):
            _check_metadata(command)
        if kind == codes.PROTOCOL_MESSAGE:
            update_messages.check_command(plan, command)
            continue
        _CHECKS[kind](plan, command)
        plan.next_event_id += 1
    if answers is not None:
        update_messages.check_rest(plan, answers, closing=bool(kinds) and kinds[-1] in _CLOSING)
    return plan


def carry_out(tx: Transaction, plan: Plan, completed_event_id: int) -> None:
    """Does what a faultless plan says."""
    options = iter(plan.options)
    for command in plan.commands:
        kind = command.command_type
        if kind == codes.SCHEDULE_ACTIVITY:
            activity_options.write_scheduled(tx, command, next(options), completed_event_id)
        elif kind == codes.PROTOCOL_MESSAGE:
            update_messages.carry_out_command(tx, plan, command)
        else:
            _ACTIONS[kind](tx, command, completed_event_id)


def _check_metadata(command: Command) -> None:
    wrong = metadata_complaint(command.user_metadata)
    if wrong:
        raise invalid_argument(wrong)
