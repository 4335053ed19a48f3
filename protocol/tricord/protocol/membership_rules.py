"""The authorization rules for `m.room.member`: who may join, invite, leave, ban and knock.

They are rule 4 in most room versions, and rule 5 in the first and the newest. Numbers in the code are those below the
list's own entry, so they hold for every version.

https://spec.matrix.org/v1.19/rooms/v12/#authorisation-rules
"""

from __future__ import annotations

from itertools import islice, product
from typing import Any

from tricord.protocol.errors import BadJson, SignatureInvalid
from tricord.protocol.identifiers import is_valid_user_id
from tricord.protocol.numbered_rules import Case, NumberedRules, Rule, RuleBroken, included
from tricord.protocol.room_versions import RoomVersion
from tricord.protocol.signing import ALGORITHM, signed_bytes, verify_signature
from tricord.protocol.strict_json import JsonObject
from tricord.protocol.unpadded_base64 import decode_base64

# An identity server signs once and publishes two keys. An event has room for thousands of both, and every pair costs.
_MAX_SIGNATURE_CHECKS = 64


def membership_rules(version: RoomVersion) -> Rule:
    """Return the rules of a version for `m.room.member`."""
    rules = NumberedRules(
        _names_user_and_membership,
        *included(_is_signed_by_authorising_server, when=version.restricted_joins),
        _for("join", _join_rules(version)),
        _for("invite", _invite),
        _for("leave", _leave),
        _for("ban", _ban),
        *included(_for("knock", _knock), when=version.knocking),
        _refuse_unknown_membership,
    )
    return lambda case: case.event.type == "m.room.member" and rules(case)


def _for(membership: str, rule: Rule) -> Rule:
    return lambda case: case.event.content["membership"] == membership and rule(case)


def _names_user_and_membership(case: Case) -> bool:
    if case.event.state_key is None:
        raise RuleBroken("a membership needs a state key")
    if not isinstance(case.event.content.get("membership"), str):
        raise RuleBroken("the content names no membership")
    return False


def _is_signed_by_authorising_server(case: Case) -> bool:
    """Refuse what the authorising user's server has not signed; `verify.py` has checked the signatures there are."""
    content = case.event.content
    key = "join_authorised_via_users_server"
    if key in content and not is_valid_user_id(content[key]):
        raise RuleBroken("the join is authorised by what is not a user id", 1)
    return False


def _join_rules(version: RoomVersion) -> Rule:
    return NumberedRules(
        _creator_joins_first,
        _joins_oneself,
        _is_not_banned,
        _is_invited,
        *included(_is_let_in_by_restrictions, when=version.restricted_joins),
        _is_public,
        _refuse_join,
    )


def _creator_joins_first(case: Case) -> bool:
    event, create = case.event, case.create
    if event.prev_events != (create.event_id,):
        return False
    creator = create.content.get("creator") if event.version.create_content_names_creator else create.sender
    # The text asks only for the state key: then anybody could make the creator join again, by forking off the start.
    # That the sender must be the creator too is in the vectors of gomatrixserverlib (TestAllowedFirstJoin).
    return event.sender == event.state_key == creator


def _joins_oneself(case: Case) -> bool:
    if case.event.sender != case.target:
        raise RuleBroken(f"{case.event.sender} cannot join for {case.target}")
    return False


def _is_not_banned(case: Case) -> bool:
    if case.membership(case.event.sender) == "ban":
        raise RuleBroken(f"{case.event.sender} is banned")
    return False


def _is_invited(case: Case) -> bool:
    rules = ("invite", "knock") if case.event.version.knocking else ("invite",)
    return case.join_rule in rules and case.membership(case.target) in {"invite", "join"}


def _is_let_in_by_restrictions(case: Case) -> bool:
    rules = ("restricted", "knock_restricted") if case.event.version.knock_restricted_joins else ("restricted",)
    if case.join_rule not in rules:
        return False
    if case.membership(case.target) in {"invite", "join"}:
        return True
    authorising_user = case.event.content.get("join_authorised_via_users_server")
    if not isinstance(authorising_user, str) or case.membership(authorising_user) != "join":
        raise RuleBroken("the join is authorised by nobody who is joined", 2)
    if not case.power.may_invite(authorising_user):
        raise RuleBroken(f"{authorising_user} authorised the join and may not invite", 2)
    return True


def _is_public(case: Case) -> bool:
    return case.join_rule == "public"


def _refuse_join(case: Case) -> bool:
    raise RuleBroken(f"the join rule does not let {case.target} in")


