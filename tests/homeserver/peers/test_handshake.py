"""What users are told when the servers that could let them into a room do not."""

from __future__ import annotations

import pytest

from tricord.federation.errors import PeerAnswerInvalid, PeerError, PeerRefused, PeerUnreachable
from tricord.homeserver.peers.handshake import first_that_answers
from tricord.protocol.errors import BadJson, Forbidden, MatrixError, NotFound, Unknown, Unreachable
from tricord.protocol.identifiers import ServerName

_ONE, _OTHER = ServerName("one.test"), ServerName("other.test")
_NO = PeerRefused(_OTHER, 403, {"errcode": "M_FORBIDDEN", "error": "not you"})
_NOT_HERE = PeerRefused(_ONE, 404, {"errcode": "M_NOT_FOUND", "error": "what room?"})
_NONSENSE = PeerAnswerInvalid(_ONE, "answer to /send_join: state: Field required")
_AWAY = PeerUnreachable(_ONE, "no connection")


@pytest.mark.parametrize(
    ("answers", "refusal", "words"),
    [
        ([], NotFound, "name one"),
        ([_AWAY], Unknown, "none of the servers could be reached: one.test"),
        ([_NONSENSE], Unreachable, "one.test gave an answer that cannot be used: .* state"),
        ([_NONSENSE, _AWAY], Unreachable, "cannot be used"),
        ([_NONSENSE, _NO], Forbidden, "not you"),
        ([_NO, _NONSENSE], Forbidden, "not you"),
        ([_NO, _NOT_HERE], Forbidden, "not you"),
        ([BadJson("no create event")], BadJson, "no create event"),
    ],
)
async def test_the_refusal_that_says_most_is_passed_on(
    answers: list[PeerError | MatrixError], refusal: type[MatrixError], words: str
) -> None:
    left = iter(answers)

    async def ask(_: ServerName) -> None:
        raise next(left)

    with pytest.raises(refusal, match=words):
        await first_that_answers([_ONE, _OTHER][: len(answers)], ask)


async def test_the_first_that_helps_is_enough() -> None:
    async def ask(server: ServerName) -> ServerName:
        if server == _ONE:
            raise _NONSENSE
        return server

    assert await first_that_answers([_ONE, _OTHER], ask) == _OTHER
