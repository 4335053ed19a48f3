"""What was used lately is remembered, within a budget."""

from __future__ import annotations

from tricord.homeserver.generations import Generations


def test_what_is_used_stays_and_what_is_not_goes() -> None:
    memory: Generations[int, str] = Generations(100)
    memory.put(-1, "used")
    memory.put(-2, "not used")
    for number in range(1000):
        memory.put(number, "one of many")
        assert memory.get(-1) == "used"
        assert len(memory) <= 100
    assert memory.get(-2) is None
    assert memory.get(999) == "one of many"


def test_the_budget_is_kept_by_weight() -> None:
    memory: Generations[int, bytes] = Generations(1000, len)
    for number in range(100):
        memory.put(number % 3, bytes(number))
        kept = [value for key in range(3) if (value := memory._young.get(key) or memory._old.get(key))]
        assert sum(map(len, kept)) <= 1000
    assert memory.get(0) == bytes(99)


def test_what_has_not_been_used_for_a_generation_goes() -> None:
    memory: Generations[str, int] = Generations(100)
    memory.put("used", 1)
    memory.put("not used", 2)
    memory.age()
    assert memory.get("used") == 1
    memory.age()
    assert (memory.get("used"), memory.get("not used")) == (1, None)