def _invite(case: Case) -> bool:
    event = case.event
    if "third_party_invite" in event.content:
        return _third_party_invite(case, event.content["third_party_invite"])
    if case.membership(event.sender) != "join":
        raise RuleBroken(f"{event.sender} is not joined", 2)
    if case.membership(case.target) in {"join", "ban"}:
        raise RuleBroken(f"{case.target} is joined or banned", 3)
    if case.power.may_invite(event.sender):
        return True
    raise RuleBroken(f"{event.sender} may not invite", 5)


def _third_party_invite(case: Case, invite: Any) -> bool:
    if case.membership(case.target) == "ban":
        raise RuleBroken(f"{case.target} is banned", 1, 1)
    signed = invite.get("signed") if isinstance(invite, dict) else None
    if not isinstance(signed, dict):
        raise RuleBroken("the third-party invite has nothing signed", 1, 2)
    user_id, token = signed.get("mxid"), signed.get("token")
    if not isinstance(user_id, str) or not isinstance(token, str):
        raise RuleBroken("the third-party invite lacks `mxid` or `token`", 1, 3)
    if user_id != case.target:
        raise RuleBroken(f"the third-party invite is not for {case.target}", 1, 4)
    offer = case.state.get(("m.room.third_party_invite", token))
    if offer is None:
        raise RuleBroken("nobody was invited with the token of the third-party invite", 1, 5)
    if case.event.sender != offer.sender:
        raise RuleBroken(f"{offer.sender}, not {case.event.sender}, made the third-party invite", 1, 6)
    if _is_signed_by_any(signed, offer.content):
        return True
    raise RuleBroken("no key of the third-party invite has signed it", 1, 8)


def _is_signed_by_any(signed: JsonObject, offer: JsonObject) -> bool:
    """Return whether any key that the identity server gave at the time of the offer has signed."""
    try:
        message = signed_bytes(signed)
    except BadJson:
        return False
    public_keys = offer.get("public_keys")
    entries = [offer, *(public_keys if isinstance(public_keys, list) else ())]
    keys = [entry.get("public_key") for entry in entries if isinstance(entry, dict)]
    by_server = signed.get("signatures")
    signatures = [
        signature
        for of_server in (by_server.values() if isinstance(by_server, dict) else ())
        if isinstance(of_server, dict)
        for key_id, signature in of_server.items()
        if key_id.startswith(f"{ALGORITHM}:")
    ]
    for key, signature in islice(product(keys, signatures), _MAX_SIGNATURE_CHECKS):
        try:
            verify_signature(message, decode_base64(signature), decode_base64(key))
        except (BadJson, SignatureInvalid):
            continue
        return True
    return False


def _leave(case: Case) -> bool:
    sender, target = case.event.sender, case.target
    if sender == target:
        leavable = {"invite", "join", "knock"} if case.event.version.knocking else {"invite", "join"}
        if case.membership(sender) in leavable:
            return True
        raise RuleBroken(f"{sender} is not in the room", 1)
    if case.membership(sender) != "join":
        raise RuleBroken(f"{sender} is not joined", 2)
    if case.membership(target) == "ban" and case.sender_level < case.power.ban:
        raise RuleBroken(f"{sender} may not unban", 3)
    if case.sender_level >= case.power.kick and case.power.of_user(target) < case.sender_level:
        return True
    raise RuleBroken(f"{sender} may not remove {target}", 5)


def _ban(case: Case) -> bool:
    sender, target = case.event.sender, case.target
    if case.membership(sender) != "join":
        raise RuleBroken(f"{sender} is not joined", 1)
    if case.sender_level >= case.power.ban and case.power.of_user(target) < case.sender_level:
        return True
    raise RuleBroken(f"{sender} may not ban {target}", 3)


def _knock(case: Case) -> bool:
    sender = case.event.sender
    rules = ("knock", "knock_restricted") if case.event.version.knock_restricted_joins else ("knock",)
    if case.join_rule not in rules:
        raise RuleBroken("the join rule allows no knocking", 1)
    if sender != case.target:
        raise RuleBroken(f"{sender} cannot knock for {case.target}", 2)
    if case.membership(sender) not in {"ban", "invite", "join"}:
        return True
    raise RuleBroken(f"{sender} is banned, invited or joined", 4)


def _refuse_unknown_membership(case: Case) -> bool:
    raise RuleBroken(f"the membership {case.event.content['membership']!r} is unknown")
